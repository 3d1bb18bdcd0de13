import pytest
import torch

from deformgan.networks.discriminator import Discriminator
from deformgan.networks.residual import ResidualGenerator


@pytest.mark.parametrize("shape", [(21, 34), (4, 5), (13, 18, 11)])
def test_any_shape_is_translated_and_stays_in_range(shape):
    torch.manual_seed(0)
    g = ResidualGenerator(4, 2, dimension=len(shape))
    image = torch.rand(2, 1, *shape) * 2 - 1
    made = g(image)
    assert made.shape == image.shape and float(made.detach().abs().max()) <= 1
    torch.testing.assert_close(made[:1], g(image[:1]), rtol=1e-4, atol=1e-5)  # the samples of a batch do not mix


def test_the_default_has_the_size_of_the_published_generator():
    """By hand: 49 * 64 + 9 * 64 * 128 + 9 * 128 * 256 + 18 * 9 * 256^2 + the same back + 49 * 64, and the biases."""
    weights = 2 * 49 * 64 + 2 * (9 * 64 * 128 + 9 * 128 * 256) + 18 * 9 * 256**2
    biases = 64 + 128 + 256 + 18 * 256 + 128 + 64 + 1
    assert sum(p.numel() for p in ResidualGenerator().parameters()) == weights + biases


def test_recomputing_changes_no_gradient():
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(1)
        g = ResidualGenerator(4, 2, recompute=recompute)
        g(torch.linspace(-1, 1, 16 * 20).view(1, 1, 16, 20)).square().sum().backward()
        gradients.append([p.grad for p in g.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize(("wide", "seen"), [(False, 38), (True, 70)])
def test_a_score_sees_a_patch_of_the_size_that_is_named(wide, seen):
    torch.manual_seed(0)
    d = Discriminator(2, 3, dimension=2, spectral=False, wide=wide).double()
    image = torch.rand(1, 1, 200, 200, dtype=torch.float64, requires_grad=True)
    scores = d(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    for axis in (0, 1):
        touched = image.grad[0, 0].abs().sum(axis).nonzero()
        assert int(touched.max() - touched.min()) + 1 == seen
