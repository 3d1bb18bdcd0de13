import pytest
import torch

from deformgan.networks.discriminator import Discriminator
from deformgan.networks.generator import Generator, soft_clamp
from deformgan.networks.transformation import TransformationNetwork
from deformgan.networks.unet import UNet, pad_to_multiple

ODD = {2: (21, 34), 3: (13, 18, 11)}


def images(dimension, count=2, batch=2):
    rng = torch.Generator().manual_seed(3)
    return [torch.rand(batch, 1, *ODD[dimension], generator=rng) for _ in range(count)]


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("output", ["velocity", "displacement"])
def test_t_begins_near_the_identity_on_any_shape(dimension, half, output):
    t = TransformationNetwork((4, 8, 8), dimension=dimension, half=half, output=output)
    u = t(*images(dimension))
    assert u.shape == (2, dimension, *ODD[dimension])
    assert 0 < float(u.detach().abs().max()) < 1e-2


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_half_resolution_field_has_full_resolution_units(dimension):
    t = TransformationNetwork((4, 8, 8), dimension=dimension, half=True, output="displacement")
    with torch.no_grad():
        t.last.weight.zero_()
        t.last.bias.fill_(1.5)  # coarse voxels
    torch.testing.assert_close(t(*images(dimension)), torch.full((2, dimension, *ODD[dimension]), 3.0))


def test_a_velocity_of_t_does_not_fold_where_the_same_displacement_does():
    from deformgan.spatial.jacobian import regularity

    found = {}
    for output in ("velocity", "displacement"):
        torch.manual_seed(0)
        t = TransformationNetwork((4, 8, 8), half=False, output=output)
        torch.nn.init.normal_(t.last.weight, std=2.0)
        with torch.no_grad():
            found[output] = regularity(t(*images(3, batch=1)))["folding_percent"]
    assert found["displacement"] > 5 * found["velocity"] + 1


def test_samples_of_a_batch_do_not_mix():
    t = TransformationNetwork((4, 8, 8))
    torch.nn.init.normal_(t.last.weight, std=0.3)
    g, d = Generator((4, 8), norm=True), Discriminator(4, 2)
    fixed, moving = images(3)
    d.eval()
    for network, inputs in ((t, (fixed, moving)), (g, (fixed,)), (d, (fixed, moving))):
        together = network(*inputs)
        alone = torch.cat([network(*(x[b : b + 1] for x in inputs)) for b in range(2)])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_recomputing_changes_no_gradient():
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(1)
        net = UNet(3, 1, (4, 8, 8), recompute=recompute)
        net(images(3, 1)[0]).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_a_residual_generator_begins_as_the_identity():
    image = images(3, 1)[0]
    torch.testing.assert_close(Generator((4, 8), residual=True)(image), image)


def test_the_generator_keeps_to_the_range_and_to_a_slope():
    x = torch.linspace(-2, 3, 101, dtype=torch.float64, requires_grad=True)
    y = soft_clamp(x)
    assert y.min() >= -0.05 and y.max() <= 1.05
    inside = (x >= 0) & (x <= 1)
    torch.testing.assert_close(y[inside], x[inside])
    points = torch.tensor([-0.07, 0.4, 1.03], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_clamp, (points,))


@pytest.mark.parametrize("dimension", [2, 3])
def test_d_scores_patches_and_looks_at_the_condition_only_if_told(dimension):
    image, other = images(dimension)
    for conditional in (False, True):
        d = Discriminator(4, 2, dimension=dimension, conditional=conditional).eval()
        scores = d(image, other)
        assert scores.shape == (2, 1, *(n // 4 for n in ODD[dimension]))
        assert torch.equal(scores, d(image, other * 0)) is not conditional


def test_spectral_norm_bounds_the_gain():
    d = Discriminator(4, 2)
    with torch.no_grad():
        for _ in range(50):  # power iterations
            d(*images(3))
    for layer in [*d.body, d.last]:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_padding_repeats_the_border():
    x = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 2, 5)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 8)
    torch.testing.assert_close(padded[0, 0, 3], torch.tensor([0.0, 1, 2, 3, 4, 4, 4, 4]))
