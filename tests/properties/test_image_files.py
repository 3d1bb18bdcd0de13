"""Images come back from every format with their values, their type and their place."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties.grids import geometries, repeatable, smooth_field

from deformgan.io.components import read_components, write_components
from deformgan.io.formats import read_volume, write_volume
from deformgan.io.volume import Volume
from deformgan.spatial.transform import Transform

ENDINGS = (".nii", ".nii.gz", ".mha", ".nrrd")
WIDE = (1e-2, 1e2)  # mm


def close(one, other):
    """Within the float32 in which NIfTI keeps positions."""
    return one.almost_equal(other, 1e-5 * (1 + np.abs(other.corners).max()))


@pytest.mark.parametrize("ending", ENDINGS)
def test_grey_values_come_back(tmp_path, ending):
    @given(geometries(spacing=WIDE), st.integers(0, 99), st.floats(-3e4, 3e4), st.floats(-3, 6))
    @repeatable(10)
    def check(geometry, seed, offset, power):
        values = np.random.default_rng(seed).normal(offset, 10.0**power, geometry.shape).astype(np.float32)
        path = tmp_path / f"a{ending}"
        write_volume(Volume(torch.from_numpy(values), geometry), path)
        back = read_volume(path)
        assert close(back.geometry, geometry) and back.notes == ()
        np.testing.assert_array_equal(back.numpy(), values)
        referee = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(referee), values)
        last = tuple(n - 1 for n in geometry.size)
        tolerance = 1e-5 * (1 + np.abs(geometry.corners).max())
        np.testing.assert_allclose(
            referee.TransformIndexToPhysicalPoint(last), (geometry.matrix @ [*last, 1])[:3], atol=tolerance
        )

    check()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32"])
def test_labels_come_back(tmp_path, dtype):
    limits = np.iinfo(dtype)

    @given(geometries(), st.sampled_from(ENDINGS), st.integers(0, 99))
    @repeatable(8)
    def check(geometry, ending, seed):
        rng = np.random.default_rng(seed)
        values = rng.integers(limits.min, limits.max, geometry.shape, endpoint=True).astype(dtype)
        stored = torch.from_numpy(values.astype("int32" if dtype == "uint16" else dtype))
        write_volume(Volume(stored, geometry), tmp_path / f"a{ending}", dtype=dtype)
        back = read_volume(tmp_path / f"a{ending}", kind="labels")
        np.testing.assert_array_equal(back.numpy(), values)
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{ending}"))).dtype == dtype

    check()


@given(geometries(spacing=WIDE), st.sampled_from(ENDINGS), st.sampled_from([3, 6]), st.integers(0, 99))
@repeatable(20)
def test_vectors_and_tensors_come_back(tmp_path, geometry, ending, count, seed):
    values = np.random.default_rng(seed).normal(size=(count, *geometry.shape)).astype(np.float32)
    write_components(values, geometry, tmp_path / f"v{ending}", np.float32)
    found, grid, notes = read_components(tmp_path / f"v{ending}")
    np.testing.assert_array_equal(found, values)
    assert close(grid, geometry) and notes == []


@given(geometries(spacing=(0.5, 5)), st.sampled_from([1006, 1007]), st.integers(0, 99))
@repeatable(12)
def test_displacements_in_nifti_are_read_as_simpleitk_reads_them(tmp_path, geometry, intent, seed):
    """Of its two intents ITK turns the vectors of one from RAS to LPS."""
    path = tmp_path / "u.nii"
    image = sitk.GetImageFromArray(smooth_field(geometry, seed), isVector=True)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path))
    stored = nibabel.load(path)
    stored.header["intent_code"] = intent
    path.write_bytes(stored.to_bytes())
    part = Transform.load(path, format="itk").parts[0]
    theirs = sitk.ReadImage(str(path))
    np.testing.assert_allclose(part.displacement, sitk.GetArrayFromImage(theirs), atol=1e-6)
    np.testing.assert_allclose(part.geometry.origin, theirs.GetOrigin(), atol=1e-3)
