"""`deformgan transform` on real files: what it writes and says, and how it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from deformgan.cli.main import app
from deformgan.errors import DeformganError
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform

GRID = Geometry((16, 14, 12), (2.0, 2.5, 3.0), (-15.0, -17.0, 20.0), (0, -1, 0, 1, 0, 0, 0, 0, -1))


def call(*words):
    """What the command prints; its errors are raised, as `main` sees them."""
    done = CliRunner().invoke(app, ["transform", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def files(tmp_path):
    x = voxel_points(GRID)
    u = np.stack([2 * np.sin(x[..., (a + 1) % 3] / 8) for a in range(3)], -1).astype(np.float32)
    matrix = np.diag([1.1, 0.9, 1.2, 1.0])
    matrix[:3, 3] = 5, -3, 2
    Transform((DisplacementField(GRID, u), Affine(matrix))).save(tmp_path / "t.h5")
    Transform((Affine(matrix),)).save(tmp_path / "a.mat")
    values = np.random.default_rng(0).random(GRID.shape, np.float32)
    write_volume(Volume(torch.from_numpy(values), GRID), tmp_path / "f.nii.gz")
    return tmp_path


def inner(number=200):
    index = np.random.default_rng(1).uniform(3, np.array(GRID.size) - 4, (number, 3))
    return index @ GRID.matrix[:3, :3].T + GRID.matrix[:3, 3]


def test_compose_applies_the_first_first(files):
    call("compose", files / "t.h5", files / "a.mat", "--out", files / "c.h5")
    first, second, both = (Transform.load(files / n) for n in ("t.h5", "a.mat", "c.h5"))
    np.testing.assert_allclose(both.apply(inner()), second.apply(first.apply(inner())), atol=1e-5)
    assert not np.allclose(both.apply(inner()), first.apply(second.apply(inner())), atol=1)
    call("compose", files / "t.h5", files / "a.mat", "--out", files / "u.nii.gz",
         "--flatten", "--reference", files / "f.nii.gz")  # fmt: skip
    theirs = sitk.DisplacementFieldTransform(sitk.ReadImage(str(files / "u.nii.gz"), sitk.sitkVectorFloat64))
    nodes = voxel_points(GRID).reshape(-1, 3)[::50]
    moved = [theirs.TransformPoint(p) for p in nodes.tolist()]
    np.testing.assert_allclose(moved, both.apply(nodes), atol=1e-3)


def test_invert_says_how_good_it_is(files):
    said = call("invert", files / "t.h5", "--out", files / "i.h5")
    figures = [float(word) for word in said.split() if word[0].isdigit() and word[-1].isdigit()]
    assert len(figures) == 3 and figures[0] <= figures[1] <= figures[2]
    transform, inverse = (Transform.load(files / n) for n in ("t.h5", "i.h5"))
    error = transform.inverse_error_mm(inverse, inner())
    assert error.mean() < 0.1 and figures[0] == pytest.approx(error.mean(), abs=0.05)


def test_convert_there_and_back(files):
    images = ("--fixed", files / "f.nii.gz", "--moving", files / "f.nii.gz")
    call("convert", files / "a.mat", "--out", files / "flirt.mat", "--to", "fsl", *images)
    call("convert", files / "flirt.mat", "--from", "fsl", "--out", files / "back.tfm", *images)
    again, before = Transform.load(files / "back.tfm"), Transform.load(files / "a.mat")
    np.testing.assert_allclose(again.apply(inner()), before.apply(inner()), atol=1e-4)
    call("convert", files / "t.h5", "--out", files / "u.nii.gz", "--to", "niftyreg", "--fixed", files / "f.nii.gz")
    nodes = voxel_points(GRID).reshape(-1, 3)
    np.testing.assert_allclose(
        Transform.load(files / "u.nii.gz").apply(nodes), Transform.load(files / "t.h5").apply(nodes), atol=1e-4
    )


def test_info_in_words_and_in_figures(files):
    said = call("info", files / "t.h5")
    for words in ("fixed image to the matching point of the moving", "LPS, mm", "1. displacement field", "2. affine",
                  "lattice 16 x 14 x 12", "volume factor 1.1880", "folding 0.0000 %", "antsApplyTransforms -d 3",
                  "sitk.ReadTransform"):  # fmt: skip
        assert words in said
    figures = json.loads(call("info", files / "t.h5", "--json"))
    assert [p["kind"] for p in figures["parts"]] == ["displacement field", "affine"] and figures["format"] == "itk"
    example = figures["example"]
    moved = Transform.load(files / "t.h5").apply(np.array([example["fixed_point"]]))
    np.testing.assert_allclose(moved[0], example["moving_point"])
    assert f"-t [{files / 'a.mat'},1]" in call("info", files / "a.mat")


def test_jacobian_of_the_whole_map_and_of_the_field(files):
    base = ("jacobian", files / "t.h5", "--reference", files / "f.nii.gz", "--out")
    assert "folding 0.0000 %" in call(*base, files / "j.nii.gz")
    call(*base, files / "d.nii.gz", "--deformable")
    call(*base, files / "l.nii.gz", "--log")
    whole, field, log = (sitk.GetArrayFromImage(sitk.ReadImage(str(files / f"{n}.nii.gz"))) for n in "jdl")
    np.testing.assert_allclose(whole, field * 1.1 * 0.9 * 1.2, rtol=1e-4)
    np.testing.assert_allclose(log, np.log(whole), atol=1e-5)
    slopes = np.cos(voxel_points(GRID) / 8) / 4  # u_a = 2 sin(x_b / 8), b the axis after a
    np.testing.assert_allclose(field[1:-1, 1:-1, 1:-1], 1 + slopes.prod(-1)[1:-1, 1:-1, 1:-1], atol=1.5e-3)
    assert np.ptp(field) > 0.02


def test_bad_calls_are_refused_and_write_nothing(files):
    before = sorted(files.iterdir())
    np.savetxt(files / "m.txt", np.eye(4))
    out = files / "new.h5"
    for words, says in (
        (("compose", files / "t.h5", files / "no.h5", "--out", out), "no transform file"),
        (("compose", files / "t.h5", "--out", out, "--flatten"), "--reference"),
        (("compose", files / "t.h5", "--out", files / "a.mat"), "--overwrite"),
        (("invert", files / "f.nii.gz", "--out", out), "3 components"),
        (("convert", files / "m.txt", "--out", out), "--from fsl"),
        (("convert", files / "t.h5", "--out", files / "t.lta"), "--fixed"),
        (("jacobian", files / "a.mat", "--reference", files / "f.nii.gz", "--out", files / "j.nii", "--deformable"),
         "no deformable part"),
    ):  # fmt: skip
        with pytest.raises(DeformganError, match=says):
            call(*words)
    (files / "m.txt").unlink()
    assert sorted(files.iterdir()) == before


def test_the_real_command_ends_with_one_line_and_two(files):
    command = str(Path(sys.executable).with_name("deformgan"))
    done = subprocess.run([command, "transform", "info", files / "no.h5"], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and "no.h5" in done.stderr
