"""What is missing from an image is told from air with the other image's help."""

import numpy as np
import phantoms
import pytest
import torch

from deformgan.io.volume import Volume
from deformgan.registration.appearance import Appearance
from deformgan.registration.deformable import deform
from deformgan.registration.field_of_view import missing, without_missing
from deformgan.registration.options import PRESETS
from deformgan.registration.recipe import CT_AND_MR
from deformgan.similarity.objective import parse_similarity
from deformgan.spatial.affine import from_parameters
from deformgan.spatial.grid import voxel_points

STILL = np.eye(4)


def appearance(volume: Volume) -> Appearance:
    return Appearance.of(volume, None, torch.device("cpu"))


@pytest.fixture(scope="module")
def ct():
    return phantoms.image(phantoms.GRID, phantoms.CT)


@pytest.fixture(scope="module")
def padded():
    """(MR cut by a tilted plane and filled with its noisy background; where it was cut)."""
    whole = phantoms.image(phantoms.OBLIQUE, phantoms.T1)
    cut = voxel_points(whole.geometry) @ [0.3, 0.2, 1.0] > 15
    noise = 1.6 * np.random.default_rng(1).standard_normal(cut.shape)
    return Volume(torch.from_numpy(np.where(cut, noise, whole.numpy()).astype(np.float32)), whole.geometry), cut


def at_native(image: Appearance) -> np.ndarray:
    return np.zeros(image.image.shape[2:], bool) if image.valid is None else (image.valid[0, 0] == 0).numpy()


def test_a_cut_inside_the_body_is_found_and_air_is_not(ct, padded):
    moving, cut = padded
    fixed, found = without_missing(appearance(ct), appearance(moving), STILL)
    gone, points = at_native(found), voxel_points(moving.geometry)
    inside = np.linalg.norm(points / [62, 74, 66], axis=-1) < 0.75
    assert gone[cut & inside].mean() > 0.98
    assert gone[~cut].mean() < 0.06  # the rim, two voxels of 3 to 4 mm
    assert fixed.valid is None


@pytest.mark.parametrize("contrast", [phantoms.T1, phantoms.T2])
def test_nothing_is_missing_from_whole_heads_some_millimetres_apart(ct, contrast):
    moving = phantoms.image(phantoms.OBLIQUE.padded(8), contrast)
    off = from_parameters(np.array([0.03, -0.03, 0.03, 2, -2, 2]), np.zeros(3), "rigid")
    assert not missing(appearance(moving), appearance(ct), off).any()
    assert not missing(appearance(ct), appearance(moving), off).any()


def test_the_scalp_is_missing_from_a_stripped_brain():
    whole, moving = (phantoms.image(g, phantoms.T1) for g in (phantoms.GRID, phantoms.OBLIQUE))
    stripped = phantoms.tissue(voxel_points(moving.geometry)) < 3
    brain = Volume(moving.tensor * torch.from_numpy(~stripped), moving.geometry)
    _, found = without_missing(appearance(whole), appearance(brain), STILL)
    radius = np.linalg.norm(voxel_points(moving.geometry) / [62, 74, 66], axis=-1)
    assert at_native(found)[(radius > 0.82) & (radius < 0.86)].mean() > 0.9


def test_a_mask_of_the_user_stays(ct, padded):
    moving, _ = padded
    mine = Volume(torch.ones_like(moving.tensor, dtype=torch.uint8), moving.geometry)
    mine.tensor[:, :, :20] = 0
    one = Appearance.of(moving, mine, torch.device("cpu"))
    _, found = without_missing(appearance(ct), one, STILL)
    assert at_native(found)[:, :, :20].all()
    assert at_native(found)[:, :, 20:].any() and not at_native(found)[:, :, 20:].all()


def test_the_edge_of_a_cut_bends_the_field_only_where_it_is_not_told(ct, padded):
    images = appearance(ct), appearance(padded[0])
    points = voxel_points(ct.geometry)
    body = np.linalg.norm(points / [62, 74, 66], axis=-1) < 0.75
    seen = points[body & (points @ [0.3, 0.2, 1.0] < 10)]
    weights, levels = parse_similarity(CT_AND_MR.similarity), PRESETS["default"].levels

    def error(f: Appearance, m: Appearance) -> float:
        moved = deform(f, m, STILL, weights, CT_AND_MR.settings, levels).then(STILL).apply(seen)
        return float(np.median(np.linalg.norm(moved - seen, axis=1)))

    assert error(*without_missing(*images, STILL)) < 1.3
    assert error(*images) > 2.5
