"""Warps with exact answers, and the compiled path against plain torch."""

import numpy as np
import pytest
import torch

from deformgan.errors import InputError
from deformgan.spatial.warp import SpatialTransformer, warp, warp_reference, warp_through, warp_through_reference

OBLIQUE = np.array([[0.9, 0.1, 0.05, 1.2], [-0.12, 1.1, 0.1, -1.7], [0.05, -0.2, 0.95, 0.6], [0, 0, 0, 1]])


def smooth_field(*shape, size=2.0, seed=0):
    small = torch.randn(1, len(shape), *(4,) * len(shape), generator=torch.Generator().manual_seed(seed))
    mode = "bicubic" if len(shape) == 2 else "trilinear"
    return size * torch.nn.functional.interpolate(small, shape, mode=mode, align_corners=False)


@pytest.mark.parametrize("shape", [(9, 10), (8, 9, 10)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_identity_and_whole_voxel_shift(shape, dtype, mode):
    image, u = torch.rand(2, 3, *shape, dtype=dtype), torch.zeros(2, len(shape), *shape, dtype=dtype)
    torch.testing.assert_close(warp(image, u, mode=mode), image)
    u[:, -1] = 3  # voxels along x
    shifted = warp(image, u, mode=mode, outside=7.0)
    torch.testing.assert_close(shifted[..., :-3], image[..., 3:])
    assert (shifted[..., -3:] == 7).all()
    edge = warp(image, u, mode=mode, outside="border")[..., -3:]
    torch.testing.assert_close(edge, image[..., -1:].expand_as(edge))


def test_a_linear_ramp_is_followed_exactly_between_voxels():
    u = smooth_field(8, 9, 10, size=0.4)
    z, y, x = torch.meshgrid(*map(torch.arange, (8.0, 9.0, 10.0)), indexing="ij")
    ramp = (2 * z - 3 * y + 0.5 * x)[None, None]
    expected = ramp + 2 * u[:, :1] - 3 * u[:, 1:2] + 0.5 * u[:, 2:]
    within = (slice(None), slice(None), slice(2, -2), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(warp(ramp, u)[within], expected[within], atol=1e-4, rtol=1e-5)


def test_labels_keep_their_type_and_their_values():
    labels = torch.randint(2**40, 2**40 + 5, (1, 1, 8, 9, 10))
    warped = warp(labels, smooth_field(8, 9, 10), mode="nearest", outside=-1.0)
    assert warped.dtype == torch.int64
    assert set(warped.unique().tolist()) <= {-1, *labels.unique().tolist()}
    torch.testing.assert_close(warp(labels, torch.full((1, 3, 8, 9, 10), 0.4), mode="nearest"), labels)


@pytest.mark.parametrize("outside", [0.5, "border"])
def test_compiled_gradients_are_those_of_the_twin(outside):
    lattice, image = smooth_field(5, 6, 6), torch.rand(1, 2, 12, 13, 9)
    weight = torch.randn(1, 2, 10, 12, 11)
    results = []
    for function, dtype in ((warp_through, torch.float32), (warp_through_reference, torch.float64)):
        inputs = [t.to(dtype).requires_grad_() for t in (image.clone(), lattice.clone())]
        warped, inside = function(inputs[0], OBLIQUE, inputs[1], (2, 2, 2), (10, 12, 11), outside=outside)
        gradients = torch.autograd.grad((warped * weight).sum(), inputs)
        results.append([t.double() for t in (warped.detach(), inside, *gradients)])
    for compiled, twin in zip(*results, strict=True):
        torch.testing.assert_close(compiled, twin, atol=1e-4, rtol=1e-4)


def test_gradcheck_of_the_twin_in_two_and_three_dimensions():
    torch.manual_seed(0)
    for shape in ((5, 6), (4, 5, 4)):
        image = torch.rand(1, 1, *shape, dtype=torch.float64, requires_grad=True)
        u = smooth_field(*shape, size=0.7).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda i, v: warp_reference(i, v, outside=0.3), (image, u), nondet_tol=1e-12)


def test_compiled_gradient_agrees_with_differences():
    image, u = torch.rand(1, 1, 8, 9, 10), smooth_field(8, 9, 10, size=0.8).requires_grad_()
    direction = torch.randn(1, 3, 8, 9, 10, generator=torch.Generator().manual_seed(1))
    weight = torch.rand(1, 1, 8, 9, 10)
    slope = (torch.autograd.grad((warp(image, u, outside="border") * weight).sum(), u)[0] * direction).sum()
    step = 1e-5
    ends = [warp(image.double(), u.double() + s * direction, outside="border").detach() for s in (-step, step)]
    difference = ((ends[1] - ends[0]) * weight).sum() / (2 * step)
    assert float(slope) == pytest.approx(float(difference), rel=2e-3)


def test_layer_is_the_function():
    image, u = torch.rand(1, 1, 8, 9, 10), smooth_field(8, 9, 10)
    torch.testing.assert_close(SpatialTransformer(outside="border")(image, u), warp(image, u, outside="border"))


@pytest.mark.parametrize("shape", [(1, 2, 8, 9, 10), (2, 3, 8, 9, 10), (1, 3, 9, 10)])
def test_disagreeing_shapes_are_refused(shape):
    with pytest.raises(InputError, match="must agree"):
        warp(torch.rand(1, 1, 8, 9, 10), torch.zeros(shape))
