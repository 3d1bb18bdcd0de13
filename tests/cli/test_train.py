"""`deformgan train` and `models` as commands, on the patients in data/."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deformgan.cli.train import described
from deformgan.config import load_config
from deformgan.errors import InputError

COMMAND = str(Path(sys.executable).with_name("deformgan"))
ROOT = Path(__file__).resolve().parents[2]


def call(*words):
    return subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def short_smoke(tmp_path_factory):
    """configs/smoke.yaml with coarser voxels and fewer steps, trained by the command."""
    folder = tmp_path_factory.mktemp("smoke")
    config = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    config["data"] |= {"manifest": str(ROOT / "data/sts/pairs.csv"), "cache": "cache", "spacing_mm": 8}
    config["data"]["shape"] = [18, 16, 18]
    config["training"] |= {"steps": 30, "validate_every": 15, "save_every": 15}
    path = folder / "short.yaml"
    path.write_text(yaml.safe_dump(config))
    return path, call("train", path, "--out", folder / "run")


@pytest.mark.long
def test_a_short_smoke_run_and_registration_with_it(short_smoke, tmp_path):
    path, done = short_smoke
    assert done.returncode == 0, done.stderr
    run = path.parent / "run"
    assert str(run) in done.stdout and "tre_mm" in done.stdout
    assert "prepare" in done.stderr and "train" in done.stderr
    lines = [json.loads(x) for x in (run / "history.jsonl").read_text().splitlines()]
    truth = [x["losses"]["t"]["truth"] for x in lines if "losses" in x]
    assert len(truth) == 30 and sum(truth[-10:]) < sum(truth[:10])
    files = [ROOT / "data/sts" / f"STS_015_{x}.nii.gz" for x in ("CT", "MR_T1")]
    words = ("register", "--fixed", files[0], "--moving", files[1], "--model", run, "--preset", "fast", "--no-refine")
    found = call(*words, "--out", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["options"]["model"] == str(run) and "model" in result["similarity"]


@pytest.mark.long
def test_a_second_run_in_the_folder_is_refused_in_one_line(short_smoke):
    path, _ = short_smoke
    again = call("train", path, "--out", path.parent / "run")
    assert again.returncode == 2 and again.stderr.count("\n") == 1
    assert "--resume" in again.stderr


def test_check_tells_sizes_and_writes_nothing(tmp_path):
    done = call("train", ROOT / "configs" / "smoke.yaml", "--check", "--out", tmp_path / "run")
    assert done.returncode == 0
    for word in ("4 pairs of 4 subjects", "transformation:", "generator:", "discriminator:", "450 steps", "of memory"):
        assert word in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\ntrainin: {}\ngenerated: {share: 1}\n", [":2:", "trainin", "did you mean training?"]),
        ("name: x\ndata:\n  manifest: none.csv\n", ["none.csv", "No such file"]),
        ("name: x\ndata:\n  fixed_images: [no*.nii]\n  moving_images: [no*.nii]\n", ["no file matches"]),
    ],
)
def test_bad_configurations_are_one_line(tmp_path, text, words):
    (tmp_path / "bad.yaml").write_text(text)
    done = call("train", tmp_path / "bad.yaml", "--out", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_that_ships_is_valid(path):
    config = load_config(path)
    try:
        assert any("million weights" in line for line in described(config).steps)
    except InputError as error:  # the user's own manifest, or what has to be prepared or trained first
        known = ("brain_t1_flair.csv", "deformgan prepare", "no file matches", "no such model")
        assert any(words in str(error) for words in known)


def test_models_lists_what_ships():
    done = call("models")
    assert done.returncode == 0
    for line in done.stdout.splitlines():
        card = call("models", line.split(":")[0])
        assert card.returncode == 0 and "licence" in card.stdout.lower()
    unknown = call("models", "nothing")
    assert unknown.returncode == 2 and unknown.stderr.count("\n") == 1
