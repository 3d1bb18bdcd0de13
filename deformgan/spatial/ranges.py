"""How far the parameters of an affine map may go, and the mapping from free numbers onto that range.

An optimiser works on free numbers q, each counted in mm at the radius of the tissue, so one step means the same for a
turn, a shift and a scale. p = q / unit where p may go anywhere; else p = low + (high - low) sigmoid(q'), with q' scaled
so that dp/dq = 1 / unit in the middle of the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.spatial.affine import PLACES, Model

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
Limit = float | tuple[float, float] | None


@dataclass(frozen=True)
class Ranges:
    """One number = that far either way, two = (low, high), None = anywhere; all about the header's own position.

    rotation: degrees about each axis.  shift: mm along each axis.  scale: a factor; 1.5 means 1 / 1.5 to 1.5.
    shear: dimensionless, 0 = none.

    >>> from deformgan import Ranges
    >>> low, high = Ranges(rotation=15, shift=(-20, 60)).limits("rigid")
    >>> low[3:].tolist(), high[3:].tolist()
    ([-20.0, -20.0, -20.0], [60.0, 60.0, 60.0])
    """

    rotation: Limit = None
    shift: Limit = None
    scale: Limit = None
    shear: Limit = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            low, high = _pair(limit, factor=name == "scale")
            middle = 1.0 if name == "scale" else 0.0
            if not (np.isfinite([low, high]).all() or limit is None) or not low < middle < high:
                raise InputError(f"{name}: expected a range that holds {middle:g} inside; got {limit!r}")

    def limits(self, model: Model) -> tuple[Array, Array]:
        """(low, high), each (n,), of the parameters of `model`; infinite where free."""
        turn, shift, shear = (_pair(limit) for limit in (self.rotation, self.shift, self.shear))
        with np.errstate(divide="ignore"):
            scale = np.log(_pair(self.scale, factor=True))
        kinds = [np.deg2rad(turn)] * 3 + [np.array(shift)] * 3 + [scale] * 3 + [np.array(shear)] * 3
        both = np.array([kinds[places[0]] for places in PLACES[model]])
        return both[:, 0], both[:, 1]


def _pair(limit: Limit, factor: bool = False) -> tuple[float, float]:
    if limit is None:
        return (0.0, np.inf) if factor else (-np.inf, np.inf)
    if isinstance(limit, tuple):
        return limit
    return (1 / limit if limit > 0 else np.nan, limit) if factor else (-limit, limit)


@dataclass(frozen=True)
class Mapping:
    """Free numbers q <-> parameters p; every array (n,)."""

    unit: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, model: Model, radius_mm: float, ranges: Ranges, magnified: float = 1.0) -> Mapping:
        """radius_mm: of the tissue, at which turns and scales are counted in mm.

        magnified: how many times larger than it is the free numbers see the object.
        """
        unit = np.array([1.0 if places[0] in (3, 4, 5) else radius_mm for places in PLACES[model]])
        return cls(unit * magnified, *ranges.limits(model))

    @property
    def bounded(self) -> NDArray[np.bool_]:
        """Which parameters have a range."""
        return np.isfinite(self.low) & np.isfinite(self.high)

    def parameters(self, q: Array) -> Array:
        """p of q."""
        share = 1 / (1 + np.exp(-self._steep * q))
        return np.where(self.bounded, np.where(self.bounded, self.low, 0) + self._width * share, q / self.unit)

    def slope(self, q: Array) -> Array:
        """dp/dq."""
        share = 1 / (1 + np.exp(-self._steep * q))
        return np.where(self.bounded, self._width * self._steep * share * (1 - share), 1 / self.unit)

    def free(self, p: Array) -> Array:
        """q of p.  Raises InputError where p is not inside its range."""
        share = np.where(self.bounded, (p - np.where(self.bounded, self.low, 0)) / self._width, 0.5)
        if not ((share > 0) & (share < 1)).all():
            raise InputError("the start lies outside the ranges given; widen them or start elsewhere")
        return np.where(self.bounded, np.log(share / (1 - share)) / self._steep, p * self.unit)

    def parameters_tensor(self, q: Tensor) -> Tensor:
        """p of q, differentiable by torch."""
        import torch

        bounded, unit, low, width, steep = (
            torch.from_numpy(np.array(a)).to(q.device)
            for a in (self.bounded, self.unit, np.where(self.bounded, self.low, 0), self._width, self._steep)
        )
        return torch.where(bounded, low + width * torch.sigmoid(steep * q), q / unit)

    @property
    def _width(self) -> Array:
        return np.where(self.bounded, np.where(self.bounded, self.high, 1) - np.where(self.bounded, self.low, 0), 1.0)

    @property
    def _steep(self) -> Array:
        return 4 / (self.unit * self._width)
