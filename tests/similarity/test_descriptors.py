"""MIND-SSC: known values, invariances, flat patches, and the kernels against their twins in torch."""

from functools import partial

import numba
import pytest
import torch

from deformgan.errors import InputError
from deformgan.similarity.descriptors import SelfSimilarity, mind_loss, mind_ssc

SHAPES = [(2, 1, 12, 13, 14), (1, 1, 85, 6, 7), (2, 1, 21, 26), (1, 1, 3, 4, 5)]


def an_image(shape, seed=0):
    image = 100 + 40 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    image[..., :4, :] = 7
    return image


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("radius", "dilation"), [(2, 2), (1, 1), (0, 3)])
def test_compiled_is_its_twin(shape, radius, dilation):
    warped, fixed = an_image(shape), an_image(shape, 1)
    described = mind_ssc(warped, radius, dilation)
    twin = mind_ssc(warped.double(), radius, dilation)
    assert described.shape[1] == (12 if len(shape) == 5 else 4)
    torch.testing.assert_close(described.double(), twin, rtol=0, atol=1e-5)
    mask, weight = torch.rand((2, *shape), generator=torch.Generator().manual_seed(1))
    value, slope = SelfSimilarity(fixed, radius, dilation, mask).with_derivative(warped, weight)
    twin = SelfSimilarity(fixed.double(), radius, dilation, mask).with_derivative(warped.double(), weight)
    assert value == pytest.approx(twin[0], abs=1e-5)
    torch.testing.assert_close(slope.double(), twin[1], rtol=1e-3, atol=1e-4 * float(twin[1].abs().max()))


@pytest.mark.parametrize("shape", [(1, 1, 4, 5, 4), (1, 1, 6, 7)])
def test_gradcheck_of_the_twin(shape):
    generator = torch.Generator().manual_seed(0)
    warped, fixed = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    inputs = (warped.requires_grad_(), fixed.requires_grad_())
    loss = partial(mind_loss, radius=1, dilation=1, eps=1e-9)
    assert torch.autograd.gradcheck(loss, inputs, rtol=1e-4, fast_mode=True)


def test_descriptors_are_blind_to_gain_offset_and_sign():
    image = an_image((1, 1, 12, 12, 12))
    plain = mind_ssc(image)
    for gain, offset in ((3, 100), (-0.5, 0)):
        torch.testing.assert_close(mind_ssc(gain * image + offset), plain, rtol=0, atol=1e-4)
    assert float(mind_loss(-2 * image, image)) == pytest.approx(0, abs=1e-8)


def test_descriptors_of_a_wall():
    # Across a wall along z and x: pairs whose two voxels lie on the same side are alike (1), others all alike unlike.
    image = torch.zeros(1, 1, 20, 20)
    image[..., 10:] = 5
    described = mind_ssc(image, 0, 1)[0, :, 10, 10]  # voxel (10, 10): its neighbour at x = 9 is across the wall
    # Pairs in 2-D: (y-, x-), (y-, x+), (y+, x-), (y+, x+); those with x- differ by 5^2, so the mean is 12.5.
    expected = torch.exp(torch.tensor([-2.0, 0, -2, 0]))
    torch.testing.assert_close(described, expected, rtol=0, atol=1e-5)


def test_patches_are_means_of_squares():
    image = torch.zeros(1, 1, 21, 21)
    image[..., 10, 10] = 1
    distance = -torch.log(mind_ssc(image, 1, 2, eps=1e-9)[0, :, 10, 12])
    # Only the pairs with x- see the voxel, each once of 9: distances 1/9, 0, 1/9, 0 over their mean 1/18.
    torch.testing.assert_close(distance, torch.tensor([2.0, 0, 2, 0]), rtol=0, atol=1e-4)


def test_flat_images_are_one_everywhere_and_have_no_slope():
    flat = torch.full((1, 1, 9, 9, 9), -1000.1)
    assert float(mind_ssc(flat).min()) == 1
    noise = torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        leaf = flat.to(dtype, copy=True).requires_grad_()
        mind_loss(leaf, noise.to(dtype)).backward()
        assert float(leaf.grad.abs().max()) == 0


def test_same_bits_for_any_number_of_threads():
    warped, fixed = an_image((1, 1, 90, 8, 9)), an_image((1, 1, 90, 8, 9), 1)
    before, results = numba.get_num_threads(), []
    for threads in {1, numba.config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(threads)
        results.append((mind_ssc(warped), *SelfSimilarity(fixed).with_derivative(warped)))
    numba.set_num_threads(before)
    for described, value, slope in results:
        assert value == results[0][1] and torch.equal(slope, results[0][2]) and torch.equal(described, results[0][0])


def test_what_is_no_image_is_refused():
    with pytest.raises(InputError, match="dilation >= 1"):
        mind_ssc(torch.zeros(1, 1, 5, 5), 1, 0)
    with pytest.raises(InputError, match=r"\(B, 1, \*spatial\)"):
        mind_ssc(torch.zeros(5, 5, 5))
