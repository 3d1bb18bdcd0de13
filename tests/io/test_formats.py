"""Files in and out: geometry, values, and one clear line for each kind of bad file."""

import gzip
import itertools
import locale
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deformgan.errors import InputError, OutputError
from deformgan.io.formats import file_hash, read_volume, write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume, as_volume

ORIENTATIONS = [
    np.eye(3)[list(p)] * np.array(s)
    for p in itertools.permutations(range(3))
    for s in itertools.product((1, -1), repeat=3)
]
OBLIQUE = np.linalg.qr(np.array([[1.0, 0.3, -0.2], [-0.25, 1.0, 0.4], [0.1, -0.35, 1.0]]))[0]


def volume_on(direction: np.ndarray) -> Volume:
    geometry = Geometry((5, 6, 7), (0.8, 1.7, 3.1), (-11.0, 23.5, 4.0), tuple(np.ravel(direction)))
    return Volume(torch.from_numpy(np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)), geometry)


@pytest.mark.parametrize("direction", [*ORIENTATIONS, OBLIQUE], ids=str)
def test_nifti_keeps_values_and_place_for_every_orientation(tmp_path, direction):
    volume = volume_on(direction)
    write_volume(volume, tmp_path / "a.nii.gz")
    back, referee = read_volume(tmp_path / "a.nii.gz"), sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert back.geometry.almost_equal(volume.geometry, 1e-4)
    torch.testing.assert_close(back.tensor, volume.tensor)
    index = (3, 1, 5)
    placed = volume.geometry.matrix[:3] @ (*index, 1.0)
    np.testing.assert_allclose(referee.TransformIndexToPhysicalPoint(index), placed, atol=1e-4)
    assert referee[index] == pytest.approx(float(volume.tensor[5, 1, 3]))


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "nrrd"])
def test_simpleitk_reads_what_is_written(tmp_path, ending):
    volume = volume_on(OBLIQUE)
    path = tmp_path / f"a.{ending}"
    write_volume(volume, path)
    referee = sitk.ReadImage(str(path))
    np.testing.assert_allclose(sitk.GetArrayFromImage(referee), volume.numpy())
    assert as_volume(referee).geometry.almost_equal(volume.geometry, 1e-4)
    assert read_volume(path).geometry.almost_equal(volume.geometry, 1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["nibabel", "simpleitk", "itk", "metatensor"])
def test_python_images_go_round(kind):
    volume = volume_on(ORIENTATIONS[17])
    back = as_volume(getattr(volume, f"to_{kind}")())
    assert back.geometry.almost_equal(volume.geometry, 1e-4)
    torch.testing.assert_close(back.tensor, volume.tensor)


def test_mgz_is_read_as_nibabel_places_it(tmp_path):
    affine = np.diag([-2.0, 1.5, 1, 1])
    nibabel.save(nibabel.MGHImage(np.random.rand(4, 5, 6).astype(np.float32), affine), tmp_path / "a.mgz")
    volume = read_volume(tmp_path / "a.mgz")
    np.testing.assert_allclose(volume.geometry.matrix, np.diag([-1.0, -1, 1, 1]) @ affine, atol=1e-6)


def test_slope_and_intercept_are_applied_and_a_zero_slope_is_not(tmp_path):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for slope, inter, expected in ((0.5, -1000.0, stored * 0.5 - 1000), (0.0, 7.0, stored)):
        image = nibabel.Nifti1Image(stored, np.eye(4))
        raw = bytearray(image.to_bytes())
        raw[112:120] = struct.pack("<ff", slope, inter)
        (tmp_path / "a.nii").write_bytes(raw)
        np.testing.assert_allclose(read_volume(tmp_path / "a.nii").numpy(), expected.T)


def test_disagreeing_forms_are_read_as_simpleitk_reads_them(tmp_path):
    q, s = np.diag([1.0, 2, 3, 1]), np.diag([1.0, 2, 3, 1])
    q[:3, 3], s[:3, 3] = (1, 2, 3), (10, 20, 30)
    for codes in ((1, 1), (1, 2), (2, 1)):
        image = nibabel.Nifti1Image(np.random.rand(3, 4, 5).astype(np.float32), None)
        image.set_qform(q, codes[0])
        image.set_sform(s, codes[1])
        nibabel.save(image, tmp_path / "a.nii")
        volume = read_volume(tmp_path / "a.nii")
        np.testing.assert_allclose(volume.geometry.origin, sitk.ReadImage(str(tmp_path / "a.nii")).GetOrigin())
        assert "disagree" in volume.notes[0]


def test_shear_is_repaired_about_the_middle_and_noted(tmp_path):
    affine = np.array([[1, 0.2, 0, 5], [0, 1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(np.random.rand(5, 5, 5).astype(np.float32), affine), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    cosines = np.array(volume.geometry.direction).reshape(3, 3)
    np.testing.assert_allclose(cosines @ cosines.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(volume.geometry.centre, np.diag([-1, -1, 1]) @ (affine @ (2, 2, 2, 1))[:3], atol=1e-4)
    assert "right angles" in " ".join(volume.notes)


def test_some_nan_voxels_are_repaired(tmp_path):
    array = np.random.rand(4, 4, 4).astype(np.float32)
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert torch.isfinite(volume.tensor).all() and "2 voxels were not finite" in volume.notes[-1]


def test_one_volume_of_a_series(tmp_path):
    array = np.random.rand(4, 5, 6, 3).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz", volume=2).numpy(), array[..., 2].T)
    with pytest.raises(InputError, match="--volume K"):
        read_volume(tmp_path / "a.nii.gz")


def _saved(array, path, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def bad_files(folder):
    """(name, path, what the message must say) of malformed files, each written for real."""
    rng = np.random.default_rng(1).random((6, 7, 8)).astype(np.float32)
    good = _saved(rng, folder / "good.nii.gz").read_bytes()
    plain = nibabel.Nifti1Image(rng, np.eye(4)).to_bytes()
    yield "missing", folder / "none.nii", "no such file"
    for name, data, says in (
        ("empty.nii.gz", b"", "empty"),
        ("cut.nii.gz", good[: len(good) // 2], "cannot be read"),
        ("cut.nii", plain[:-100], "damaged"),
        ("text.nii", b"not an image, but long enough to hold a header " * 20, "cannot be read"),
        ("text.nii.gz", gzip.compress(b"not an image" * 50), "cannot be read"),
        ("image.txt", good, "unknown ending"),
        ("lie.nii", plain[:40] + struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1) + plain[56:], "promises"),
        ("broken.mha", b"ObjectType = Image\nNDims = 3\nDimSize = 9 9\n", "cannot be read"),
    ):
        (folder / name).write_bytes(data)
        yield name, folder / name, says
    yield "constant", _saved(np.full((4, 4, 4), 7, np.int16), folder / "constant.nii"), "constant"
    yield "nan", _saved(np.full((4, 4, 4), np.nan, np.float32), folder / "nan.nii"), "no finite voxel"
    yield "flat", _saved(rng[:, :, :1], folder / "flat.nii"), "3-D"
    yield "2d", _saved(rng[:, :, 0], folder / "2d.nii"), "3-D"
    yield "complex", _saved(rng.astype(np.complex64), folder / "complex.nii"), "colour or complex"
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    yield "rgb", _saved(rgb, folder / "rgb.nii"), "colour or complex"
    singular = np.diag([1.0, 1, 0, 1])
    image = nibabel.Nifti1Image(rng, np.eye(4))
    image.header.set_sform(singular, code=1)
    image.header["srow_z"] = 0
    (folder / "singular.nii").write_bytes(image.to_bytes())
    yield "singular", _with_srow(folder / "singular.nii", plain, 0.0), "singular"
    yield "nan affine", _with_srow(folder / "nanaffine.nii", plain, np.nan), "not finite"


def _with_srow(path, plain, value):
    path.write_bytes(plain[:312] + struct.pack("<4f", *[value] * 4) + plain[328:])
    return path


def test_bad_files_get_one_clear_line(tmp_path):
    seen = []
    for name, path, says in bad_files(tmp_path):
        with pytest.raises(InputError, match=says) as caught:
            read_volume(path)
        message = str(caught.value)
        assert path.name in message and "\n" not in message, name
        seen.append(name)
    assert len(seen) == 17


def test_masks_and_labels(tmp_path):
    labels = np.zeros((4, 5, 6), np.int16)
    with pytest.raises(InputError, match="mask is empty"):
        read_volume(_saved(labels, tmp_path / "m.nii"), kind="mask")
    labels[1:3, 2, 2] = 300
    volume = read_volume(_saved(labels, tmp_path / "l.nii"), kind="labels")
    assert volume.tensor.dtype == torch.int16 and volume.tensor.unique().tolist() == [0, 300]
    with pytest.raises(InputError, match="whole-number"):
        read_volume(_saved(labels + 0.5, tmp_path / "f.nii"), kind="labels")


def test_writing_to_nowhere_leaves_nothing(tmp_path):
    with pytest.raises(OutputError):
        write_volume(volume_on(np.eye(3)), tmp_path / "no" / "a.nii.gz")
    with pytest.raises(OutputError, match="written as"):
        write_volume(volume_on(np.eye(3)), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def test_hash_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea")


def dicom_series(folder, uid, positions, description="T1 axial"):
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    rng = np.random.default_rng(len(positions))
    planes = rng.integers(0, 1000, (len(positions), 12, 10)).astype(np.int16)
    for k, z in enumerate(positions):
        plane = sitk.GetImageFromArray(planes[k])
        plane.SetSpacing((0.9, 1.1))
        tags = {
            "0008|0060": "MR",
            "0008|103e": description,
            "0008|0018": f"{uid}.{k}",
            "0010|0010": "SECRET^NAME",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0013": str(k),
            "0020|0032": f"-5\\7\\{z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid[-1]}_{(k * 7) % len(positions):03d}.dcm"))
        writer.Execute(plane)
    return planes


def test_dicom_slices_are_sorted_by_position(tmp_path):
    planes = dicom_series(tmp_path / "s", "1.2.3.1", [3.0 * k for k in range(9)])
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.numpy(), planes)
    np.testing.assert_allclose(volume.geometry.spacing, (0.9, 1.1, 3.0))
    np.testing.assert_allclose(volume.geometry.origin, (-5, 7, 0))


def test_reading_dicom_leaves_the_locale_alone(tmp_path):
    dicom_series(tmp_path / "s", "1.2.3.1", [0.0, 3.0, 6.0])
    before = locale.setlocale(locale.LC_ALL, "C.UTF-8")
    read_volume(tmp_path / "s")
    assert locale.setlocale(locale.LC_ALL) == before


def test_dicom_faults_are_named(tmp_path):
    dicom_series(tmp_path / "gap", "1.2.3.1", [0.0, 3, 6, 12, 15])
    with pytest.raises(InputError, match="1 slices seem to be missing"):
        read_volume(tmp_path / "gap")
    dicom_series(tmp_path / "two", "1.2.3.1", [0.0, 3, 6])
    planes = dicom_series(tmp_path / "two", "1.2.3.2", [0.0, 2, 4, 6], "CT bone")
    with pytest.raises(InputError, match=r"1\.2\.3\.2 \(4 slices, CT bone\)") as caught:
        read_volume(tmp_path / "two")
    assert "SECRET" not in str(caught.value)
    np.testing.assert_array_equal(read_volume(f"{tmp_path / 'two'}:1.2.3.2").numpy(), planes)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no DICOM series; give a folder of slices"):
        read_volume(tmp_path / "none")
    with pytest.raises(InputError, match=f"folders in it do: give one of {tmp_path / 'gap'}, {tmp_path / 'two'}"):
        read_volume(tmp_path)
