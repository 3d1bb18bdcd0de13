"""Measures of a synthesised CT: planted errors, MONAI as the referee of SSIM, and what does not count."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import SSIMMetric
from scipy import ndimage

from deformgan.errors import InputError
from deformgan.evaluation.synthesis import MEASURES, slice_measures

SHAPE = (5, 40, 37)


def ct(seed=0):
    """All within the paper's window."""
    rng = np.random.default_rng(seed)
    return (
        (100 + 60 * ndimage.gaussian_filter(rng.normal(size=SHAPE), (0, 2, 2)) * 4).clip(-140, 330).astype(np.float32)
    )


def test_a_known_shift_has_the_papers_mae_and_psnr():
    """20 HU of a window of 500 are 10.2 of 255 greys: PSNR = 20 log10(255 / 10.2) = 20 log10(25)."""
    real = ct().clip(-140, 300)
    rows = slice_measures(real + 20, real)
    assert [row["slice"] for row in rows] == [0, 1, 2, 3, 4] and {row["pixels"] for row in rows} == {40 * 37}
    for row in rows:
        assert row["mae"] == pytest.approx(10.2, rel=1e-4)
        assert [row["mae_hu"], row["mae_hu_unclipped"]] == pytest.approx([20, 20], rel=1e-4)
        assert row["psnr_db"] == pytest.approx(20 * math.log10(25), rel=1e-4)
        assert 0.5 < row["ssim"] < 1 and "mi_nats" not in row


def test_mae_and_psnr_are_not_those_of_the_mean_image():
    real, noise = ct(), np.random.default_rng(1).normal(0, 15, SHAPE).astype(np.float32)
    made = real + noise
    for k, row in enumerate(slice_measures(made, real)):
        off = (made[k].clip(-150, 350) - real[k]).astype(np.float64) * 255 / 500
        assert row["mae"] == pytest.approx(np.abs(off).mean(), rel=1e-4)
        assert row["psnr_db"] == pytest.approx(10 * np.log10(255**2 / (off**2).mean()), rel=1e-4)


def test_what_lies_beyond_the_window_counts_unclipped_only():
    real = ct()
    real[:, :10], made = -1000, real.copy()
    made[:, :10] = -150
    for row in slice_measures(made, real):
        assert row["mae"] == 0 and math.isnan(row["psnr_db"]) and row["ssim"] == pytest.approx(1)
        assert row["mae_hu_unclipped"] == pytest.approx(850 / 4, rel=1e-5)
    wider = slice_measures(made, real, window=(-1000.0, 1000.0))[0]
    assert wider["mae_hu"] == pytest.approx(850 / 4, rel=1e-5)
    assert wider["mae"] == pytest.approx(850 / 4 * 255 / 2000, rel=1e-5)


def test_monai_agrees_on_ssim():
    real = ct()
    made = real + np.random.default_rng(2).normal(0, 30, SHAPE).astype(np.float32)
    greys = [torch.from_numpy((x.clip(-150, 350) + 150) * 255 / 500).float()[:, None] for x in (made, real)]
    referee = SSIMMetric(spatial_dims=2, data_range=255.0, win_size=11, kernel_sigma=1.5)(*greys).ravel()
    found = [row["ssim"] for row in slice_measures(made, real)]
    assert 0.2 < float(referee.min()) < 0.95
    np.testing.assert_allclose(found, referee, atol=1e-4)


def test_slabs_change_nothing(monkeypatch):
    real = ct()
    whole = slice_measures(real + 5, ct(3))
    monkeypatch.setattr("deformgan.evaluation.synthesis._AT_ONCE", 2 * 40 * 37)
    for one, other in zip(slice_measures(real + 5, ct(3)), whole, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_only_the_mask_counts_and_slices_with_too_little_of_it_are_left_out():
    real, mask = ct(), np.zeros(SHAPE, bool)
    mask[:, 12:, 12:] = True
    mask[1] = False
    mask[3], mask[3, 5, :20] = False, True  # 20 pixels
    spoiled = real + 20
    spoiled[~mask] = 5000
    rows = slice_measures(np.where(mask, real + 20, real), real, mask=mask)
    again = slice_measures(spoiled, real, mask=mask)
    assert [row["slice"] for row in rows] == [0, 2, 4] and rows[0]["pixels"] == 28 * 25
    assert again == rows and rows[0]["mae_hu"] == pytest.approx(20, rel=1e-4)
    with pytest.raises(InputError, match="no slice has 100 pixels"):
        slice_measures(real, real, mask=np.zeros(SHAPE, bool))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_may_lie_along_any_axis(axis):
    real, shift = ct(), np.arange(SHAPE[axis], dtype=np.float32)
    real = real.clip(-140, 300)
    made = real + np.expand_dims(shift, tuple(a for a in range(3) if a != axis))
    rows = slice_measures(made, real, axis=axis)
    assert [row["mae_hu"] for row in rows] == pytest.approx(shift.tolist(), abs=1e-3)


def test_mutual_information_of_known_relations():
    """Eight equally frequent levels, one for one: log 8 nats, whatever the levels are; and next to none by chance."""
    rng = np.random.default_rng(4)
    levels = np.stack([rng.permutation(np.arange(64 * 64) % 8).reshape(64, 64) for _ in range(3)])
    mr = np.array([7, 80, 3, 55, 21, 95, 40, 62])[levels].astype(np.float32)
    made = np.array([-120, 300, 240, 10, 60, 130, 180, -50])[levels].astype(np.float32)
    for row in slice_measures(made, mr=mr):
        assert row["mi_nats"] == pytest.approx(math.log(8)) and set(row) == {"slice", "pixels", "mi_nats"}
    for row in slice_measures(made[::-1], mr=mr)[::2]:
        assert row["mi_nats"] < 0.02
    assert set(slice_measures(made, made, mr)[0]) == {"slice", "pixels", *MEASURES}


def test_images_of_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"the real CT has the shape \(4, 40, 37\)"):
        slice_measures(ct(), ct()[:4])
    assert math.isnan(slice_measures(ct()[:, :, :10], ct()[:, :, :10])[0]["ssim"])  # no window of 11 fits
