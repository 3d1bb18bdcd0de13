"""`register --bridge` on real patients, with a model that was trained for a moment."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
import yaml
from typer.testing import CliRunner

from deformgan.cli.main import app
from deformgan.config import load_config
from deformgan.errors import InputError
from deformgan.io.tensor_files import read_tensors, write_tensors
from deformgan.registration.models import FILE, SHIPPED
from deformgan.synthesis.loop import train

COMMAND = str(Path(sys.executable).with_name("deformgan"))
STS = Path(__file__).parents[2] / "data/sts"
CT, MR = STS / "STS_015_CT.nii.gz", STS / "STS_015_MR_T1.nii.gz"
TINY = {
    "task": "cyclegan",
    "data": {
        "mr_images": [str(STS / "STS_002_MR_T1.nii.gz")],
        "ct_images": [str(STS / "STS_002_CT.nii.gz")],
        "shape": [48, 48],
        "spacing_mm": 4,
        "mr_window": None,
        "validation": 0,
    },
    "generator": {"channels": 4, "blocks": 1},
    "discriminator": {"channels": 4, "layers": 1},
    "training": {"steps": 4, "batch": 2, "validate_every": 4, "save_every": 4, "device": "cpu"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a run of MR -> CT."""
    folder = tmp_path_factory.mktemp("bridge")
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "name": "tiny"}))
    config = load_config(folder / "tiny.yaml").model_copy(update={"out": folder / "run"})
    train(config)
    return config.folder


@pytest.mark.long
def test_the_command_names_its_bridge_and_writes_the_real_image(model, tmp_path):
    words = ["--fixed", CT, "--moving", MR, "--out", tmp_path / "out", "--bridge", model, "--preset", "fast"]
    done = subprocess.run([COMMAND, "register", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["bridge"]["path"] == str(model / FILE) and len(result["bridge"]["sha256"]) == 64
    assert result["bridge"]["stands_for"] == "moving" and "N4" in result["bridge"]["notes"][0]
    assert result["deformable"]["kind"] == "CT and MR, bridged"
    assert result["similarity"][result["kept"]] >= result["similarity"]["affine"]
    page = (tmp_path / "out/report.html").read_text()
    assert "<b>Bridge</b>" in page and result["bridge"]["sha256"] in page
    moving, fixed = (sitk.ReadImage(str(p), sitk.sitkFloat32) for p in (MR, CT))
    transform = sitk.ReadTransform(str(tmp_path / "out/transform.h5"))
    referee = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0))
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out/warped.nii.gz")))
    assert abs(referee - ours).mean() < 1e-3 * (referee.max() - referee.min())


def bad_calls(model, tmp_path):
    """Words that must end with one line that says so."""
    shipped = sorted(SHIPPED.glob(f"*{Path(FILE).suffix}"))[0]
    tensors, metadata = read_tensors(model / FILE)
    config = json.loads(metadata["config"])
    config["data"]["ct_window"] = None
    write_tensors(tmp_path / "percent.safetensors", tensors, {**metadata, "config": json.dumps(config)})
    config["data"]["ct_window"], config["generator"]["channels"] = (-150, 350), 8
    write_tensors(tmp_path / "misfit.safetensors", tensors, {**metadata, "config": json.dumps(config)})
    pair = ("--fixed", CT, "--moving", MR)
    yield (*pair, "--bridge", tmp_path / "none"), "no such model"
    yield (*pair, "--bridge", shipped), "not a model of MR -> CT"
    yield (*pair, "--bridge", tmp_path / "percent.safetensors"), "no HU"
    yield (*pair, "--bridge", tmp_path / "misfit.safetensors"), "do not fit"
    yield (*pair, "--bridge", model, "--affine-only"), "--affine-only"
    yield (*pair, "--bridge", model, "--method", "gan"), "exclude"
    yield (*pair, "--bridge", model, "--similarity", "gc=1"), "bridge=1"
    yield (*pair, "--similarity", "bridge=1,gc=1"), "--bridge MODEL"
    yield ("--fixed", CT, "--moving", STS / "STS_002_CT.nii.gz", "--bridge", model), "both look like CT"
    yield ("--fixed", MR, "--moving", STS / "STS_002_MR_T1.nii.gz", "--bridge", model), "neither"


def test_what_cannot_be_bridged_is_one_line_and_nothing_written(model, tmp_path):
    for words, says in bad_calls(model, tmp_path):
        done = CliRunner().invoke(app, ["register", *map(str, words), "--out", str(tmp_path / "out")])
        assert isinstance(done.exception, InputError), (words, done.exception)
        assert says in str(done.exception) and "\n" not in str(done.exception)
        assert not (tmp_path / "out").exists()
