"""Errors of landmarks under maps whose answer is known."""

import numpy as np
import pytest

from deformgan.errors import InputError
from deformgan.evaluation.landmarks import landmark_measures, paired
from deformgan.io.points import Landmarks
from deformgan.spatial.transform import Affine, Transform

POINTS = np.random.default_rng(0).normal(size=(40, 3)) * 30


def shift(*mm):
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return Transform((Affine(matrix),))


def test_the_map_goes_from_fixed_to_moving():
    moving = POINTS + np.array([3.0, 4.0, 0.0])
    right = landmark_measures(shift(3.0, 4.0, 0.0), POINTS, moving)
    wrong_way = landmark_measures(shift(-3.0, -4.0, 0.0), POINTS, moving)
    assert right["tre_mm"]["max"] < 1e-9 and right["tre_before_mm"]["mean"] == pytest.approx(5)
    assert wrong_way["tre_mm"]["median"] == pytest.approx(10)
    assert right["landmarks_improved_percent"] == 100 and wrong_way["landmarks_improved_percent"] == 0


def test_mean_median_and_percentile_of_known_errors():
    fixed = np.zeros((5, 3))
    moving = np.zeros((5, 3))
    moving[:, 1] = [1, 2, 3, 4, 10]
    found = landmark_measures(Transform.identity(), fixed, moving)
    assert found["landmarks"] == 5 and found["landmarks_improved_percent"] == 0
    assert found["tre_mm"] == pytest.approx({"mean": 4, "median": 3, "p95": 8.8, "max": 10})


def test_names_pair_points_and_those_without_counterpart_are_left_out():
    fixed = Landmarks(POINTS[:3], ("a", "b", "c"))
    moving = Landmarks(POINTS[[2, 0, 7]], ("c", "a", "z"))
    f, m = paired(fixed, moving)
    np.testing.assert_array_equal(f, POINTS[[0, 2]])
    np.testing.assert_array_equal(m, POINTS[[0, 2]])


def test_without_names_the_order_pairs_and_the_number_must_agree():
    empty = Landmarks(POINTS[:3], ("", "", ""))
    f, m = paired(empty, Landmarks(POINTS[3:6], ("x", "x", "y")))
    np.testing.assert_array_equal(f, POINTS[:3])
    np.testing.assert_array_equal(m, POINTS[3:6])
    with pytest.raises(InputError, match="3 fixed and 4 moving"):
        paired(empty, Landmarks(POINTS[:4], ("",) * 4))
    with pytest.raises(InputError, match="no landmarks"):
        paired(*[Landmarks(np.empty((0, 3)), ())] * 2)
