"""Windows: HU and MR intensities <-> the networks' [-1, 1], which stands for the paper's [0, 255]."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deformgan.config import SynthesisDataConfig
from deformgan.errors import InputError
from deformgan.registration.appearance import robust_range


@dataclass(frozen=True)
class Window:
    """low -> -1, high -> 1; what lies beyond is clipped."""

    low: float
    high: float

    def scaled(self, image: Tensor) -> Tensor:
        """Into [-1, 1]."""
        return (2 * (image.float() - self.low) / (self.high - self.low) - 1).clamp(-1, 1)

    def unscaled(self, image: Tensor) -> Tensor:
        """[-1, 1] -> intensities."""
        return (image + 1) * ((self.high - self.low) / 2) + self.low


def ct_window(data: SynthesisDataConfig) -> Window:
    """HU."""
    return Window(*data.ct_window)


def mr_window(image: Tensor, data: SynthesisDataConfig, name: str) -> Window:
    """The configured one, or the image's own robust range.  Raises InputError where all lies on one side of it."""
    window = Window(*(data.mr_window or robust_range(image)))
    if float(image.max()) <= window.low or float(image.min()) >= window.high or not window.low < window.high:
        raise InputError(
            f"{name}: its intensities {float(image.min()):g} to {float(image.max()):g} lie outside the MR window "
            f"{window.low:g} to {window.high:g}; train with data.mr_window: null, or rescale the image"
        )
    return window
