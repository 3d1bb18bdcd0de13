"""SimpleITK and ANTs apply our transform.h5 and inverse.h5 as we do: 48 orders of the axes, oblique, left-handed grids.

The images lie on grids of different spacing, one of them left-handed in half of the orders.
"""

import json
import os
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import deformgan
from deformgan import Geometry, Transform, Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField

ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
PYTHON = os.environ.get("ANTS_PYTHON", sys.executable)
TURN = np.linalg.qr(np.array([[1.0, 0.25, -0.15], [-0.2, 1.0, 0.3], [0.1, -0.3, 1.0]]))[0]


def centred(size, spacing, direction):
    origin = -(direction * np.array(spacing)) @ ((np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(origin), tuple(np.ravel(direction)))


def planted():
    """A smooth field on a lattice of its own, then an affine; about 4 mm and 10 degrees."""
    lattice = centred((12, 11, 10), (6.0, 7.0, 8.0), TURN)
    points = voxel_points(lattice)
    waves = [3 * np.sin(points[..., (a + 1) % 3] / 14 + a) for a in range(3)]
    matrix = np.eye(4)
    matrix[:3, :3] = TURN @ np.diag([1.05, 0.95, 1.02]) @ np.linalg.inv(TURN)
    matrix[:3, 3] = 1.0, -2.0, 1.5
    return Transform((DisplacementField(lattice, np.stack(waves, -1).astype(np.float32)), Affine(matrix)))


def pictures(order, signs):
    """(fixed, moving, labels) on a grid of this order and on its mirror in the order of the axes."""
    fixed = centred((15, 13, 12), (2.0, 2.5, 3.0), TURN @ (np.eye(3)[list(order)] * signs))
    moving = centred((14, 16, 12), (2.4, 2.2, 3.1), TURN.T @ (np.eye(3)[list(order[::-1])] * signs))
    volumes = []
    for grid, phase in ((fixed, 0.3), (moving, 0.0)):
        x, y, z = np.moveaxis(voxel_points(grid), -1, 0)
        values = 50 + 30 * np.sin(x / 6 + phase) * np.cos(y / 7) + 20 * np.sin(z / 5 + x / 9)
        volumes.append(Volume(torch.from_numpy(values.astype(np.float32)), grid))
    return (*volumes, Volume((volumes[1].tensor / 12).round().to(torch.int16), moving))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Files of all orders, and what ANTs made of them."""
    root, transform = tmp_path_factory.mktemp("parity"), planted()
    transform.save(root / "transform.h5")
    transform.inverse().save(root / "inverse.h5")
    points = np.random.default_rng(0).uniform(-12, 12, (40, 3))
    np.save(root / "points.npy", points)
    written = []
    for number, order in enumerate(ORDERS):
        out = root / str(number)
        out.mkdir()
        job = {"out": str(out), "points": str(root / "points.npy")}
        job |= {name: str(root / f"{name}.h5") for name in ("transform", "inverse")}
        for name, volume in zip(("fixed", "moving", "labels"), pictures(*order), strict=True):
            job[name] = str(out / f"{name}_in.nii.gz")
            deformgan.write_volume(volume, job[name])
        written.append(job)
    (root / "jobs.json").write_text(json.dumps(written))
    environment = os.environ | {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "2"}
    script = Path(__file__).with_name("by_ants.py")
    done = subprocess.run([PYTHON, script, root / "jobs.json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return written


def by_simpleitk(image, grid, transform, interpolator, outside):
    moving, reference = (sitk.ReadImage(path) for path in (image, grid))
    return sitk.GetArrayFromImage(
        sitk.Resample(moving, reference, sitk.ReadTransform(transform), interpolator, outside)
    )


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("number", range(48))
def test_images_labels_and_points(jobs, number):
    job = jobs[number]
    ours = deformgan.warp(job["moving"], job["transform"], job["fixed"]).numpy()
    low = float(read(job["moving"]).min())
    assert np.ptp(ours) > 60 and (ours > low).mean() > 0.5
    for other in (
        by_simpleitk(job["moving"], job["fixed"], job["transform"], sitk.sitkLinear, low),
        read(Path(job["out"]) / "image.nii.gz"),
    ):
        np.testing.assert_allclose(ours, other, atol=2e-3)

    labels = deformgan.warp(job["labels"], job["transform"], job["fixed"], labels=True).numpy()
    assert len(np.unique(labels)) > 5
    for other in (
        by_simpleitk(job["labels"], job["fixed"], job["transform"], sitk.sitkNearestNeighbor, 0),
        read(Path(job["out"]) / "labels.nii.gz"),
    ):
        assert (labels == other).mean() > 0.999

    back = deformgan.warp(job["fixed"], job["inverse"], job["moving"]).numpy()
    low = float(read(job["fixed"]).min())
    for other in (
        by_simpleitk(job["fixed"], job["moving"], job["inverse"], sitk.sitkLinear, low),
        read(Path(job["out"]) / "back.nii.gz"),
    ):
        np.testing.assert_allclose(back, other, atol=2e-3)

    points = np.load(job["points"])
    there = Transform.load(job["transform"]).apply(points)
    assert np.linalg.norm(there - points, axis=1).mean() > 2
    again = Transform.load(job["inverse"]).apply(there)
    ways = [sitk.ReadTransform(job[name]) for name in ("transform", "inverse")]
    np.testing.assert_allclose(there, [ways[0].TransformPoint(p) for p in points.tolist()], atol=1e-3)
    np.testing.assert_allclose(again, [ways[1].TransformPoint(p) for p in there.tolist()], atol=1e-3)
    np.testing.assert_allclose(there, np.load(Path(job["out"]) / "there.npy"), atol=1e-3)
    np.testing.assert_allclose(again, np.load(Path(job["out"]) / "back.npy"), atol=1e-3)
    assert np.linalg.norm(again - points, axis=1).max() < 0.4  # between nodes 7 mm apart the inverse is linear, too


def test_half_of_the_grids_are_left_handed(jobs):
    hands = [np.linalg.det(np.reshape(sitk.ReadImage(job["fixed"]).GetDirection(), (3, 3))) < 0 for job in jobs]
    assert sum(hands) == 24
