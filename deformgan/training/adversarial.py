"""What D and G want of D's scores; both are minimised.

least_squares: Mao et al. 2017.  logistic: Goodfellow et al. 2014, the generator's non-saturating form.  hinge: Lim and
Ye 2017.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

Kind = Literal["least_squares", "logistic", "hinge"]


def discriminator_loss(real: Tensor, synthesised: Tensor, kind: Kind) -> Tensor:
    """Scores of real and of synthesised images, any shape, more = more real -> scalar."""
    match kind:
        case "least_squares":
            return ((real - 1).square().mean() + synthesised.square().mean()) / 2
        case "logistic":
            return (functional.softplus(-real).mean() + functional.softplus(synthesised).mean()) / 2
        case "hinge":
            return (functional.relu(1 - real).mean() + functional.relu(1 + synthesised).mean()) / 2


def generator_loss(synthesised: Tensor, kind: Kind) -> Tensor:
    """Scores of synthesised images -> scalar, low where D takes them for real."""
    match kind:
        case "least_squares":
            return (synthesised - 1).square().mean()
        case "logistic":
            return functional.softplus(-synthesised).mean()
        case "hinge":
            return -synthesised.mean()
