"""How near a synthesised CT comes to the real one, slice by slice, as Hiasa et al. 2018 measure it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.evaluation.intensity import entropy, slice_ssim

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Row = dict[str, Any]

WINDOW = (-150.0, 350.0)  # HU, the paper's
GREYS = 255.0  # the window on the paper's scale
MEASURES = ("mae", "psnr_db", "mae_hu", "mae_hu_unclipped", "ssim", "mi_nats")
LEAST = 100  # pixels: a slice with fewer to count is left out
BINS = 32  # of each image's intensities
_AT_ONCE = 1 << 21  # voxels whose windows are held at a time


def slice_measures(
    made: Array,
    real: Array | None = None,
    mr: Array | None = None,
    mask: Mask | None = None,
    *,
    axis: int = 0,
    window: tuple[float, float] = WINDOW,
) -> list[Row]:
    """A row for every slice along `axis`: `slice` (its index), `pixels` (how many count), and its measures.

    made, real: CT in HU; mr: the MR that `made` was made of; mask: where both real images show something; all on one
    grid (Z, Y, X).  Against `real`, over the pixels of the mask: mae and psnr_db = 20 log10(255 / sqrt(MSE)) of the two
    clipped to `window` HU, that is mapped to 0 to 255; mae_hu, the same distance in HU; mae_hu_unclipped; ssim of the
    clipped ones (a Gaussian window of 11 x 11 pixels, sigma 1.5; Wang et al. 2004).  Against `mr`, for those who have
    no `real`: mi_nats, the mutual information of 32 x 32 bins; few pixels raise it, so compare it on the same slices
    only.  NaN where a measure is not defined; slices with fewer than 100 pixels are left out.  Raises InputError for
    images of other shapes, or where no slice is left.

    >>> real = np.random.default_rng(0).uniform(-100, 300, (3, 40, 40))
    >>> rows = slice_measures(real + 10, real)
    >>> len(rows), round(rows[0]["mae_hu"], 3), round(rows[0]["mae"], 3), round(rows[0]["psnr_db"], 3)
    (3, 10.0, 5.1, 33.979)
    """
    for name, image in (("the real CT", real), ("the MR", mr), ("the mask", mask)):
        if image is not None and image.shape != made.shape:
            raise InputError(f"{name} has the shape {image.shape}, the made CT {made.shape}; they must share a grid")
    counted = np.isfinite(made)
    for image in (real, mr):
        if image is not None:
            counted &= np.isfinite(image)
    if mask is not None:
        counted &= mask
    counted, made = _slices(counted, axis), _slices(made, axis)
    numbers = [k for k, here in enumerate(counted) if np.count_nonzero(here) >= LEAST]
    if not numbers:
        raise InputError(f"no slice has {LEAST} pixels to compare (within the mask)")
    rows: list[Row] = [{"slice": k, "pixels": int(np.count_nonzero(counted[k]))} for k in numbers]
    if real is not None:
        _add_distances(rows, made, _slices(real, axis), counted, window)
    if mr is not None:
        _add_information(rows, made, _slices(mr, axis), counted, window)
    return rows


def _slices(image: Array, axis: int) -> Array:
    return np.moveaxis(image, axis, 0)


def _add_distances(rows: list[Row], made: Array, real: Array, counted: Mask, window: tuple[float, float]) -> None:
    """mae, psnr_db, mae_hu, mae_hu_unclipped and ssim of every row's slice."""
    hu = (window[1] - window[0]) / GREYS
    at_once = max(1, _AT_ONCE // made[0].size)
    for first in range(0, len(rows), at_once):
        part = rows[first : first + at_once]
        numbers = [row["slice"] for row in part]
        m, r, here = made[numbers].astype(np.float32), real[numbers].astype(np.float32), counted[numbers]
        greys_m, greys_r = ((np.clip(image, *window) - window[0]) / np.float32(hu) for image in (m, r))
        likeness = slice_ssim(greys_r, greys_m, GREYS, here)
        for k, row in enumerate(part):
            off = (greys_m[k] - greys_r[k])[here[k]].astype(np.float64)
            mse = float(np.square(off).mean())
            row["mae"] = float(np.abs(off).mean())
            row["psnr_db"] = float(20 * np.log10(GREYS / np.sqrt(mse))) if mse > 0 else np.nan
            row["mae_hu"] = row["mae"] * hu
            row["mae_hu_unclipped"] = float(np.abs(m[k] - r[k])[here[k]].mean(dtype=np.float64))
            row["ssim"] = likeness[k]


def _add_information(rows: list[Row], made: Array, mr: Array, counted: Mask, window: tuple[float, float]) -> None:
    """mi_nats of every row's slice; bins between the MR's 0.5 and 99.5 percentiles, and within the CT's window."""
    low, high = np.percentile(mr[counted], (0.5, 99.5))
    for row in rows:
        k, here = row["slice"], counted[row["slice"]]
        joint = np.bincount(
            _binned(mr[k][here], low, high) * BINS + _binned(made[k][here], *window), minlength=BINS * BINS
        ).reshape(BINS, BINS)
        row["mi_nats"] = _information(joint)


def _binned(values: Array, low: float, high: float) -> NDArray[np.int64]:
    share = (values.astype(np.float64) - low) / (high - low) if high > low else np.zeros(values.shape)
    return (share * BINS).clip(0, BINS - 1).astype(np.int64)


def _information(joint: Array) -> float:
    p = joint / joint.sum()
    return entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p)
