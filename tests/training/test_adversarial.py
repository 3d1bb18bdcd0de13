import math

import pytest
import torch

from deformgan.training.adversarial import discriminator_loss, generator_loss

KINDS = ("least_squares", "logistic", "hinge")


@pytest.mark.parametrize("kind", KINDS)
def test_d_is_content_when_it_is_right_and_g_when_d_is_fooled(kind):
    high, low = torch.full((2, 1, 3, 3), 4.0), torch.full((2, 1, 3, 3), -4.0)
    right, wrong = discriminator_loss(high, low, kind), discriminator_loss(low, high, kind)
    if kind != "least_squares":
        assert right < 0.05 < wrong
    assert discriminator_loss(torch.ones(4), torch.zeros(4), kind) < discriminator_loss(
        torch.zeros(4), torch.ones(4), kind
    )
    assert generator_loss(torch.ones(4), kind) < generator_loss(torch.zeros(4), kind)


def test_values_by_hand():
    real, made = torch.tensor([1.0, 0.0]), torch.tensor([0.5, -2.0])
    assert float(discriminator_loss(real, made, "least_squares")) == pytest.approx((0.5 + (0.25 + 4) / 2) / 2)
    assert float(discriminator_loss(real, made, "hinge")) == pytest.approx((0.5 + (1.5 + 0) / 2) / 2)
    logistic = (math.log1p(math.exp(-1)) + math.log(2)) / 2
    logistic += (math.log1p(math.exp(0.5)) + math.log1p(math.exp(-2))) / 2
    assert float(discriminator_loss(real, made, "logistic")) == pytest.approx(logistic / 2)
    assert float(generator_loss(made, "least_squares")) == pytest.approx((0.25 + 9) / 2)
    assert float(generator_loss(made, "hinge")) == pytest.approx(0.75)
