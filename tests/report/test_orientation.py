"""Views and letters have exact answers: a corner marked in the patient must stand at a known corner of the picture."""

import itertools

import numpy as np
import pytest

from deformgan.io.geometry import Geometry
from deformgan.report.orientation import Orientation, letters_of, radiological_views

AXIS_ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
PATIENT_SHAPE = (5, 6, 7)  # superior, posterior, left
PATIENT_SPACING = (1.0, 2.0, 3.0)  # towards left, posterior, superior


def stored(order, signs):
    """A phantom, bright at its left, posterior, superior corner, with index axis k along patient axis order[k]."""
    patient = np.zeros(PATIENT_SHAPE, np.float32)
    patient[-1, -1, -1] = 1
    array = np.transpose(patient, [2 - order[2 - a] for a in range(3)])
    array = array[tuple(slice(None, None, signs[2 - a]) for a in range(3))]
    direction = np.zeros((3, 3))
    for k in range(3):
        direction[order[k], k] = signs[k]
    spacing = tuple(PATIENT_SPACING[order[k]] for k in range(3))
    return array, Geometry(array.shape[::-1], spacing, (0, 0, 0), tuple(direction.ravel()))


@pytest.mark.parametrize(("order", "signs"), AXIS_ORDERS)
def test_views_of_all_48_axis_orders(order, signs):
    array, geometry = stored(order, signs)
    orientation = Orientation.of(geometry)
    turned = orientation.turn(array)
    axial, coronal, sagittal = radiological_views(orientation, turned.shape, tuple(n - 1 for n in turned.shape))

    assert turned.shape == PATIENT_SHAPE
    assert axial.letters == ("R", "L", "A", "P")  # left, right, top, bottom of the picture
    assert coronal.letters == ("R", "L", "S", "I")
    assert sagittal.letters == ("A", "P", "S", "I")
    assert (axial.pixel_mm, coronal.pixel_mm, sagittal.pixel_mm) == ((2, 1), (3, 1), (3, 2))
    assert [v.cut(turned).shape for v in (axial, coronal, sagittal)] == [(6, 7), (5, 7), (5, 6)]
    for view, row in ((axial, -1), (coronal, 0), (sagittal, 0)):  # posterior below; superior above
        picture = view.cut(turned)
        assert picture[row, -1] == 1, view.name
        assert picture.sum() == 1


def test_letters_of_a_tilted_axis_name_both_sides():
    tilt = np.radians(30)
    assert letters_of(np.array([np.cos(tilt), np.sin(tilt), 0])) == "LP"
    assert letters_of(np.array([0, -np.sin(tilt), -np.cos(tilt)])) == "IA"
    assert letters_of(np.array([np.cos(0.1), 0, np.sin(0.1)])) == "L"


def test_an_oblique_grid_goes_to_its_closest_axes_and_keeps_its_tilt():
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    direction = turn[:, [1, 2, 0]] * [-1, 1, -1]  # index x towards anterior, y superior, z right, all tilted
    orientation = Orientation.of(Geometry((3, 4, 5), (1, 2, 3), (0, 0, 0), tuple(direction.ravel())))
    assert orientation.spacing == (2, 1, 3)
    np.testing.assert_allclose(orientation.directions, turn.T[::-1], atol=1e-12)
