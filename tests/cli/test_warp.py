"""`deformgan warp` on every kind of file: the one rule, what is said, how bad calls end."""

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from deformgan.cli.main import app
from deformgan.errors import DeformganError
from deformgan.io.components import read_components, write_components
from deformgan.io.formats import read_volume, write_volume
from deformgan.io.points import Landmarks, read_landmarks, write_landmarks
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform

COMMAND = str(Path(sys.executable).with_name("deformgan"))
SPOT = np.array([12.0, -9.0, 7.0])  # LPS mm, in the moving image


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "warp", *map(str, words)], capture_output=True, text=True)


def ball(geometry, centre, radius=9.0):
    return np.linalg.norm(voxel_points(geometry) - centre, axis=-1) < radius


def middle(mask, geometry):
    index = np.argwhere(mask)[:, ::-1].mean(0)
    return (geometry.matrix @ np.append(index, 1))[:3]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A moving image and labels with a ball at SPOT, a point and a mesh there, and a transform in two files."""
    folder = tmp_path_factory.mktemp("files")
    lattice = phantoms.GRID.resized((28, 30, 26))
    waves = np.stack([5 * np.sin(voxel_points(lattice)[..., (a + 1) % 3] / 30 + a) for a in range(3)], -1)
    matrix = np.eye(4)
    matrix[:3] += 0.05 * np.random.default_rng(3).normal(size=(3, 4)) * [1, 1, 1, 120]
    Transform((DisplacementField(lattice, waves.astype(np.float32)),)).save(folder / "first.h5")
    Transform((Affine(matrix),)).save(folder / "second.h5")
    mask = ball(phantoms.OBLIQUE, SPOT)
    write_volume(Volume(torch.from_numpy(mask * 100.0 + 0.5).float(), phantoms.OBLIQUE), folder / "image.nii.gz")
    write_volume(Volume(torch.from_numpy(mask.astype(np.int16) * 3), phantoms.OBLIQUE), folder / "labels.nii.gz")
    write_volume(phantoms.image(phantoms.GRID, phantoms.CT), folder / "fixed.nii.gz")
    write_landmarks(Landmarks(SPOT[None], ("spot",)), folder / "point.fcsv", space="RAS")
    corners = SPOT + np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    text = "".join(f"{x} {y} {z}\n" for x, y, z in corners)
    text = (
        f"# vtk DataFile Version 4.2\nSPACE=LPS\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n{text}POLYGONS 1 4\n3 0 1 2\n"
    )
    (folder / "mesh.vtk").write_text(text)
    return folder


def test_one_rule_for_images_labels_points_and_meshes(files, tmp_path):
    both = ("--transform", files / "first.h5", "--transform", files / "second.h5")
    on = ("--reference", files / "fixed.nii.gz", "--spacing", "1.5")
    places = {}
    for name in ("image.nii.gz", "labels.nii.gz"):
        done = call(*both, "--image", files / name, *on, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        warped = read_volume(tmp_path / name, kind="labels" if "labels" in name else "image")
        places[name] = middle(warped.numpy() > (50 if "image" in name else 0), warped.geometry)
    assert (
        "taken as labels" in done.stderr and read_volume(tmp_path / "labels.nii.gz", kind="labels").numpy().max() == 3
    )
    assert nibabel.load(tmp_path / "labels.nii.gz").get_data_dtype() == np.int16
    assert call(*both, "--points", files / "point.fcsv", "--out", tmp_path / "p.fcsv").returncode == 0
    point = read_landmarks(tmp_path / "p.fcsv")
    assert point.names == ("spot",) and "CoordinateSystem = RAS" in (tmp_path / "p.fcsv").read_text()
    assert call(*both, "--mesh", files / "mesh.vtk", "--out", tmp_path / "m.vtk").returncode == 0
    vertex = [float(v) for v in (tmp_path / "m.vtk").read_text().splitlines()[5].split()]
    np.testing.assert_allclose(vertex, point.points[0], atol=1e-4)
    assert np.linalg.norm(point.points[0] - SPOT) > 3
    for place in places.values():
        assert np.linalg.norm(place - point.points[0]) < 0.6
    # SimpleITK: the fixed point found is the one that the two transforms, first and then second, take to SPOT.
    first, second = (sitk.ReadTransform(str(files / n)) for n in ("first.h5", "second.h5"))
    np.testing.assert_allclose(second.TransformPoint(first.TransformPoint(point.points[0].tolist())), SPOT, atol=2e-4)
    done = call(*both, "--points", tmp_path / "p.fcsv", "--inverse", "--out", tmp_path / "back.mrk.json")
    assert done.returncode == 0 and done.stderr == ""
    np.testing.assert_allclose(read_landmarks(tmp_path / "back.mrk.json").points[0], SPOT, atol=2e-4)


def test_inverse_for_images_follows_the_points(files, tmp_path):
    both = ("--transform", files / "first.h5", "--transform", files / "second.h5", "--inverse")
    mask = Volume(torch.from_numpy(ball(phantoms.GRID, SPOT).astype(np.uint8)), phantoms.GRID)
    write_volume(mask, tmp_path / "fixed_labels.mha")
    done = call(
        *both, "--image", tmp_path / "fixed_labels.mha", "--spacing", "2,2,2", "--out", tmp_path / "o.nrrd", "-q"
    )
    assert done.returncode == 0 and done.stderr == ""
    assert call(*both, "--points", files / "point.fcsv", "--out", tmp_path / "p.csv").returncode == 0
    warped = read_volume(tmp_path / "o.nrrd", kind="labels")
    assert warped.geometry.spacing == pytest.approx((2, 2, 2)) and warped.numpy().dtype == np.uint8
    place = read_landmarks(tmp_path / "p.csv").points[0]
    assert np.linalg.norm(middle(warped.numpy() > 0, warped.geometry) - place) < 0.8


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", ["vectors", "tensors"])
def test_vectors_and_tensors_are_found_turned_and_kept_in_their_format(files, tmp_path, ending, kind):
    tensor = np.diag([3.0, 2.0, 1.0]) + 0.3
    value = [1.0, 2.0, 3.0] if kind == "vectors" else tensor[[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]]
    values = np.empty((len(value), *phantoms.OBLIQUE.shape), np.float32)
    values[:] = np.asarray(value)[:, None, None, None]
    write_components(values, phantoms.OBLIQUE, tmp_path / f"v{ending}", np.float32)
    if ending == ".nii.gz":
        header = nibabel.load(tmp_path / f"v{ending}").header
        assert header.get_intent()[0] == {"vectors": "vector", "tensors": "symmetric matrix"}[kind]
    elif kind == "tensors":  # ITK's order of the six
        stored = sitk.ReadImage(str(tmp_path / f"v{ending}"))[3, 3, 3]
        np.testing.assert_allclose(stored, tensor[np.triu_indices(3)], atol=1e-6)
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    Transform((Affine(turn),)).save(tmp_path / "t.h5")
    done = call("--transform", tmp_path / "t.h5", "--image", tmp_path / f"v{ending}", "--reference",
                files / "fixed.nii.gz", "--out", tmp_path / f"o{ending}")  # fmt: skip
    assert done.returncode == 0 and kind in done.stderr and "lps" in done.stderr, done.stderr
    found, geometry, _ = read_components(tmp_path / f"o{ending}")
    assert geometry.almost_equal(phantoms.GRID)
    middle_value = found[:, 26, 30, 28]
    back = turn[:3, :3].T
    if kind == "vectors":
        np.testing.assert_allclose(middle_value, back @ value, atol=1e-5)
    else:
        np.testing.assert_allclose(
            middle_value, (back @ tensor @ back.T)[[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]], atol=1e-5
        )


def test_type_of_the_result(files, tmp_path):
    words = (
        "--transform",
        files / "second.h5",
        "--image",
        files / "image.nii.gz",
        "--reference",
        files / "fixed.nii.gz",
    )
    assert call(*words, "--out", tmp_path / "o.nii", "--dtype", "uint8", "--interpolation", "lanczos").returncode == 0
    image = nibabel.load(tmp_path / "o.nii")
    assert image.get_data_dtype() == np.uint8
    assert image.header["qform_code"] == image.header["sform_code"] == 1
    np.testing.assert_allclose(image.header.get_qform(), image.header.get_sform(), atol=1e-4)


def bad_calls(files, out):
    move = ("--transform", files / "second.h5")
    image = (*move, "--image", files / "image.nii.gz")
    grid = ("--reference", files / "fixed.nii.gz")
    yield (*move, "--out", out), "exactly one of"
    yield (*image, "--points", files / "point.fcsv", *grid, "--out", out), "exactly one of"
    yield (*image, "--out", out), "--reference IMAGE, or --spacing"
    yield (*move, "--points", files / "point.fcsv", *grid, "--out", out), "for --image only"
    yield (*image, *grid, "--out", files / "fixed.nii.gz"), "--overwrite"
    yield (*image, *grid, "--out", out.with_suffix(".png")), "image is written as"
    yield (*image, *grid, "--out", out.parent / "no" / "o.nii"), "folder does not exist"
    yield (*image, "--spacing", "1,x", "--out", out), "--spacing takes"
    yield (*image, "--spacing", "0.0001", "--out", out), "spacing"
    yield (*image, *grid, "--out", out, "--interpolation", "sinc"), "interpolation must be"
    yield (*image, *grid, "--out", out, "--interpolation", "cubic", "--labels"), "nearest, vote"
    yield (*image, *grid, "--out", out, "--dtype", "int"), "dtype must be"
    yield (*image, *grid, "--out", out, "--vector-frame", "mni"), "vector frame"
    yield (*move, "--points", files / "mesh.vtk", "--out", out.with_suffix(".csv")), "landmarks are kept in"
    yield (*move, "--points", files / "point.fcsv", "--space", "LPS", "--out", out.with_suffix(".csv")), "says RAS"
    yield (*move, "--mesh", files / "mesh.vtk", "--out", out.with_suffix(".stl")), "stays in its format"


def test_bad_calls_end_with_one_line_and_nothing_written(files, tmp_path):
    for words, says in bad_calls(files, tmp_path / "o.nii"):
        ended = CliRunner().invoke(app, ["warp", *map(str, words)]).exception
        assert isinstance(ended, DeformganError) and says in str(ended) and "\n" not in str(ended), (words, ended)
        assert list(tmp_path.iterdir()) == []
    done = call(*words)  # and what `main` makes of it
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and says in done.stderr
