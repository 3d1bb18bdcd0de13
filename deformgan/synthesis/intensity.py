"""Windows: HU and MR intensities <-> the networks' [-1, 1], which stands for the paper's [0, 255].

Where a window is not configured each image has its own robust range; what is made in its place has no such range, and
is written in percent of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from deformgan.config import ViewConfig
from deformgan.errors import InputError
from deformgan.registration.appearance import robust_range

Kind = Literal["mr", "ct"]


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


PERCENT = Window(0.0, 100.0)  # of the robust range that an image would have


def made_window(kind: Kind, view: ViewConfig) -> Window:
    """What a synthesised image's [-1, 1] stands for: HU of a CT, intensities of an MR, or percent."""
    configured = view.ct_window if kind == "ct" else view.mr_window
    return PERCENT if configured is None else Window(*configured)


def window_of(kind: Kind, image: Tensor, view: ViewConfig, name: str) -> Window:
    """The configured one, or the image's own robust range.  Raises InputError where all lies on one side of it."""
    window = Window(*((view.ct_window if kind == "ct" else view.mr_window) or robust_range(image)))
    if float(image.max()) <= window.low or float(image.min()) >= window.high or not window.low < window.high:
        raise InputError(
            f"{name}: its intensities {float(image.min()):g} to {float(image.max()):g} lie outside the "
            f"{kind.upper()} window {window.low:g} to {window.high:g}; train with data.{kind}_window: null, or rescale "
            f"the image"
        )
    return window
