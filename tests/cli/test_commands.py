"""The real commands on real files: what they write, what they say, how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch

from deformgan.io.formats import read_volume, write_volume
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points

COMMAND = str(Path(sys.executable).with_name("deformgan"))


def call(*words: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_volume(phantoms.image(phantoms.GRID, phantoms.T2), folder / "fixed.nii.gz")
    shift = np.array([8.0, -6.0, 5.0])
    write_volume(phantoms.image(phantoms.OBLIQUE, phantoms.T1, lambda p: p - shift), folder / "moving é 1.nii.gz")
    labels = Volume(
        torch.from_numpy(phantoms.tissue(voxel_points(phantoms.OBLIQUE) - shift).astype(np.int16)), phantoms.OBLIQUE
    )
    write_volume(labels, folder / "labels.nii.gz")
    return folder


@pytest.fixture(scope="module")
def registered(files):
    done = call(
        "register", "--fixed", "fixed.nii.gz", "--moving", "moving é 1.nii.gz", "--preset", "fast", folder=files
    )
    assert done.returncode == 0, done.stderr
    return files / "moving é 1_to_fixed", done


def test_register_writes_its_folder_and_plain_lines(registered):
    folder, done = registered
    assert {p.name for p in folder.iterdir()} == {
        "warped.nii.gz", "transform.h5", "inverse.h5", "result.json", "report.html"
    }  # fmt: skip
    result = json.loads((folder / "result.json").read_text())
    assert len(result["fixed"]["sha256"]) == 64 and result["kept"] in result["similarity"]
    assert {"read", "start", "affine", "deformable", "write"} <= set(result["timings_s"])
    assert done.stdout.strip().endswith("report.html")
    assert "deformable" in done.stderr and "\x1b" not in done.stderr
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".")] == []


def test_warp_repeats_the_result_and_simpleitk_agrees(files, registered, tmp_path):
    folder, _ = registered
    out = tmp_path / "again.nii.gz"
    done = call("warp", "--transform", folder / "transform.h5", "--image", files / "moving é 1.nii.gz",
                "--reference", files / "fixed.nii.gz", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    np.testing.assert_array_equal(ours, sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "warped.nii.gz"))))
    moving, fixed = (sitk.ReadImage(str(files / n)) for n in ("moving é 1.nii.gz", "fixed.nii.gz"))
    transform = sitk.ReadTransform(str(folder / "transform.h5"))
    outside = float(sitk.GetArrayFromImage(moving).min())
    referee = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, outside))
    assert np.abs(referee - ours).mean() < 1e-3 * np.ptp(referee)


def test_labels_keep_their_values_and_land_on_their_tissue(files, registered, tmp_path):
    folder, _ = registered
    out = tmp_path / "labels.nii.gz"
    done = call("warp", "--transform", folder / "transform.h5", "--image", files / "labels.nii.gz",
                "--reference", files / "fixed.nii.gz", "--out", out, "--labels")  # fmt: skip
    assert done.returncode == 0, done.stderr
    warped, truth = read_volume(out, kind="labels").numpy(), phantoms.tissue(voxel_points(phantoms.GRID))
    assert warped.dtype == np.int16 and set(np.unique(warped)) <= set(range(6))
    assert (warped == truth).mean() > 0.9


def test_inverse_brings_fixed_onto_moving(files, registered, tmp_path):
    folder, _ = registered
    out = tmp_path / "back.nii.gz"
    done = call("warp", "--transform", folder / "transform.h5", "--image", files / "fixed.nii.gz", "--inverse",
                "--reference", files / "moving é 1.nii.gz", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = phantoms.image(phantoms.OBLIQUE, phantoms.T2, lambda p: p - np.array([8.0, -6.0, 5.0])).numpy()
    assert np.corrcoef(read_volume(out).numpy().ravel(), expected.ravel())[0, 1] > 0.9


def bad_calls(files, tmp_path):
    """Words of a command that must end with exit 2 and one line that says so."""
    fixed, moving = files / "fixed.nii.gz", files / "moving é 1.nii.gz"
    out = tmp_path / "out"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)), tmp_path / "four.nii")
    (tmp_path / "file").write_text("x")
    (tmp_path / "t.h5").write_text("no transform")
    base = ("register", "--fixed", fixed, "--moving", moving, "--out", out)
    yield ("register", "--fixed", tmp_path / "no.nii", "--moving", moving, "--out", out), "no such file"
    yield ("register", "--fixed", fixed, "--moving", tmp_path / "four.nii", "--out", out), "--volume K"
    yield (*base, "--similarity", "lcx=1"), "did you mean"
    yield (*base, "--preset", "best"), "preset"
    yield (*base, "--affine-only", "--rigid-only"), "exclude"
    yield (*base, "--method", "gan", "--model", "auto"), "one model or none"
    yield (*base, "--device", "cuda"), "cuda"
    yield (*base, "--fixed-mask", fixed), "whole-number"
    yield ("register", "--fixed", fixed, "--moving", moving, "--out", tmp_path / "file"), "is a file"
    yield ("register", "--fixed", fixed, "--moving", moving, "--out", files / "moving é 1_to_fixed"), "--overwrite"
    yield ("warp", "--transform", tmp_path / "t.h5", "--image", moving, "--reference", fixed, "--out", out), "t.h5"
    yield ("warp", "--transform", tmp_path / "t.h5", "--image", moving, "--reference", fixed, "--out", fixed), "exists"


def test_bad_calls_end_with_one_line_and_nothing_written(files, registered, tmp_path):
    for words, says in bad_calls(files, tmp_path):
        before = sorted(p.name for p in tmp_path.iterdir())
        done = call(*words)
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 2, (words, done.stderr)
        assert says in lines[-1] and "Traceback" not in done.stderr and len(lines) == 1, done.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing(files, tmp_path, sent, code):
    words = [COMMAND, "register", "--fixed", files / "fixed.nii.gz", "--moving", files / "moving é 1.nii.gz",
             "--out", tmp_path / "out", "--preset", "accurate"]  # fmt: skip
    running = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    while "rigid" not in running.stderr.readline():
        assert running.poll() is None
    time.sleep(0.1)
    os.kill(running.pid, sent)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == code, said
    assert list(tmp_path.iterdir()) == []


def test_help_and_version():
    assert "register" in call("--help").stdout and "warp" in call("--help").stdout
    assert "--affine-only" in call("register", "--help").stdout
    assert call("--version").stdout.startswith("deformgan 0.")
    assert call("register").returncode == 2
