"""Mutual information under a pose: against a plain torch twin, its derivative by autograd, and any thread count."""

import numpy as np
import pytest
import torch

from deformgan.kernels.joint_histogram import information_of_poses, information_with_derivative
from deformgan.kernels.threads import set_threads
from deformgan.similarity.information import information_of_pose

BINS = 16


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
    share, mi, slope = information_with_derivative(points, bins, image, valid, pose, BINS)
    leaf = torch.from_numpy(pose).requires_grad_()
    tensors = torch.from_numpy(points).double(), torch.from_numpy(bins), torch.from_numpy(image).double()
    share_twin, mi_twin = information_of_pose(*tensors, torch.from_numpy(valid), leaf, BINS)
    (slope_twin,) = torch.autograd.grad(mi_twin, leaf)
    assert share == pytest.approx(float(share_twin)) and 0.5 < share < 1
    assert mi == pytest.approx(float(mi_twin.detach()), rel=1e-4)
    np.testing.assert_allclose(slope, slope_twin.numpy(), rtol=2e-3, atol=2e-4)
    many = information_of_poses(points, bins, image, valid, np.stack([pose, pose]), BINS)
    np.testing.assert_allclose(many[1], mi, rtol=1e-6)


def test_invalid_voxels_are_left_out(problem):
    points, bins, image, pose = problem
    valid = np.ones(image.shape, np.uint8)
    valid[:, :, 8:] = 0
    landed = points @ pose[:, :3].T + pose[:, 3]
    kept = ((landed >= -0.5) & (landed < np.array(image.shape) - 0.5)).all(1) & (np.floor(landed[:, 2] + 0.5) < 8)
    share, mi = (v[0] for v in information_of_poses(points, bins, image, valid, pose[None], BINS))
    assert share == pytest.approx(kept.mean(), abs=2e-3)
    tensors = (torch.from_numpy(a) for a in (points.astype(float), bins, image.astype(float), valid, pose))
    share_twin, mi_twin = information_of_pose(*tensors, BINS)
    assert share == pytest.approx(float(share_twin), abs=1e-3) and mi == pytest.approx(float(mi_twin), rel=1e-3)


def test_any_number_of_threads_gives_the_same_bits(problem):
    points, bins, image, pose = problem
    valid, results = np.ones(image.shape, np.uint8), []
    poses = np.stack([pose + np.array([0, 0, 0, k]) for k in range(9)])
    for threads in (1, 2):
        set_threads(threads)
        results.append(information_of_poses(points, bins, image, valid, poses, BINS)[1])
    np.testing.assert_array_equal(*results)
