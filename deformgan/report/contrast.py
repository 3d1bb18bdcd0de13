"""How bright a voxel is drawn: a window inside the body, the body's middle, and levels worth a contour line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 100_000  # voxels looked at
SOFT_TISSUE_HU = (-160.0, 350.0)
_HU_CONTOURS = (-300.0, 180.0)  # skin and lungs, bone
_BACKGROUND = 0.1  # of the range: below lies the background of an image that is not in HU


@dataclass(frozen=True)
class Window:
    """low and high: the intensities drawn black and white.  contours: the body's outline and an edge inside it."""

    low: float
    high: float
    contours: tuple[float, float]

    def grey(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Any shape -> 0 (black) to 1 (white); voxels that are not finite are black."""
        shade = (np.asarray(image, dtype=np.float32) - self.low) / (self.high - self.low)
        return np.clip(np.nan_to_num(shade, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)


def contrast_window(*images: NDArray[Any]) -> Window:
    """One window for images of the same modality: soft tissue for CT in HU, else percentiles inside the body."""
    values = np.concatenate([_sample(image) for image in images])
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        low = float(values[0]) if values.size else 0.0
        return Window(low, low + 1, (low + 0.25, low + 0.75))
    if _looks_like_hu(values):
        return Window(*SOFT_TISSUE_HU, _HU_CONTOURS)
    dark, bright = np.percentile(values, (0.5, 99.5))
    outline = float(dark + _BACKGROUND * (bright - dark))
    body = values[values > outline]
    low, high = (float(v) for v in np.percentile(body if body.size else values, (1, 99.5)))
    if high <= low:  # all of the body equally bright, as in a mask
        low, high = float(values.min()), float(values.max())
    return Window(low, high, (outline, _two_classes(body, low, high)))


def body_centre(image: NDArray[Any], window: Window) -> tuple[int, int, int]:
    """Voxel index (z, y, x) in the middle of what is brighter than the outline; the grid's middle if nothing is."""
    thin = _thinning(image)
    inside = np.argwhere(image[thin] > window.contours[0])
    if not len(inside):
        return image.shape[0] // 2, image.shape[1] // 2, image.shape[2] // 2
    z, y, x = (int(v) * s.step for v, s in zip(np.median(inside, axis=0), thin, strict=True))
    return z, y, x


def _sample(image: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(image[_thinning(image)], dtype=np.float32).ravel()


def _thinning(image: NDArray[Any]) -> tuple[slice, ...]:
    """Every so many voxels along each axis that about SAMPLES are left; thin axes keep eight slices."""
    step = max(1, round((image.size / SAMPLES) ** (1 / 3)))
    return tuple(slice(None, None, min(step, max(1, n // 8))) for n in image.shape)


def _looks_like_hu(values: NDArray[np.float32]) -> bool:
    """Air near -1000, something denser than fat, nothing denser than metal."""
    return bool(-4000 < values.min() <= -700 and 100 < values.max() < 35_000)


def _two_classes(values: NDArray[np.float32], low: float, high: float) -> float:
    """The level that parts values in two classes of the largest variance between them.  Source: Otsu 1979."""
    counts, edges = np.histogram(values, bins=64, range=(low, high))
    middle = (edges[:-1] + edges[1:]) / 2
    below, first = np.cumsum(counts)[:-1], np.cumsum(counts * middle)[:-1]
    above, second = counts.sum() - below, (counts * middle).sum() - first
    usable = (below > 0) & (above > 0)
    if not usable.any():
        return (low + high) / 2
    apart = np.zeros(len(below))
    apart[usable] = (below * above)[usable] * (first[usable] / below[usable] - second[usable] / above[usable]) ** 2
    return float(edges[1:-1][apart.argmax()])
