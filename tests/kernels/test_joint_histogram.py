"""Mutual information under a pose: against a plain torch twin, its derivative by autograd, and any thread count."""

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from deformgan.kernels.joint_histogram import information_of_poses, information_with_derivative
from deformgan.kernels.threads import set_threads
from deformgan.spatial.grid import sampling_grid

BINS = 16


def twin(points, bins, image, pose):
    """Share inside and MI of one pose (3, 4), in float64 torch; differentiable by the pose."""
    landed = points @ pose[:, :3].T + pose[:, 3]
    size = torch.tensor(image.shape)
    inside = ((landed >= -0.5) & (landed < size - 0.5)).all(1)
    grid = sampling_grid(landed[inside].T[None, :, :, None, None], tuple(image.shape))
    values = grid_sample(image[None, None], grid, padding_mode="border", align_corners=False).flatten()
    low = values.detach().long().clamp(max=BINS - 2)
    right = values - low
    joint = torch.zeros(BINS * BINS, dtype=torch.float64)
    joint = joint.index_add(0, bins[inside] * BINS + low, 1 - right)
    joint = joint.index_add(0, bins[inside] * BINS + low + 1, right).view(BINS, BINS)
    kernel = torch.zeros(BINS, BINS, dtype=torch.float64)
    for i in range(BINS):
        for offset, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            kernel[i, min(max(i + offset, 0), BINS - 1)] += weight
    p = kernel @ joint @ kernel.T / inside.sum()
    independent = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    kept = p > 1e-12
    return inside.double().mean(), (p[kept] * torch.log(p[kept] / independent[kept])).sum()


@pytest.fixture
def problem():
    rng = np.random.default_rng(3)
    z, y, x = np.meshgrid(*[np.arange(n) for n in (12, 14, 16)], indexing="ij")
    image = (np.sin(z / 2) + np.cos(y / 3) + np.sin((x + z) / 4) + 3) / 6 * (BINS - 1.01)
    points = (rng.random((3000, 3)) * [14, 15, 17] - 1).astype(np.float32)
    bins = rng.integers(0, BINS, 3000)
    pose = np.array([[0.97, 0.1, -0.05, 0.4], [-0.08, 1.02, 0.06, -0.3], [0.03, -0.07, 0.95, 0.7]])
    return points, bins, np.ascontiguousarray(image, np.float32), pose


def test_value_and_derivative_equal_the_twin(problem):
    points, bins, image, pose = problem
    valid = np.ones(image.shape, np.uint8)
    share, mi, slope = information_with_derivative(points, bins, image, valid, pose, BINS, 8)
    leaf = torch.from_numpy(pose).requires_grad_()
    tensors = torch.from_numpy(points).double(), torch.from_numpy(bins), torch.from_numpy(image).double()
    share_twin, mi_twin = twin(*tensors, leaf)
    (slope_twin,) = torch.autograd.grad(mi_twin, leaf)
    assert share == pytest.approx(float(share_twin)) and 0.5 < share < 1
    assert mi == pytest.approx(float(mi_twin), rel=1e-4)
    np.testing.assert_allclose(slope, slope_twin.numpy(), rtol=2e-3, atol=2e-4)
    many = information_of_poses(points, bins, image, valid, np.stack([pose, pose]), BINS)
    np.testing.assert_allclose(many[1], mi, rtol=1e-6)


def test_invalid_voxels_are_left_out(problem):
    points, bins, image, pose = problem
    valid = np.ones(image.shape, np.uint8)
    valid[:, :, 8:] = 0
    landed = points @ pose[:, :3].T + pose[:, 3]
    kept = ((landed >= -0.5) & (landed < np.array(image.shape) - 0.5)).all(1) & (np.floor(landed[:, 2] + 0.5) < 8)
    share = information_of_poses(points, bins, image, valid, pose[None], BINS)[0][0]
    assert share == pytest.approx(kept.mean(), abs=2e-3)


def test_any_number_of_threads_gives_the_same_bits(problem):
    points, bins, image, pose = problem
    valid, results = np.ones(image.shape, np.uint8), []
    for threads in (1, 2):
        set_threads(threads)
        results.append(information_with_derivative(points, bins, image, valid, pose, BINS, 8))
    assert results[0][1] == results[1][1]
    np.testing.assert_array_equal(results[0][2], results[1][2])
