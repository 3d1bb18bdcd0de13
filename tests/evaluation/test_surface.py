"""Surface distances: exact cases, and MONAI as the referee on random blobs."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage

from deformgan.evaluation.overlap import coded_labels
from deformgan.evaluation.surface import surface_distances

SPACING = (0.8, 1.7, 3.1)  # x, y, z


def blobs(seed, shape=(24, 27, 31), labels=3):
    """Smooth random regions that touch each other and the image's border."""
    noise = np.random.default_rng(seed).normal(size=(labels + 1, *shape))
    return np.argmax([ndimage.gaussian_filter(n, 2.5) for n in noise], axis=0)


def moved(fixed, seed):
    return np.where(np.random.default_rng(seed).random(fixed.shape) < 0.02, 0, np.roll(fixed, (1, -2, 2), (0, 1, 2)))


def one_hot(image, labels):
    return torch.from_numpy(np.stack([image == n for n in (0, *labels)])[None].astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
def test_monai_agrees_on_random_blobs(seed):
    fixed = blobs(seed)
    warped = moved(fixed, seed)
    labels = coded_labels(fixed, warped)
    found = surface_distances(labels, SPACING)
    images = one_hot(warped, labels.values), one_hot(fixed, labels.values)
    spacing = SPACING[::-1]
    assd = compute_average_surface_distance(*images, symmetric=True, spacing=spacing)[0]
    hd95 = compute_hausdorff_distance(*images, percentile=95, spacing=spacing)[0]
    assert len(labels.values) == 3 and hd95.min() > 1
    np.testing.assert_allclose(found.assd_mm, assd, rtol=1e-6)
    np.testing.assert_allclose(found.hd95_mm, hd95, rtol=1e-5)  # MONAI interpolates its percentile in float32
    masks = zip(images[0][0, 1:].bool(), images[1][0, 1:].bool(), strict=True)
    distances = [get_edge_surface_distance(*pair, symmetric=True, spacing=spacing)[1] for pair in masks]
    exact = [max(np.percentile(way.double().numpy(), 95) for way in ways) for ways in distances]
    np.testing.assert_allclose(found.hd95_mm, exact, rtol=1e-6)


def test_a_shifted_box_is_as_far_as_it_was_shifted():
    fixed, warped = np.zeros((2, 12, 14, 40), np.int16)
    fixed[3:9, 4:10, 5:15] = 4
    warped[3:9, 4:10, 22:32] = 4  # 17 voxels along x: the boxes do not meet
    found = surface_distances(coded_labels(fixed, warped), (0.5, 1.0, 2.0))
    ends = [8.5, 4.0]  # whole faces at either end, rims between
    counts = {x: 36 if x in ends else 20 for x in np.arange(8.5, 3.9, -0.5)}
    exact = np.repeat(list(counts), list(counts.values()))
    assert found.hd95_mm[0] == pytest.approx(np.percentile(exact, 95))
    assert found.assd_mm[0] == pytest.approx(exact.mean())


def test_a_label_of_one_image_has_no_distance():
    fixed, warped = np.zeros((2, 6, 6, 6), np.int16)
    fixed[1:3, 1:3, 1:3], fixed[4, 4, 4], warped[1:3, 1:3, 1:3] = 1, 2, 1
    found = surface_distances(coded_labels(fixed, warped), (1.0, 1.0, 1.0))
    assert found.hd95_mm[0] == 0 and found.assd_mm[0] == 0
    assert np.isnan(found.hd95_mm[1]) and np.isnan(found.assd_mm[1])
