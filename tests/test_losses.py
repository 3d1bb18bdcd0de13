"""The layers are the functions with their settings."""

import pytest
import torch

from deformgan import losses

GENERATOR = torch.Generator().manual_seed(0)
FIXED, WARPED = (torch.rand(1, 1, 12, 11, 10, generator=GENERATOR) for _ in range(2))
MASK = (torch.rand(1, 1, 12, 11, 10, generator=GENERATOR) > 0.3).float()
FIELD = torch.rand(1, 3, 12, 11, 10, generator=GENERATOR)
SIMILARITIES = [
    (losses.NCCLoss(squared=True), losses.ncc_loss, {"squared": True}),
    (losses.LCCLoss(5, squared=False, eps=1e-2), losses.lcc_loss, {"size": 5, "squared": False, "eps": 1e-2}),
    (losses.LocalGradientLoss(5, eps=1e-1), losses.local_gradient_loss, {"size": 5, "eps": 1e-1}),
    (losses.GradientCorrelationLoss(), losses.gradient_correlation_loss, {}),
    (losses.MILoss(16, warped_range=(0, 2)), losses.mi_loss, {"bins": 16, "warped_range": (0, 2)}),
    (losses.NMILoss(16, warped_range=(0, 2)), losses.nmi_loss, {"bins": 16, "warped_range": (0, 2)}),
    (losses.MINDLoss(1, 1), losses.mind_loss, {"radius": 1, "dilation": 1}),
]
PENALTIES = [
    (losses.DiffusionLoss((3, 2, 1)), losses.diffusion_loss, {"spacing": (3, 2, 1)}),
    (losses.BendingLoss((3, 2, 1)), losses.bending_loss, {"spacing": (3, 2, 1)}),
    (losses.FoldingLoss(margin=0.9), losses.folding_loss, {"margin": 0.9}),
]


@pytest.mark.parametrize(("layer", "function", "settings"), SIMILARITIES, ids=lambda x: getattr(x, "__name__", ""))
def test_similarity(layer, function, settings):
    masked, whole = function(WARPED, FIXED, mask=MASK, **settings), function(WARPED, FIXED)
    torch.testing.assert_close(layer(WARPED, FIXED, MASK), masked)
    torch.testing.assert_close(layer(WARPED, FIXED, None, MASK), function(WARPED, FIXED, weight=MASK, **settings))
    assert masked != whole


@pytest.mark.parametrize(("layer", "function", "settings"), PENALTIES, ids=lambda x: getattr(x, "__name__", ""))
def test_penalty(layer, function, settings):
    torch.testing.assert_close(layer(FIELD), function(FIELD, **settings))
    assert layer(FIELD) != function(FIELD)


def test_every_public_name_is_there():
    assert all(hasattr(losses, name) for name in losses.__all__)
