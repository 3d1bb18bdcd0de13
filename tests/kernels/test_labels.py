"""The vote of labels against a plain twin and SimpleITK; the values that an array holds."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.kernels.labels import shares, values_of, vote
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Affine, DisplacementField, Transform


def blobs(shape, labels=6, seed=0):
    """Labels in regions of a few voxels, some of them thin."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, labels, [-(-n // 3) for n in shape])
    fine = np.repeat(np.repeat(np.repeat(coarse, 3, 0), 3, 1), 3, 2)[: shape[0], : shape[1], : shape[2]].copy()
    noise = rng.random(shape) < 0.1
    fine[noise] = rng.integers(0, labels, int(noise.sum()))
    return fine


def twin(moving, matrix, shape):
    """One volume of votes a label, in plain numpy; also by how much the winner leads."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    at = np.stack([x, y, z], -1) @ matrix[:3, :3].T + matrix[:3, 3]
    size = np.array(moving.shape[::-1])
    inside = ((at >= -0.5) & (at < size - 0.5)).all(-1)
    cell = np.floor(at + 0.5).astype(int)
    found = np.unique(moving)
    votes = np.zeros((*shape, len(found)))
    phi = np.vectorize(lambda t: math.erf(t / math.sqrt(2)) / 2)
    for step in np.ndindex(3, 3, 3):
        voxel = cell + np.array(step) - 1
        known = ((voxel >= 0) & (voxel < size)).all(-1) & inside
        weight = np.prod(phi(voxel + 0.5 - at) - phi(voxel - 0.5 - at), axis=-1)
        i, j, k = np.clip(voxel, 0, size - 1).reshape(-1, 3).T
        label = moving[k, j, i].reshape(shape)
        votes += (label[..., None] == found) * (weight * known)[..., None]
    ordered = np.sort(votes, -1)
    return np.where(inside, found[votes.argmax(-1)], 99), ordered[..., -1] - ordered[..., -2]


@pytest.mark.parametrize("shape", [(12, 13, 14), (1, 9, 8), (3, 2, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_kernel_equals_its_numpy_twin(shape, dtype):
    moving = blobs(shape).astype(dtype)
    matrix = np.eye(4)
    matrix[:3] += 0.1 * np.random.default_rng(3).normal(size=(3, 4))
    out = np.empty((9, 15, 11), dtype)
    vote(moving, matrix, out, outside=99)
    expected, lead = twin(moving, matrix, out.shape)
    clear = (lead > 1e-6) | (expected == 99)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(out[clear], expected[clear])


def test_shares_of_a_voxel_add_up_and_are_symmetric():
    fraction = np.linspace(0, 1, 11)
    found = shares(fraction)
    assert (found.sum(1) > 0.8).all()
    np.testing.assert_allclose(found, shares(1 - fraction)[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(found[5, 1], math.erf(0.5 / math.sqrt(2)), atol=1e-12)


def test_vote_agrees_with_simpleitk_on_an_oblique_left_handed_grid():
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turn *= -np.sign(np.linalg.det(turn))
    geometry = Geometry((20, 18, 16), (1.0, 1.6, 2.5), (3.0, -8.0, 5.0), tuple(turn.ravel()))
    reference = Geometry(
        (19, 22, 15), (1.2, 1.1, 2.3), tuple(geometry.origin + turn @ [0.7, -0.6, 1.9]), geometry.direction
    )
    labels = blobs(geometry.shape, labels=40, seed=1).astype(np.uint16)
    lattice = geometry.resized((7, 6, 5))
    u = np.random.default_rng(2).normal(size=(*lattice.shape, 3)).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3] += 0.03 * np.random.default_rng(4).normal(size=(3, 4))
    transform = Transform((DisplacementField(lattice, u), Affine(matrix)))
    moving = Volume(torch.from_numpy(labels.astype(np.int32)), geometry)
    ours = resample(moving, transform, reference, interpolation="vote", outside=99).numpy()

    composite = sitk.CompositeTransform(3)
    composite.AddTransform(sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist()))
    field = sitk.GetImageFromArray(u.astype(float), isVector=True)
    image = sitk.GetImageFromArray(labels)
    for one, grid in ((field, lattice), (image, geometry)):
        one.SetOrigin(grid.origin)
        one.SetSpacing(grid.spacing)
        one.SetDirection(grid.direction)
    composite.AddTransform(sitk.DisplacementFieldTransform(field))
    expected = sitk.GetArrayFromImage(
        sitk.Resample(
            image, reference.size, composite, sitk.sitkLabelGaussian, reference.origin, reference.spacing,
            reference.direction, 99.0, sitk.sitkUInt16,
        )
    )  # fmt: skip
    assert 0.02 < (expected == 99).mean() < 0.6 and len(np.unique(expected)) > 35
    assert (ours == expected).mean() > 0.9999


def test_vote_is_for_labels():
    geometry = Geometry((4, 4, 4))
    with pytest.raises(InputError, match="integer labels"):
        resample(Volume(torch.rand(geometry.shape), geometry), Transform(), geometry, interpolation="vote")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.bool_])
def test_values_of_an_array(dtype):
    array = blobs((7, 8, 9), labels=2 if dtype == np.bool_ else 60).astype(dtype)
    if np.dtype(dtype).kind == "i":
        array[0, 0, 0] = -5
    np.testing.assert_array_equal(values_of(array), np.unique(array))
    if np.dtype(dtype).itemsize >= 4:
        array[1, 1, 1] = 1_000_000
        np.testing.assert_array_equal(values_of(array), np.unique(array))
