"""A result that is worse than the start is said to be; a good one is not, even of a spoiled image."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import phantoms
import pytest
import torch
from phantoms import MOTION

import deformgan
from deformgan.io.formats import write_volume
from deformgan.io.transform_files import Affine, DisplacementField
from deformgan.io.volume import Volume
from deformgan.registration.affine import rigid_then_affine
from deformgan.registration.appearance import Appearance
from deformgan.registration.options import RegisterOptions
from deformgan.registration.plausible import (
    FEWEST,
    LEAST_GAIN,
    faults_of_metrics,
    implausible,
    information_in_depth,
)
from deformgan.registration.pose import Poses
from deformgan.registration.progress import silent
from deformgan.spatial.affine import from_parameters
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.ranges import Ranges
from deformgan.spatial.transform import Transform

COMMAND = str(Path(sys.executable).with_name("deformgan"))
CENTRE = np.zeros(3)


@pytest.fixture(scope="module")
def pair():
    return phantoms.moved_pair()


@pytest.fixture(scope="module")
def looks(pair):
    return [Appearance.of(volume, None, torch.device("cpu")) for volume in pair]


def moved(*parameters):
    return Transform((Affine(from_parameters(np.array(parameters, float), CENTRE, "affine")),))


def test_tissue_tells_the_right_place_from_a_wrong_one(looks):
    right = information_in_depth(*looks, Transform((Affine(MOTION),)))
    assert right.points > FEWEST and right.here - right.aside > 4 * LEAST_GAIN and right.fault is None
    for shift in ((30, 0, 0), (0, -25, 15), (0, 0, 30)):
        wrong = information_in_depth(*looks, Transform((Affine(MOTION), *moved(0, 0, 0, *shift, *[0] * 6).parts)))
        assert wrong.here < right.here / 2 and "match hardly better" in wrong.fault
    assert implausible(*looks, Transform((Affine(MOTION),))) == []


def test_independent_tissue_tells_nothing(looks):
    rng = np.random.default_rng(3)
    body = phantoms.tissue(voxel_points(phantoms.GRID)) > 0
    noise = np.where(body, 50 + 100 * rng.random(body.shape), 0).astype(np.float32)
    other = Appearance.of(Volume(torch.from_numpy(noise), phantoms.GRID), None, torch.device("cpu"))
    seen = information_in_depth(looks[0], other, Transform.identity())
    assert abs(seen.here) < 0.02 and abs(seen.aside) < 0.02 and seen.fault


def test_bodies_that_part_are_found_and_small_ones_are_left_alone(looks):
    assert "hardly lie on each other" in information_in_depth(*looks, moved(0, 0, 0, 150, 0, 0, *[0] * 6)).fault
    grid = deformgan.Geometry((12, 12, 12), (3.0, 3.0, 3.0), (-16.0, -16.0, -16.0))
    small = Appearance.of(phantoms.image(grid, phantoms.T1), None, torch.device("cpu"))
    assert information_in_depth(small, small, moved(0, 0, 0, 150, 0, 0, *[0] * 6)).fault is None


def test_a_mask_is_not_looked_beyond(pair, looks):
    mask = torch.zeros(pair[0].geometry.shape, dtype=torch.uint8)
    mask[: mask.shape[0] // 2, : mask.shape[1] // 2] = 1
    quarter = Appearance.of(pair[0], Volume(mask, pair[0].geometry), torch.device("cpu"))
    whole, less = (information_in_depth(f, looks[1], Transform((Affine(MOTION),))) for f in (looks[0], quarter))
    assert 0.2 < less.points / whole.points < 0.7 and less.fault is None


def test_implausible_maps_are_named(looks):
    def reasons(transform):
        return " ".join(implausible(looks[0], looks[0], transform))

    assert reasons(Transform.identity()) == ""
    assert "scales or shears by a factor of 1.5" in reasons(moved(*[0] * 6, np.log(1.5), 0, 0, 0, 0, 0))
    grid = looks[0].geometry.padded(2)
    u = np.zeros((*grid.shape, 3), np.float32)
    u[..., 1] = 40.0 * np.sin(voxel_points(grid)[..., 0] / 40)
    assert "moves tissue by" in reasons(Transform((DisplacementField(grid, u),)))
    good = {"folding_percent": 0.0}, {"p95": 0.3}
    assert faults_of_metrics(*good) == []
    assert "folded" in faults_of_metrics({"folding_percent": 1.0}, good[1])[0]
    assert "inverse misses" in faults_of_metrics(good[0], {"p95": 3.0})[0]


@pytest.mark.parametrize("harm", ["half is empty", "half is missing", "noise"])
def test_a_spoiled_image_is_registered_and_not_suspected(pair, harm):
    fixed, moving = pair
    array, grid = moving.numpy().copy(), moving.geometry
    if harm == "half is empty":
        array[:, :, : array.shape[2] // 2] = array.min()
    elif harm == "half is missing":
        array = array[array.shape[0] // 2 :]
        grid = deformgan.Geometry(
            (*grid.size[:2], len(array)), grid.spacing,
            tuple((grid.matrix @ [0, 0, grid.size[2] - len(array), 1])[:3]), grid.direction,
        )  # fmt: skip
    else:
        array = np.abs(array + 12 * np.random.default_rng(0).standard_normal(array.shape))
    spoiled = Volume(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)), grid)
    found = deformgan.register(fixed, spoiled, options=RegisterOptions(preset="fast", stage="affine"))
    points, truth = phantoms.inner_points()
    error = np.linalg.norm(found.transform.apply(points) - truth, axis=1)
    assert np.median(error) < 4.0 < np.median(np.linalg.norm(truth - points, axis=1))
    assert not found.suspect and found.suspect_reasons == ()


def test_a_pose_that_is_not_believed_gives_way_to_one_that_is(looks):
    poses = Poses.between(*looks, 5000, 0)
    turned = from_parameters(np.array([0, 0, np.pi, 0, 0, 0]), CENTRE, "rigid")
    words = poses, [np.eye(4), MOTION, turned], "affine", Ranges(), silent
    corner = np.array([40.0, 30.0, 20.0, 1.0])
    best = rigid_then_affine(*words, believable=lambda m: True)
    assert np.linalg.norm((best - MOTION) @ corner) < 3
    np.testing.assert_array_equal(rigid_then_affine(*words, believable=lambda m: False), best)
    other = rigid_then_affine(*words, believable=lambda m: bool(np.linalg.norm((m - best) @ corner) > 10))
    assert np.linalg.norm((other - best) @ corner) > 10


def test_the_command_says_so_and_strict_exits_3(pair, tmp_path):
    """Kept from the right place by limits of a millimetre and a degree."""
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write_volume(volume, tmp_path / f"{name}.nii.gz")
    words = ["register", "--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--rigid-only", "--strict"]
    held = ["--max-shift", "1", "--max-rotation", "1", "--out", "held"]
    done = subprocess.run([COMMAND, *words, *held, "-q"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("warning: suspect result: ") == 1 and "Traceback" not in done.stderr
    result = json.loads((tmp_path / "held" / "result.json").read_text())
    assert result["suspect"] is True and "match hardly better" in result["suspect_reasons"][0]
    page = (tmp_path / "held" / "report.html").read_text(encoding="utf-8")
    assert page.index("may be worse than no registration") < page.index("match hardly better") < page.index("Views")
    assert len(list((tmp_path / "held").iterdir())) == 5
    deformgan.register(*pair, options=RegisterOptions(stage="rigid")).save(tmp_path / "free")
    result = json.loads((tmp_path / "free" / "result.json").read_text())
    assert result["suspect"] is False and result["suspect_reasons"] == []
    assert "may be worse" not in (tmp_path / "free" / "report.html").read_text(encoding="utf-8")
