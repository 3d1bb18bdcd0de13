"""Similarities by name: a weighted sum of losses against one fixed image, whose side of the work is done once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from deformgan.errors import InputError, did_you_mean
from deformgan.kernels.spans import Spans
from deformgan.similarity.cached import CachedLoss, by_autograd
from deformgan.similarity.correlation import FLOOR, LocalCorrelation, ncc_loss
from deformgan.similarity.descriptors import SelfSimilarity
from deformgan.similarity.gradient import GradientCorrelation, LocalGradient
from deformgan.similarity.information import MutualInformation
from deformgan.similarity.names import ALIASES, NAMES
from deformgan.similarity.pointwise import cauchy_loss, l1_loss, l2_loss


@dataclass(frozen=True)
class Options:
    """What the losses of an Objective take beside the images."""

    window: int = 7  # voxels, of LG and LCC
    squared: bool = True  # LCC and NCC blind to the sign of the contrast
    bins: int = 32  # of MI and NMI
    radius: int = 2  # voxels, patches of MIND
    dilation: int = 2  # voxels, neighbours of MIND
    scale: float = 1.0  # units of intensity, of Cauchy
    floor: float = FLOOR  # of LCC: variance, as a share of the image's, below which a window counts as flat
    warped_range: tuple[float, float] | None = None  # of the warped images, for the bins of MI and NMI; none = look


def parse_similarity(text: str) -> dict[str, float]:
    """Weights by name of, for example, "lg=1,gc=0.5"; a name alone has weight 1.

    Names: lg (local gradient), gc or gradient_correlation, ncc, lcc, mi, nmi, mind, l1, l2, cauchy.  Raises InputError
    for an unknown or repeated name, and for a weight that is not a positive number.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        name = _known(name.lower())
        if name in weights:
            raise InputError(f"similarity: {name} is given twice in {text!r}; give each name once")
        weights[name] = _positive(number, part.strip()) if equals else 1.0
    return weights


def _known(name: str) -> str:
    name = ALIASES.get(name, name)
    if name in NAMES:
        return name
    raise InputError(f"similarity: {name!r} is not known; {did_you_mean(name, [*NAMES, *ALIASES], 'the names')}")


def _positive(number: str, part: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not (0 < weight < math.inf):
        raise InputError(f"similarity: expected name=weight with a weight above 0, as in lg=1,gc=0.5; got {part!r}")
    return weight


class Objective:
    """Weighted sum of similarity losses of warped images against one fixed image."""

    def __init__(
        self, weights: Mapping[str, float], fixed: Tensor, mask: Tensor | None = None, options: Options | None = None
    ) -> None:
        """weights: as parse_similarity gives them.  fixed: (B, 1, *spatial), 2-D or 3-D.

        mask: (B or 1, 1, *spatial), weight of each voxel in the means; none = everywhere.
        """
        chosen = options or Options()
        if not weights:
            raise InputError(f"similarity: no name is given; the names are {', '.join(NAMES)}")
        self.weights = {_known(name): float(weight) for name, weight in weights.items()}
        self._slope: Tensor | None = None
        self._terms = {name: _term(name, fixed, mask, chosen) for name in self.weights}

    @property
    def looks_beyond(self) -> bool:
        """Whether values without a weight change the sum."""
        return any(isinstance(term, CachedLoss) and term.looks_beyond for term in self._terms.values())

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, differentiable by warped, and each loss by name without its weight, detached.

        weight: (B or 1, 1, *spatial), what of warped is known: 0 outside the moving image's field of view.
        """
        losses = {name: term(warped, weight) for name, term in self._terms.items()}
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return total, {name: loss.detach() for name, loss in losses.items()}

    def with_derivative(
        self, warped: Tensor, weight: Tensor | None = None, spans: Spans | None = None
    ) -> tuple[float, dict[str, float], Tensor]:
        """The sum, each loss by name without its weight, and the sum's derivative by warped, outside autograd.

        spans: of every image, beyond which the weight is zero.  The derivative lies in memory that the next call uses
        again: a fresh volume each time costs as much as computing what it holds.
        """
        if self._slope is None or self._slope.shape != warped.shape:
            self._slope = torch.zeros_like(warped, requires_grad=False)
        slope = self._slope.zero_()
        losses = {
            name: _add_derivative(term, warped, weight, spans, self.weights[name], slope)
            for name, term in self._terms.items()
        }
        return sum(self.weights[name] * loss for name, loss in losses.items()), losses, slope


Term = CachedLoss | Callable[[Tensor, Tensor | None], Tensor]


def _term(name: str, fixed: Tensor, mask: Tensor | None, options: Options) -> Term:
    match name:
        case "lg":
            return LocalGradient(fixed, options.window, mask)
        case "gc":
            return GradientCorrelation(fixed, mask)
        case "lcc":
            return LocalCorrelation(fixed, options.window, mask, squared=options.squared, eps=options.floor)
        case "mi" | "nmi":
            return MutualInformation(
                fixed, options.bins, mask, normalised=name == "nmi", warped_range=options.warped_range
            )
        case "mind":
            return SelfSimilarity(fixed, options.radius, options.dilation, mask)
    plain: dict[str, Callable[..., Tensor]] = {
        "ncc": partial(ncc_loss, squared=options.squared),
        "l1": l1_loss,
        "l2": l2_loss,
        "cauchy": partial(cauchy_loss, scale=options.scale),
    }
    loss = plain[name]
    return lambda warped, weight: loss(warped, fixed, mask=mask, weight=weight)


def _add_derivative(
    term: Term, warped: Tensor, weight: Tensor | None, spans: Spans | None, times: float, onto: Tensor
) -> float:
    """Loss of one term; `times` its derivative by warped is added onto a tensor."""
    if isinstance(term, CachedLoss):
        return term.with_derivative(warped, weight, spans=spans, times=times, onto=onto)[0]
    loss, slope = by_autograd(term, warped, weight)
    onto.add_(slope, alpha=times)
    return loss
