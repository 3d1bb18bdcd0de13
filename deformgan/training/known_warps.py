"""Random smooth warps whose truth is known, and how far a prediction is from it."""

from __future__ import annotations

import torch
from torch import Tensor

from deformgan.config import AugmentationConfig
from deformgan.spatial.affine import from_parameters
from deformgan.spatial.field import compose, exponential
from deformgan.spatial.pyramid import gaussian_smooth
from deformgan.spatial.warp import voxel_indices

NODES = 2.0  # of the coarse lattice in a sigma
LEAST_STRENGTH = 0.2  # of a warp, as a share of the largest
LEAST_SMOOTHNESS = 0.4  # likewise; bodies differ at many scales


def random_warp(shape: tuple[int, ...], spacing_mm: float, config: AugmentationConfig, rng: torch.Generator) -> Tensor:
    """v (1, 3, *shape), z y x, in voxels: the warped image is image(x + v(x)).

    A diffeomorphism, the flow of a smooth random velocity, and then an affine map about the grid's centre.
    """
    strength, smoothness = (
        least + (1 - least) * float(torch.rand((), generator=rng)) for least in (LEAST_STRENGTH, LEAST_SMOOTHNESS)
    )
    smooth = _smooth_field(shape, 3, smoothness * config.smoothness_mm / spacing_mm, rng)
    longest = smooth.square().sum(1).max().sqrt().clamp_min(1e-6)
    flow = exponential(smooth * (strength * config.motion_mm / spacing_mm / longest))
    return _moved_by_affine(flow, spacing_mm, config, rng)


def _smooth_field(shape: tuple[int, ...], channels: int, sigma: float, rng: torch.Generator) -> Tensor:
    """(1, channels, *shape): white noise smoothed by a Gaussian of `sigma` voxels, made on a coarse lattice."""
    step = max(1.0, sigma / NODES)
    nodes = tuple(max(4, round(n / step)) for n in shape)
    noise = torch.randn((1, channels, *nodes), generator=rng)
    coarse = gaussian_smooth(noise, sigma / step)
    return torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=False)


def smooth_unit_field(shape: tuple[int, ...], sigma: float, rng: torch.Generator, channels: int = 1) -> Tensor:
    """(1, channels, *shape) smooth random values, each channel of mean 0 and largest size 1."""
    field = _smooth_field(shape, channels, sigma, rng)
    field = field - field.mean((2, 3, 4), keepdim=True)
    return field / field.abs().amax((2, 3, 4), keepdim=True).clamp_min(1e-6)


def _moved_by_affine(flow: Tensor, spacing_mm: float, config: AugmentationConfig, rng: torch.Generator) -> Tensor:
    """x -> A (x + flow(x)), as a displacement."""
    most = torch.tensor(
        [torch.pi / 180 * config.rotation] * 3 + [config.shift_mm / spacing_mm] * 3 + [config.scale] * 3 + [0.0] * 3
    ).double()
    p = (2 * torch.rand(12, generator=rng).double() - 1) * most
    # The turn is about the origin of coordinates that begin at the grid's centre; the order of axes is z, y, x.
    matrix = torch.from_numpy(from_parameters(p.numpy(), torch.zeros(3).double().numpy(), "affine")).float()
    shape = tuple(flow.shape[2:])
    centre = torch.tensor([(n - 1) / 2 for n in shape]).view(1, 3, 1, 1, 1)
    here = voxel_indices(shape, like=flow)[None]
    moved = torch.einsum("ij,bjzyx->bizyx", matrix[:3, :3], here + flow - centre) + matrix[:3, 3].view(1, 3, 1, 1, 1)
    return moved + centre - here


def remaining(displacement: Tensor, known: Tensor) -> Tensor:
    """(B, 3, *spatial), voxels: where x + u(x), sent through the planted warp, ends, less x; 0 = the truth."""
    return compose(known, displacement)
