"""4-D files volume by volume: values against SimpleITK, header kept, little memory, nothing half-written."""

import gzip
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from deformgan.errors import InputError, OutputError
from deformgan.io.headers import read_contents
from deformgan.io.series import open_series
from deformgan.spatial.transform import Affine, Transform
from deformgan.warping.files import ImageOptions, warp_image_file

AFFINE = np.array([[-2.5, 0.3, 0, 40], [0.2, 3.0, 0.4, -30], [0, -0.5, 4.0, 10], [0, 0, 0, 1.0]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * [2.5, 3.0, 4.0]


def series_file(path, count=5, dtype=np.int16, scaled=False, image_class=nibabel.Nifti1Image):
    rng = np.random.default_rng(0)
    base = np.cumsum(rng.normal(size=(17, 15, 11)), axis=0) * 30
    data = np.stack([base + 200 * k + 1000 for k in range(count)], -1).astype(dtype)
    image = image_class(data, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.2))
    image.header["descrip"] = b"a resting run"
    image.header["toffset"] = 4.5
    image.header["slice_duration"] = 0.1
    image.header.set_intent("estimate", name="bold")
    if scaled:
        image.header.set_slope_inter(0.5, -7)
    image.to_filename(path)
    return data


def shear():
    matrix = np.eye(4)
    matrix[:3] += 0.05 * np.random.default_rng(2).normal(size=(3, 4)) * [1, 1, 1, 40]
    return Transform((Affine(matrix),))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("image_class", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_series_keep_header_and_agree_with_simpleitk(tmp_path, ending, image_class):
    source, out = tmp_path / f"bold{ending}", tmp_path / f"out{ending}"
    series_file(source, scaled=True, image_class=image_class)
    notes = warp_image_file(str(source), shear(), out, ImageOptions(reference=str(source), spacing=[3.0]))
    assert "5 volumes" in " ".join(notes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bold" + ending, "out" + ending]
    before, after = nibabel.load(source), nibabel.load(out)
    assert type(after) is image_class and after.get_data_dtype() == np.float32
    assert after.shape[3] == 5 and after.header.get_zooms()[3] == pytest.approx(2.2)
    assert after.header.get_xyzt_units() == ("mm", "sec")
    for key in ("descrip", "toffset", "intent_code", "intent_name"):
        assert after.header[key] == before.header[key]
    assert after.header["slice_duration"] == 0
    np.testing.assert_allclose(after.header.get_sform(), after.header.get_qform(), atol=1e-4)
    assert after.header["qform_code"] == after.header["sform_code"] == 1
    for path in (out, source):  # SimpleITK does not read NIfTI-2
        nibabel.Nifti1Image.from_image(nibabel.load(path)).to_filename(tmp_path / f"plain_{path.name}")
    ours, moving = (sitk.ReadImage(str(tmp_path / f"plain_{path.name}")) for path in (out, source))
    matrix = shear().parts[0].matrix
    referee = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
    for k in (0, 4):
        one = moving[:, :, :, k]
        low = float(sitk.GetArrayFromImage(one).min())
        expected = sitk.GetArrayFromImage(sitk.Resample(one, ours[:, :, :, k], referee, sitk.sitkLinear, low))
        found = sitk.GetArrayFromImage(ours[:, :, :, k])
        assert np.ptp(found) > 100 and np.abs(found - expected).mean() < 1e-3 * np.ptp(expected)


def test_one_volume_and_big_endian(tmp_path):
    series_file(tmp_path / "a.nii.gz", dtype=np.dtype(">i2"))
    image = nibabel.load(tmp_path / "a.nii.gz")
    swapped = nibabel.Nifti1Image(image.dataobj, None, image.header.as_byteswapped(">"))
    swapped.to_filename(tmp_path / "big.nii")
    options = {"reference": str(tmp_path / "big.nii")}
    warp_image_file(str(tmp_path / "big.nii"), shear(), tmp_path / "all.nii", ImageOptions(**options))
    warp_image_file(str(tmp_path / "big.nii"), shear(), tmp_path / "two.nii", ImageOptions(**options, volume=2))
    whole, one = (nibabel.load(tmp_path / n).get_fdata() for n in ("all.nii", "two.nii"))
    assert one.shape == whole.shape[:3] and np.ptp(one) > 100
    np.testing.assert_allclose(one, whole[..., 2], atol=1e-3)


def test_series_of_labels_keep_their_type(tmp_path):
    data = np.zeros((12, 11, 10, 3), np.uint16)
    data[3:9, 2:8, 2:8], data[4:8, 3:7, 3:7, 1] = 40_000, 7
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "l.nii.gz")
    options = ImageOptions(reference=str(tmp_path / "l.nii.gz"), interpolation="vote")
    notes = warp_image_file(str(tmp_path / "l.nii.gz"), Transform(), tmp_path / "o.nii.gz", options)
    out = np.asanyarray(nibabel.load(tmp_path / "o.nii.gz").dataobj)
    assert out.dtype == np.uint16 and set(np.unique(out)) == {0, 7, 40_000} and (out == data).mean() > 0.97
    assert "taken as labels" in " ".join(notes)
    nibabel.Nifti1Image(data.astype(np.float32), np.eye(4)).to_filename(tmp_path / "f.nii")
    options = ImageOptions(reference=str(tmp_path / "f.nii"), spacing=[40.0], labels=True)
    notes = warp_image_file(str(tmp_path / "f.nii"), Transform(), tmp_path / "f_out.nii", options)
    assert nibabel.load(tmp_path / "f_out.nii").get_data_dtype() == np.int32
    assert any(note.startswith("warning: labels lost") for note in notes)


def test_what_cannot_be_done_says_so_and_leaves_nothing(tmp_path):
    series_file(tmp_path / "a.nii")
    raw = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(raw)[:-2000])
    names = sorted(p.name for p in tmp_path.iterdir())
    options = ImageOptions(reference=str(tmp_path / "a.nii"))
    with pytest.raises(InputError, match=r"cut\.nii\.gz: .*volume"):
        warp_image_file(str(tmp_path / "cut.nii.gz"), Transform(), tmp_path / "o.nii", options)
    with pytest.raises(OutputError, match="rename"):
        warp_image_file(str(tmp_path / "a.nii"), Transform(), tmp_path / "o.mha", options)
    with pytest.raises(OutputError, match="folder"):
        warp_image_file(str(tmp_path / "a.nii"), Transform(), tmp_path / "no" / "o.nii", options)
    with pytest.raises(InputError, match="--volume must be"):
        warp_image_file(
            str(tmp_path / "a.nii"), Transform(), tmp_path / "o.nii", ImageOptions(str(tmp_path / "a.nii"), volume=9)
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert read_contents(tmp_path / "a.nii").volumes == 5
    with pytest.raises(InputError, match=r"from \.nii"):
        open_series(tmp_path / "a.mha")


def test_memory_does_not_grow_with_the_length(tmp_path):
    """120 volumes of 1.7 MB each as float32: 207 MB in all; the process may grow by a tenth of that."""
    nibabel.Nifti1Image(np.zeros((80, 75, 72, 120), np.uint8), AFFINE).to_filename(tmp_path / "long.nii.gz")
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from deformgan.spatial.transform import Transform\n"
        "from deformgan.warping.files import ImageOptions, warp_image_file\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "source, short, out = sys.argv[1:]\n"
        "options = ImageOptions(reference=source, labels=False)\n"
        "warp_image_file(short, Transform(), Path(out), options)\n"
        "before = peak()\n"
        "warp_image_file(source, Transform(), Path(out), options)\n"
        "print(peak() - before)\n"
    )
    nibabel.Nifti1Image(np.zeros((80, 75, 72, 3), np.uint8), AFFINE).to_filename(tmp_path / "short.nii.gz")
    words = [sys.executable, "-c", script, *(str(tmp_path / n) for n in ("long.nii.gz", "short.nii.gz", "out.nii"))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20
    assert nibabel.load(tmp_path / "out.nii").shape == (80, 75, 72, 120)
