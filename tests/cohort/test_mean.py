"""The mean of a group: planted shapes whose mean is known, images and labels against plain arithmetic."""

import numpy as np
import phantoms
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from deformgan.cohort import mean
from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.registration.appearance import Appearance
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform

GRID = Geometry((30, 34, 28), (5.0, 5.0, 6.0), (-74.0, -84.0, -80.0))


def rigid(turn_deg, shift):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def bent(amplitude, phase=0.0):
    """A smooth field of some mm on a lattice larger than GRID."""
    lattice = GRID.padded(6)
    points = voxel_points(lattice)
    waves = np.stack([np.sin(points[..., (k + 1) % 3] / 40 + phase + k) for k in range(3)], -1)
    return DisplacementField(lattice, (amplitude * waves).astype(np.float32))


def inner():
    return voxel_points(GRID)[4:-4:3, 4:-4:3, 4:-4:3].reshape(-1, 3)


def test_the_mean_of_turns_is_the_turn_half_way():
    first, second = rigid((0, 0, 10), (4, 0, 0)), rigid((0, 0, 50), (4, 0, 0))
    found = mean.mean_affine([first, second])
    np.testing.assert_allclose(Rotation.from_matrix(found[:3, :3]).as_euler("xyz", degrees=True), (0, 0, 30), atol=1e-9)
    np.testing.assert_allclose(mean.mean_affine([first, np.linalg.inv(first)]), np.eye(4), atol=1e-12)
    doubled = np.diag([2.0, 2, 2, 1])
    np.testing.assert_allclose(mean.mean_affine([doubled, np.diag([0.5, 0.5, 0.5, 1])]), np.eye(4), atol=1e-12)


def test_no_mean_of_what_lies_upside_down():
    with pytest.raises(InputError, match="half a turn"):
        mean.mean_affine([np.eye(4), np.diag([-1.0, -1.0 - 1e-3, 1, 1])])


def test_shapes_on_either_side_of_the_template_have_it_as_their_mean():
    there, back = (Transform((bent(sign * 6.0), Affine(np.eye(4)))) for sign in (1, -1))
    assert np.abs(mean.mean_map([there, back], GRID).apply(inner()) - inner()).max() < 1e-4


def test_the_mean_shape_is_found_and_taken_out():
    """Subjects lie about a common map M: T_i = M then +-w; seen from the template in the middle, M is gone."""
    common = Transform((bent(7.0, 0.4), Affine(rigid((3, -4, 5), (6, -5, 4)))))
    sides = [Transform((bent(sign * 3.0, 1.3),)) for sign in (1, -1)]
    subjects = [(common @ side) for side in sides]  # both fields stand before the affine
    found = mean.mean_map(subjects, GRID)
    assert np.linalg.norm(found.apply(inner()) - common.apply(inner()), axis=1).max() < 0.4
    seen = np.mean([mean.through(found, s).apply(inner()) - inner() for s in subjects], axis=0)
    before = np.mean([s.apply(inner()) - inner() for s in subjects], axis=0)
    assert np.linalg.norm(seen, axis=1).mean() < 0.03 * np.linalg.norm(before, axis=1).mean()
    half = mean.mean_map(subjects, GRID, step=0.5)
    far = np.linalg.norm(found.apply(inner()) - inner(), axis=1)
    np.testing.assert_allclose(np.linalg.norm(half.apply(inner()) - inner(), axis=1), far / 2, atol=0.6)


def test_images_of_another_brightness_count_alike_and_a_corner_that_few_see_is_left_out():
    image = phantoms.image(GRID, phantoms.T1, noise=0)
    double, still = Volume(3 * image.tensor, GRID), Transform.identity()
    half = Geometry((15, *GRID.size[1:]), GRID.spacing, GRID.origin)  # of the field of view
    low = Volume(image.tensor[..., :15] * 1.0, half)
    whole = mean.mean_image([(image, still), (double, still)], GRID)
    torch.testing.assert_close(whole.tensor, 2 * image.tensor, rtol=1e-4, atol=1e-3)
    seen = mean.mean_image([(low, still), (low, still), (image, still)], GRID)
    assert float(seen.tensor[..., 16:].std()) == 0 and float(seen.tensor[..., :15].std()) > 1
    assert mean.brightness(phantoms.image(GRID, phantoms.CT)) == 1


def test_sharpening_raises_the_gradient_energy_and_smoothing_lowers_it():
    image, still = phantoms.image(GRID, phantoms.T1, noise=0), Transform.identity()
    plain, sharp = (mean.mean_image([(image, still)] * 2, GRID, s) for s in (0.0, 0.5))
    smooth = Volume(torch.from_numpy(gaussian_filter(image.numpy(), 1.0)), GRID)
    values = [mean.gradient_energy(v) for v in (smooth, plain, sharp)]
    assert values == sorted(values) and values[2] > 1.2 * values[1] > 1.3 * values[0]
    assert mean.gradient_energy(Volume(7 * image.tensor, GRID)) == pytest.approx(mean.gradient_energy(image), rel=1e-4)


def test_the_gradient_energy_of_a_ramp_is_known():
    x = torch.from_numpy(voxel_points(GRID)[..., 0].astype(np.float32)) + 400
    seen = Appearance.of(Volume(x, GRID), None, torch.device("cpu")).foreground[0, 0] > 0
    assert float(seen.float().mean()) > 0.5
    assert mean.gradient_energy(Volume(x, GRID)) == pytest.approx(1 / float(x[seen].mean()) ** 2, rel=1e-5)


def test_labels_are_those_of_most_and_of_equals_the_smallest():
    images = np.random.default_rng(0).integers(-1, 5, (6, 4, 5, 7)).astype(np.int32)
    np.testing.assert_array_equal(mean.voted_labels(list(images)), stats.mode(images, axis=0).mode)


def test_the_common_grid_holds_what_the_usual_image_holds():
    turned = phantoms.centred((30, 24, 31), (5.6, 7.2, 5.8), phantoms.TILT)
    maps = [Transform((Affine(rigid((0, 0, 0), (0, 0, 10 * k))),)) for k in (-1, 0, 1)]
    grid = mean.common_grid([turned] * 3, maps, 4.0)
    assert grid.spacing == (4.0, 4.0, 4.0) and grid.direction == Geometry((1, 1, 1)).direction
    index = turned.corners @ grid.inverse[:3, :3].T + grid.inverse[:3, 3]
    assert (index > -0.6).all() and (index < np.array(grid.size) - 0.4).all()
    np.testing.assert_allclose(grid.centre, turned.centre, atol=1e-6)
    assert mean.common_grid([GRID] * 3, maps, None).spacing[0] == pytest.approx(150 ** (1 / 3))
