"""Box sums and their parts against plain sums."""

import numba
import numpy as np
import pytest
import torch

from deformgan.kernels.box import NONE, box_sum, slab_bounds, total_weight, window_counts
from deformgan.similarity.windows import box_sum as box_sum_reference


@pytest.mark.parametrize("shape", [(2, 12, 13, 14), (1, 95, 5, 6), (1, 1, 9, 8), (3, 2, 3, 4)])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_box_sum_is_the_sum_over_the_window_cut_at_the_border(shape, size):
    stack = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    reach, expected = size // 2, np.zeros(shape)
    for z, y, x in np.ndindex(shape[1:]):
        low = [max(i - reach, 0) for i in (z, y, x)]
        window = stack[:, low[0] : z + reach + 1, low[1] : y + reach + 1, low[2] : x + reach + 1]
        expected[:, z, y, x] = window.sum((1, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(box_sum(stack, size), expected, atol=1e-4)
    twin = box_sum_reference(torch.from_numpy(stack)[None].double(), size)[0]
    np.testing.assert_allclose(twin, expected, atol=1e-9)


def test_nothing_is_left_behind_by_a_bright_voxel():
    stack = np.zeros((1, 30, 20, 20), np.float32)
    stack[0, 2, 2, 2] = 1e7
    stack[0, 20:] = 1e-3
    np.testing.assert_allclose(box_sum(stack, 5)[0, 25, 10, 10], 0.125, rtol=1e-5)
    assert box_sum(stack, 5)[0, 10].max() == 0


def test_counts_are_the_box_sums_of_ones():
    ones = np.ones((1, 6, 11, 4), np.float32)
    counts = [window_counts(5, n) for n in ones.shape[1:]]
    product = counts[0][:, None, None] * counts[1][:, None] * counts[2]
    np.testing.assert_array_equal(box_sum(ones, 5)[0], product)


@pytest.mark.parametrize("depth", [1, 2, 39, 81, 160, 501])
def test_slabs_share_the_planes(depth):
    planes = np.diff(slab_bounds(depth))
    assert planes.sum() == depth and planes.min() >= 1 and planes.max() <= 41
    assert planes.max() - planes.min() <= 1 and (len(planes) % 2 == 0 or depth == 1)


def test_total_weight_is_the_sum_of_the_product():
    weight, mask = np.random.default_rng(0).random((2, 50, 6, 7)).astype(np.float32)
    bounds = slab_bounds(50)
    assert total_weight(mask.shape, weight, mask, bounds) == pytest.approx(float((weight * mask).sum()), rel=1e-5)
    assert total_weight(mask.shape, NONE, mask, bounds) == pytest.approx(float(mask.sum()), rel=1e-5)
    assert total_weight(mask.shape, NONE, NONE, bounds) == mask.size


def test_same_bits_for_any_number_of_threads():
    stack = np.random.default_rng(0).standard_normal((2, 90, 10, 12)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    for threads in {1, numba.config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(threads)
        results.append(box_sum(stack, 7))
    numba.set_num_threads(before)
    assert all(np.array_equal(result, results[0]) for result in results)
