"""The challenge's displacement files, and what is not one."""

import nibabel
import numpy as np
import pytest

from deformgan.errors import InputError
from deformgan.io.learn2reg_files import read_voxel_displacement

U = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)


def test_both_formats_hold_the_same(tmp_path):
    nibabel.save(nibabel.Nifti1Image(U, np.eye(4)), tmp_path / "disp.nii.gz")
    np.savez(tmp_path / "disp.npz", U)
    np.savez_compressed(tmp_path / "half.npz", U.astype(np.float16))
    for name in ("disp.nii.gz", "disp.npz"):
        np.testing.assert_array_equal(read_voxel_displacement(tmp_path / name), U)
    np.testing.assert_array_equal(read_voxel_displacement(tmp_path / "half.npz"), U.astype(np.float16))


def test_other_kinds_of_transform_are_left_to_others(tmp_path):
    (tmp_path / "t.h5").write_bytes(b"x")
    nibabel.save(nibabel.Nifti1Image(U[:, :, :, None], np.eye(4)), tmp_path / "itk.nii.gz")
    assert read_voxel_displacement(tmp_path / "t.h5") is None
    assert read_voxel_displacement(tmp_path / "itk.nii.gz") is None


@pytest.mark.parametrize(
    "name", ["none.npz", "cut.npz", "text.npz", "shape.npz", "nan.npz", "cut.nii.gz", "pickle.npz"]
)
def test_damaged_files_are_one_line(tmp_path, name):
    np.savez(tmp_path / "whole.npz", U)
    nibabel.save(nibabel.Nifti1Image(U, np.eye(4)), tmp_path / "whole.nii.gz")
    for ending in ("npz", "nii.gz"):
        whole = (tmp_path / f"whole.{ending}").read_bytes()
        (tmp_path / f"cut.{ending}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "shape.npz", U[..., :2])
    np.savez(tmp_path / "nan.npz", np.full_like(U, np.nan))
    np.savez(tmp_path / "pickle.npz", np.array([{"a": 1}], object))
    with pytest.raises(InputError, match=name) as caught:
        read_voxel_displacement(tmp_path / name)
    assert "\n" not in str(caught.value)
