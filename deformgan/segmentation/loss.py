"""What the network minimises: soft Dice and cross-entropy.

Ours, and short, since importing MONAI takes longer than a step; the tests hold it against MONAI's DiceCELoss.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SMOOTH = 1.0  # pixels in the numerator and the denominator: a structure that is in no slice and not found counts as 1


def dice_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """1 - soft Dice, the mean over the structures, each over all slices of the batch together.

    logits: (B, classes, *spatial), class 0 the background.  codes: (B, *spatial), int64.
    """
    shares = logits.softmax(1)
    truth = functional.one_hot(codes, logits.shape[1]).movedim(-1, 1).to(shares)
    axes = [0, *range(2, logits.ndim)]
    both, either = (shares * truth).sum(axes), (shares + truth).sum(axes)
    return 1 - ((2 * both + SMOOTH) / (either + SMOOTH))[1:].mean()


def loss_terms(logits: Tensor, codes: Tensor) -> dict[str, Tensor]:
    """Both terms by name; all else as for `dice_loss`."""
    return {"dice": dice_loss(logits, codes), "cross_entropy": functional.cross_entropy(logits, codes)}


def dice_counts(found: Tensor, codes: Tensor, classes: int) -> Tensor:
    """(3, classes - 1) pixels of each structure: in both, in `found`, in `codes`; any shape, whole numbers."""
    groups = (found[found == codes], found, codes)
    return torch.stack([torch.bincount(g.flatten(), minlength=classes)[1:] for g in groups])
