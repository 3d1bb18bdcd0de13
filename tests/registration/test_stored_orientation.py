"""However the files of a real CT/MR pair are stored, SimpleITK alone repeats the result from transform.h5."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from deformgan.registration.options import RegisterOptions
from deformgan.registration.pipeline import register_files

DATA = Path(__file__).parents[2] / "data" / "sts"


def permuted(image: sitk.Image) -> sitk.Image:
    return sitk.PermuteAxes(image, (2, 0, 1))


def flipped(image: sitk.Image) -> sitk.Image:
    return sitk.Flip(image, (True, False, True))


def oblique(image: sitk.Image) -> sitk.Image:
    """The same voxels, the patient turned in the scanner."""
    turn = sitk.VersorTransform((1.0, 2.0, -0.5), 0.35)
    turned = sitk.Image(image)
    rotation = np.array(turn.GetMatrix()).reshape(3, 3)
    turned.SetDirection((rotation @ np.array(image.GetDirection()).reshape(3, 3)).ravel())
    turned.SetOrigin(rotation @ np.array(image.GetOrigin()))
    return turned


def anisotropic(image: sitk.Image) -> sitk.Image:
    return sitk.Shrink(image, (1, 4, 2))


@pytest.fixture(scope="module")
def pair():
    """(CT, MR) of a patient at half resolution in plane."""
    images = (sitk.ReadImage(str(DATA / f"STS_051_{kind}.nii.gz")) for kind in ("CT", "MR_T1"))
    return tuple(sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), (2, 2, 1)) for image in images)


@pytest.mark.parametrize(
    ("store_fixed", "store_moving", "ending"),
    [
        (permuted, flipped, ".nii.gz"),
        (flipped, permuted, ".nrrd"),
        (oblique, oblique, ".mha"),
        (anisotropic, permuted, ".nii.gz"),
    ],
)
def test_simpleitk_repeats_the_result(pair, store_fixed, store_moving, ending, tmp_path):
    fixed, moving = store_fixed(pair[0]), store_moving(pair[1])
    files = [str(tmp_path / f"{name}{ending}") for name in ("fixed", "moving")]
    for image, file in zip((fixed, moving), files, strict=True):
        sitk.WriteImage(image, file)
    register_files(*files, options=RegisterOptions(preset="fast")).save(tmp_path / "out")

    ours = sitk.ReadImage(str(tmp_path / "out" / "warped.nii.gz"))
    assert ours.GetSize() == fixed.GetSize()
    np.testing.assert_allclose(ours.GetDirection(), fixed.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(ours.GetOrigin(), fixed.GetOrigin(), atol=1e-3)
    transform, inverse = (sitk.ReadTransform(str(tmp_path / "out" / f"{n}.h5")) for n in ("transform", "inverse"))
    values = sitk.GetArrayFromImage(moving)
    referee = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float(values.min()))
    difference = np.abs(sitk.GetArrayFromImage(referee) - sitk.GetArrayFromImage(ours))
    assert difference.mean() < 1e-3 * np.ptp(values)

    assert json.loads((tmp_path / "out" / "result.json").read_text())["kept"] == "deformable"
    points = [
        fixed.TransformContinuousIndexToPhysicalPoint(c)
        for c in np.random.default_rng(0).random((300, 3)) * fixed.GetSize()
    ]
    there = [transform.TransformPoint(p) for p in points]
    size = np.array(moving.GetSize())
    seen = [
        k
        for k, p in enumerate(there)
        if (np.abs(np.array(moving.TransformPhysicalPointToContinuousIndex(p)) - (size - 1) / 2) < size / 2).all()
    ]
    assert len(seen) > 20
    errors = [np.linalg.norm(np.array(inverse.TransformPoint(there[k])) - points[k]) for k in seen]
    assert np.mean(errors) < 0.1
