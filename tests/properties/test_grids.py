"""Where voxels lie holds for any orientation, spacing and size."""

import numpy as np
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from properties.grids import geometries, repeatable, smooth_field

from deformgan.io.geometry import Geometry
from deformgan.spatial.grid import displacement_to_mm, displacement_to_voxels, index_matrix, voxel_points

PLACES = np.array([[0, 0, 0], [1, 0, 0], [0, 2.5, 0], [3, -1, 7.25]], float)


def mapped(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@given(geometries())
@repeatable(80)
def test_index_to_world_and_back(geometry):
    there = mapped(geometry.matrix, PLACES)
    np.testing.assert_allclose(mapped(geometry.inverse, there), PLACES, atol=1e-7)
    again = Geometry.from_matrix(geometry.matrix, geometry.size)
    assert again.almost_equal(geometry, 1e-9)
    np.testing.assert_allclose(mapped(geometry.matrix, np.array(geometry.size) / 2 - 0.5), geometry.centre, atol=1e-9)


@given(geometries())
@repeatable(30)
def test_simpleitk_places_voxels_alike(geometry):
    image = sitk.Image(geometry.size, sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    for index in PLACES:
        theirs = image.TransformContinuousIndexToPhysicalPoint(index.tolist())
        np.testing.assert_allclose(mapped(geometry.matrix, index), theirs, atol=1e-9)


@given(geometries(), st.tuples(*[st.integers(1, 30)] * 3))
@repeatable(50)
def test_another_size_covers_the_same_box(geometry, size):
    other = geometry.resized(size)
    assert other.size == size
    for here, there in ((geometry, other), (geometry, geometry.resized(geometry.size))):
        ends = [mapped(g.matrix, np.array([[-0.5] * 3, np.array(g.size) - 0.5])) for g in (here, there)]
        np.testing.assert_allclose(*ends, atol=1e-9)
    np.testing.assert_allclose(other.extent_mm, geometry.extent_mm, rtol=1e-9)


@given(geometries(), st.tuples(*[st.integers(0, 5)] * 3))
@repeatable(30)
def test_padding_moves_the_origin_only(geometry, pad):
    wider = geometry.padded(pad)
    np.testing.assert_allclose(mapped(wider.matrix, PLACES + pad), mapped(geometry.matrix, PLACES), atol=1e-9)


@given(geometries(), geometries(spacing=(0.1, 10)))
@repeatable(30)
def test_between_two_grids_goes_by_way_of_the_world(one, other):
    through = mapped(index_matrix(one, other), PLACES)
    np.testing.assert_allclose(mapped(other.matrix, through), mapped(one.matrix, PLACES), atol=1e-6)


@given(geometries(), st.integers(0, 99))
@repeatable(25)
def test_displacements_in_mm_and_in_voxels(geometry, seed):
    u = smooth_field(geometry, seed)
    voxels = displacement_to_voxels(u, geometry)
    np.testing.assert_allclose(displacement_to_mm(voxels, geometry), u, atol=1e-4 * np.abs(u).max())
    ends = np.moveaxis(voxels[0].numpy(), 0, -1)[..., ::-1] + voxel_index(geometry)
    np.testing.assert_allclose(
        mapped(geometry.matrix, ends.reshape(-1, 3)), (voxel_points(geometry) + u).reshape(-1, 3), atol=1e-3
    )


def voxel_index(geometry):
    return np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij"), -1)[..., ::-1]
