"""Dice of every label in one pass, against sets of voxels counted one label at a time."""

import numpy as np
import pytest

from deformgan.evaluation.overlap import coded_labels, overlap


def blobs(seed, labels=(0, 1, 2, 7, 2035), shape=(9, 11, 13)):
    return np.random.default_rng(seed).choice(labels, size=shape).astype(np.int32)


def by_hand(fixed, warped, label):
    f, w = set(np.flatnonzero(fixed == label)), set(np.flatnonzero(warped == label))
    return 2 * len(f & w) / (len(f) + len(w)) if f or w else np.nan


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_dice_is_that_of_sets_of_voxels(dtype):
    fixed, warped = blobs(0, (0, 1, 5, 9)).astype(dtype), blobs(1, (0, 1, 5, 100)).astype(dtype)
    labels = coded_labels(fixed, warped)
    assert labels.values.tolist() == [1, 5, 9, 100]
    found = overlap(labels)
    np.testing.assert_allclose(found.dice, [by_hand(fixed, warped, n) for n in labels.values], rtol=1e-12)
    assert found.fixed_voxels.tolist() == [(fixed == n).sum() for n in labels.values]
    assert found.warped_voxels.tolist() == [(warped == n).sum() for n in labels.values]
    assert found.dice[2] == 0 and found.dice[3] == 0  # in one image only


def test_large_and_negative_labels_are_counted_too():
    fixed, warped = (blobs(seed, (0, -3, 6, 8)).astype(np.int64) for seed in (2, 3))
    fixed[fixed == 8] = warped[warped == 8] = 1 << 40
    labels = coded_labels(fixed, warped)
    assert labels.values.tolist() == [-3, 6, 1 << 40]
    np.testing.assert_allclose(overlap(labels).dice, [by_hand(fixed, warped, n) for n in labels.values], rtol=1e-12)


def test_only_the_labels_asked_for_and_nan_where_none_has_one():
    fixed, warped = blobs(4), blobs(5)
    labels = coded_labels(fixed, warped, only=(2, 555, 7))
    found = overlap(labels)
    assert labels.values.tolist() == [2, 7, 555]
    assert np.isnan(found.dice[2])
    np.testing.assert_allclose(found.dice[:2], [by_hand(fixed, warped, n) for n in (2, 7)])


def test_background_alone_has_no_label():
    empty = np.zeros((3, 3, 3), np.int16)
    assert len(overlap(coded_labels(empty, empty)).dice) == 0
