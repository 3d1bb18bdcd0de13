"""The plot of Dice: dots lie where their values are, a method's colour is its own."""

import io

import numpy as np
from matplotlib.image import imread

from deformgan.report.dice_plot import COLOURS, dice_plot


def of_colour(values, colour):
    """Rows and columns, as shares of the picture, of the pixels of a colour."""
    picture = imread(io.BytesIO(dice_plot(values)))[..., :3]
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    rows, columns = np.nonzero(np.abs(picture - wanted).max(-1) < 0.02)
    axes = rows > 0.15 * len(picture)  # below the legend
    return rows[axes] / picture.shape[0], columns[axes] / picture.shape[1]


def test_higher_values_lie_higher_and_methods_beside_each_other():
    values = {"one": {"liver": [0.9, 0.92, 0.94], "spleen": [0.1, 0.12]}, "two": {"liver": [0.5, 0.5], "spleen": [0.5]}}
    rows, columns = of_colour(values, COLOURS[0])
    left = columns < 0.55
    assert rows[left].mean() < 0.35 and rows[~left].mean() > 0.7
    rows, columns = of_colour(values, COLOURS[1])
    assert 0.4 < rows.mean() < 0.6 and columns.min() > of_colour(values, COLOURS[0])[1].min() + 0.05


def test_a_structure_that_a_method_lacks_is_left_empty():
    values = {"one": {"liver": [0.5, 0.6], "spleen": [0.5]}, "two": {"liver": [], "spleen": [0.9]}}
    assert of_colour(values, COLOURS[1])[1].min() > 0.5
