"""Intensity measures: exact cases, MONAI as the referee, and what a mask leaves out."""

import numpy as np
import pytest
import torch
from monai.metrics import MAEMetric, PSNRMetric, RMSEMetric, SSIMMetric
from scipy import ndimage

from deformgan.errors import InputError
from deformgan.evaluation.intensity import intensity_measures

SHAPE = (44, 23, 26)


def pair(seed=0, offset=-300.0):
    rng = np.random.default_rng(seed)
    fixed = 400 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5) + offset
    return fixed.astype(np.float32), (fixed + 15 * rng.normal(size=SHAPE)).astype(np.float32)


def test_monai_agrees():
    fixed, warped = pair()
    found, span = intensity_measures(fixed, warped), float(np.ptp(fixed))
    f, w = (torch.from_numpy(image.astype(np.float64))[None, None] for image in (fixed, warped))
    assert found["mae"] == pytest.approx(MAEMetric()(w, f).item(), rel=1e-6)
    assert found["rmse"] == pytest.approx(RMSEMetric()(w, f).item(), rel=1e-6)
    assert found["psnr_db"] == pytest.approx(PSNRMetric(max_val=span)(w, f).item(), rel=1e-6)
    referee = SSIMMetric(spatial_dims=3, data_range=span, win_size=11, kernel_sigma=1.5)(w.float(), f.float()).item()
    assert 0.3 < referee < 0.99
    assert found["ssim"] == pytest.approx(referee, abs=1e-4)


def test_correlation_and_information_of_known_relations():
    fixed, noise = pair()[0], np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    falling = intensity_measures(fixed, 7 - 2 * fixed)
    assert falling["ncc"] == pytest.approx(-1, abs=1e-6)
    assert falling["nmi"] > 1.8
    unrelated = intensity_measures(fixed, noise)
    assert abs(unrelated["ncc"]) < 0.03 and unrelated["nmi"] < 1.06
    assert unrelated["ncc"] == pytest.approx(np.corrcoef(fixed.ravel(), noise.ravel())[0, 1], abs=1e-6)


def test_equal_images():
    fixed = pair()[0]
    found = intensity_measures(fixed, fixed)
    assert found["mae"] == found["rmse"] == 0 and np.isnan(found["psnr_db"])
    assert found["ssim"] == pytest.approx(1) and found["ncc"] == pytest.approx(1) and found["nmi"] == pytest.approx(2)


def test_what_lies_outside_mask_or_moving_image_does_not_count():
    fixed, warped = pair(3)
    mask = np.ones(SHAPE, bool)
    mask[:, :, :6] = False
    whole = intensity_measures(fixed, warped, mask)
    spoiled = warped.copy()
    spoiled[:, :, :6] = 1e6
    assert intensity_measures(fixed, spoiled, mask) == pytest.approx(whole)
    spoiled[:, :, :6] = np.nan
    assert intensity_measures(fixed, spoiled) == pytest.approx(whole)
    assert intensity_measures(fixed, np.where(mask, fixed + 2, fixed + 99), mask)["mae"] == pytest.approx(2, rel=1e-4)
    with pytest.raises(InputError, match="covers no voxel"):
        intensity_measures(fixed, np.full(SHAPE, np.nan))


def test_measures_that_are_not_defined_are_nan():
    fixed, warped = pair()
    flat = intensity_measures(np.ones(SHAPE), np.ones(SHAPE))
    assert np.isnan([flat["psnr_db"], flat["ssim"], flat["ncc"], flat["nmi"]]).all()
    assert np.isnan(intensity_measures(fixed[:8], warped[:8])["ssim"])  # no window of 11 fits


def test_ssim_by_slabs_is_that_in_one(monkeypatch):
    fixed, warped = pair(4)
    whole = intensity_measures(fixed, warped)["ssim"]
    monkeypatch.setattr("deformgan.evaluation.intensity._AT_ONCE", 12 * fixed[0].size)
    assert intensity_measures(fixed, warped)["ssim"] == pytest.approx(whole, rel=1e-6)
