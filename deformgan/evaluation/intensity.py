"""How alike two images on one grid are, voxel by voxel; of use where they show one modality in one unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError

Array = NDArray[Any]
Mask = NDArray[np.bool_]

NMI_BINS = 64
_WINDOW = 5  # voxels on either side of the SSIM's Gaussian window: 11 in all
_SIGMA = 1.5  # voxels
_K1, _K2 = 0.01, 0.03
_AT_ONCE = 1 << 21  # voxels whose windows are held at a time


def intensity_measures(fixed: Array, warped: Array, mask: Mask | None = None) -> dict[str, float]:
    """mae, rmse, psnr_db, ssim, ncc and nmi of two images (Z, Y, X) over the voxels of `mask` where both are finite.

    psnr_db and ssim count intensities against the range of `fixed` over those voxels.  ncc: Pearson's correlation,
    -1 to 1.  nmi: (H(F) + H(W)) / H(F, W), 1 = independent to 2 = one determines the other, 64 bins from least to
    greatest value (Studholme et al. 1999).  NaN where a measure is not defined.  Raises InputError for no voxel.
    """
    counted = np.isfinite(fixed) & np.isfinite(warped)
    if mask is not None:
        counted &= mask
    if not counted.any():
        raise InputError("the warped image covers no voxel of the fixed image (within the mask); nothing to compare")
    (low, span), (low_w, span_w) = (_range(image, counted) for image in (fixed, warped))
    sums, joint = np.zeros(7), np.zeros(NMI_BINS**2)
    for f, w, here in zip(fixed, warped, counted, strict=True):  # planes: an image in double precision takes much room
        f, w = f[here].astype(np.float64) - low, w[here].astype(np.float64) - low_w
        difference = f - w + (low - low_w)
        # einsum, as the threads of BLAS take longer to wake than these sums take.
        squares = [np.einsum("i,i", one, other) for one, other in ((difference, difference), (f, f), (w, w), (f, w))]
        sums += np.abs(difference).sum(), f.sum(), w.sum(), *squares
        joint += np.bincount(_binned(f, span) * NMI_BINS + _binned(w, span_w), minlength=NMI_BINS**2)
    mae, mean_f, mean_w, mse, ff, ww, fw = sums / joint.sum()
    spreads = (ff - mean_f**2) * (ww - mean_w**2)
    return {
        "mae": float(mae),
        "rmse": float(np.sqrt(mse)),
        "psnr_db": float(10 * np.log10(span**2 / mse)) if mse > 0 and span > 0 else np.nan,
        "ssim": ssim(fixed, warped, span, counted),
        "ncc": float((fw - mean_f * mean_w) / np.sqrt(spreads)) if span > 0 and span_w > 0 else np.nan,
        "nmi": _normalised_information(joint.reshape(NMI_BINS, NMI_BINS)),
    }


def ssim(fixed: Array, warped: Array, span: float, counted: Mask) -> float:
    """Mean structural similarity over the voxels `counted`, at most 1; NaN where no whole window fits.

    Gaussian window of 11 voxels, sigma 1.5, C1 = (0.01 span)^2, C2 = (0.03 span)^2 (Wang et al. 2004).  A window
    counts if it lies in the image; voxels that are not counted are read as equal in both images.
    """
    if min(fixed.shape) <= 2 * _WINDOW or span <= 0:
        return np.nan
    total, voxels, depth = 0.0, 0, fixed.shape[0]
    step = max(2 * _WINDOW, _AT_ONCE // fixed[0].size)
    inner = (slice(_WINDOW, -_WINDOW),) * 3
    for start in range(_WINDOW, depth - _WINDOW, step):
        part = slice(start - _WINDOW, min(start + step, depth - _WINDOW) + _WINDOW)
        f = np.where(np.isfinite(fixed[part]), fixed[part], 0)
        w = np.where(counted[part], warped[part], f)
        here = counted[part][inner]
        total += float(similarity_map(f, w, span)[inner][here].sum(dtype=np.float64))
        voxels += int(here.sum())
    return total / voxels if voxels else np.nan


def slice_ssim(fixed: Array, warped: Array, span: float, counted: Mask) -> list[float]:
    """As `ssim`, of each slice of two stacks (slices, rows, columns) alone, with windows of 11 x 11 pixels."""
    if min(fixed.shape[1:]) <= 2 * _WINDOW:
        return [np.nan] * len(fixed)
    f = np.where(np.isfinite(fixed), fixed, 0)
    found = similarity_map(f, np.where(counted, warped, f), span, (0.0, _SIGMA, _SIGMA))
    inner = (slice(_WINDOW, -_WINDOW),) * 2
    stack = zip(found, counted, strict=True)
    return [float(s[inner][c[inner]].mean(dtype=np.float64)) if c[inner].any() else np.nan for s, c in stack]


def similarity_map(f: Array, w: Array, span: float, sigma: tuple[float, float, float] = (_SIGMA,) * 3) -> Array:
    """Structural similarity of every voxel of two images (Z, Y, X); sigma: of the window along z, y, x, 0 = one voxel.

    Right only where the window lies in the image.  Constants as in `ssim`.
    """
    from deformgan.kernels.smooth import gaussian

    shift = float(f.mean(dtype=np.float64))  # variances are differences of squares: small ones keep their digits
    f, w = (f - shift).astype(np.float32), (w - shift).astype(np.float32)
    means = gaussian(np.stack([f, w, f * f, w * w, f * w]), sigma)  # cut at 3 sigma: 11 voxels
    var_f, var_w, both = means[2] - means[0] ** 2, means[3] - means[1] ** 2, means[4] - means[0] * means[1]
    mean_f, mean_w = means[0] + shift, means[1] + shift
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    similarity: Array = (2 * mean_f * mean_w + c1) * (2 * both + c2)
    similarity /= (mean_f**2 + mean_w**2 + c1) * (var_f + var_w + c2)
    return similarity


def _range(image: Array, counted: Mask) -> tuple[float, float]:
    """Least value, and how far above it the greatest lies."""
    low, high = image.min(initial=np.inf, where=counted), image.max(initial=-np.inf, where=counted)
    return float(low), float(high) - float(low)


def _binned(above: Array, span: float) -> NDArray[np.int64]:
    return (above * (NMI_BINS / span if span > 0 else 0.0)).astype(np.int64).clip(max=NMI_BINS - 1)


def _normalised_information(joint: Array) -> float:
    p = joint / joint.sum()
    both = entropy(p)
    return (entropy(p.sum(0)) + entropy(p.sum(1))) / both if both > 0 else np.nan


def entropy(p: Array) -> float:
    """Of probabilities of any shape, in nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
