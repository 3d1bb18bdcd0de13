"""The loss against MONAI's, the counts against the project's own overlap."""

import numpy as np
import torch
from monai.losses import DiceCELoss

from deformgan.evaluation.overlap import coded_labels, overlap
from deformgan.segmentation.loss import dice_counts, dice_loss, loss_terms


def test_both_terms_together_are_monais():
    rng = torch.Generator().manual_seed(0)
    logits, codes = torch.randn(3, 4, 9, 11, generator=rng), torch.randint(0, 4, (3, 9, 11), generator=rng)
    theirs = DiceCELoss(
        to_onehot_y=True, softmax=True, include_background=False, batch=True, smooth_nr=1.0, smooth_dr=1.0
    )
    torch.testing.assert_close(sum(loss_terms(logits, codes).values()), theirs(logits, codes[:, None]))


def test_a_perfect_answer_costs_nothing_and_an_absent_structure_does_not_either():
    codes = torch.zeros(1, 6, 6, dtype=torch.int64)
    codes[:, 2:4] = 1
    logits = 50.0 * torch.nn.functional.one_hot(codes, 3).movedim(-1, 1)
    assert float(dice_loss(logits, codes)) < 1e-4
    assert float(dice_loss(-logits, codes)) > 0.5


def test_counts_are_those_of_evaluation():
    rng = np.random.default_rng(1)
    found, truth = rng.integers(0, 5, (2, 7, 8, 9))
    both, a, b = dice_counts(torch.from_numpy(found), torch.from_numpy(truth), 5).double()
    np.testing.assert_allclose((2 * both / (a + b)).numpy(), overlap(coded_labels(truth, found)).dice)
