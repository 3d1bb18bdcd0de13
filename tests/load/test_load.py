"""Many runs in one process, two at once, odd names, and the same bits from the same number of threads."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from typer.testing import CliRunner

from deformgan.cli.main import app
from deformgan.config import load_config
from deformgan.errors import OutputError
from deformgan.io.formats import read_volume, write_volume
from deformgan.io.workplace import HALF, workplace
from deformgan.registration.outputs import FILES
from deformgan.training.loop import train

ROOT = Path(__file__).resolve().parents[2]
STS = ROOT / "data" / "sts"
COMMAND = str(Path(sys.executable).with_name("deformgan"))
ODD = "a b é 中 'q' [1]\nc"  # a folder of this name is around every input and output
THREADS_DIFFER = 1e-3  # of the image's range, at most, between one thread and two


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """CT and MR of a patient in files of odd names, at a fifth of the resolution in the plane."""
    folder = tmp_path_factory.mktemp("load") / ODD
    folder.mkdir()
    for kind in ("CT", "MR_T1"):
        image = sitk.Shrink(sitk.ReadImage(str(STS / f"STS_051_{kind}.nii.gz")), [5, 5, 2])
        for ending in (".nii.gz", ".mha", ".nrrd"):
            sitk.WriteImage(image, str(folder / f"é {kind}{ending}"))
    return folder


def bits(folder):
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES[:3]]


@pytest.mark.long
def test_memory_files_and_threads_stay_over_many_runs():
    """The short version of tools/load.py, which plots 200; in a process of its own, where nothing else opens a file."""
    work = "import json, load; print(load.slope([{'rss_mb': 3.0 * k} for k in range(9)]))"
    work += "; print(json.dumps(load.loaded(runs=28, threads=1)))"
    done = subprocess.run([sys.executable, "-c", work], cwd=ROOT / "tools", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    slope, rows = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert slope == pytest.approx(3)
    assert {row["files"] for row in rows[3:]} == {rows[3]["files"]}
    assert rows[-1]["threads"] <= rows[3]["threads"]
    held = [row["rss_mb"] for row in rows]  # until about the fourth save, each thread's memory fills
    assert min(held[-4:]) - min(held[12:16]) < 20
    assert held[-1] - held[3] < 100


def registering(files, out, threads):
    words = [COMMAND, "register", "--fixed", files / "é CT.nii.gz", "--moving", files / "é MR_T1.nii.gz"]
    more = ["--out", out, "--preset", "fast", "--threads", str(threads), "-q"]
    return subprocess.Popen([*map(str, words), *map(str, more)], stderr=subprocess.PIPE, text=True)


@pytest.mark.long
def test_the_same_threads_give_the_same_bits_and_others_nearly(files, tmp_path):
    """Three processes, two of them at once, with different outputs."""
    running = {name: registering(files, tmp_path / name, threads) for name, threads in (("one", 1), ("again", 1))}
    said = [p.communicate()[1] for p in running.values()]
    said.append((both := registering(files, tmp_path / "both", 2)).communicate()[1])
    assert [p.returncode for p in (*running.values(), both)] == [0, 0, 0], said
    assert bits(tmp_path / "one") == bits(tmp_path / "again")
    one, two = (read_volume(tmp_path / name / "warped.nii.gz").numpy() for name in ("one", "both"))
    assert np.abs(one - two).max() <= THREADS_DIFFER * np.ptp(one)


def test_a_second_run_into_one_folder_is_refused(files, tmp_path):
    out = tmp_path / "out"
    with workplace(out, alone=True):
        second = registering(files, out, 1)
        said = second.communicate()[1]
        assert second.returncode == 2 and said.count("\n") == 1
        assert "another process is writing it" in said
        with pytest.raises(OutputError, match="another process"), workplace(tmp_path / "x" / ".." / "out", alone=True):
            pass
    assert not list(tmp_path.iterdir())


def test_a_second_training_into_one_folder_is_refused(files, tmp_path):
    config = {"name": "x", "out": str(tmp_path / "run"), "generated": {"share": 1, "label_maps": []}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(config))
    with workplace(tmp_path / "run", alone=True), pytest.raises(OutputError, match="another process"):
        train(load_config(tmp_path / "x.yaml"), overwrite=True)


def test_every_command_takes_odd_names(files, tmp_path):
    """Spaces, other scripts, quotes, wildcards and a line break, through SimpleITK, nibabel, HDF5 and CSV."""
    out, fixed, moving = tmp_path / ODD, files / "é CT.mha", files / "é MR_T1.nrrd"
    out.mkdir()

    def call(*words):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, (words, done.output, done.exception)

    call("register", "--fixed", fixed, "--moving", moving, "--out", out / "r é", "--rigid-only", "-q")
    transform = out / "r é" / "transform.h5"
    for ending in (".nii.gz", ".mha", ".nrrd"):
        image = files / f"é MR_T1{ending}"
        call("warp", "--transform", transform, "--image", image, "--reference", fixed, "--out", out / f"w{ending}")
    call("transform", "invert", transform, "--out", out / "i é.h5")
    call("transform", "compose", transform, out / "i é.h5", "--out", out / "c é.h5")
    for name in ("t é.tfm", "t é.mat", "t é.x5"):
        call("transform", "convert", transform, "--out", out / name)
        call("transform", "info", out / name)
    call("transform", "jacobian", transform, "--reference", fixed, "--out", out / "j é.nii.gz")
    call("evaluate", "--transform", transform, "--fixed", fixed, "--moving", moving, "--out", out / "e é.json", "-q")
    (files / "people.csv").write_text(f"mr,ct,subject\n{moving.name},{fixed.name},é 1\n", encoding="utf-8")
    call("prepare", files / "people.csv", "--out", out / "prepared é", "-q", "--no-n4")
    assert (out / "prepared é" / "é 1" / "mr.nii.gz").exists()
    found = sitk.ReadImage(str(out / "w.mha"))
    assert found.GetSize() == sitk.ReadImage(str(fixed)).GetSize()
    assert not list(out.rglob(f"*{HALF}"))


def test_training_takes_odd_names(files, tmp_path):
    out = tmp_path / ODD
    out.mkdir()
    for kind in ("CT", "MR_T1"):
        write_volume(read_volume(files / f"é {kind}.nii.gz"), out / f"é {kind}.nii.gz")
    rows = [f"é CT.nii.gz,é MR_T1.nii.gz,{split}" for split in ("train", "validation")]
    (out / "pairs.csv").write_text("\n".join(["fixed,moving,split", *rows]) + "\n", encoding="utf-8")
    config = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    config["data"] |= {"manifest": "pairs.csv", "cache": "cache é", "affine": False}
    config["data"] |= {"spacing_mm": 16, "shape": [16, 16, 16]}
    config["transformation"] = {"channels": [4, 8, 8], "matching": 1}
    config["generator"], config["discriminator"] = {"channels": [4, 8]}, {"channels": 4, "layers": 2}
    config["training"] |= {"steps": 1, "validate_every": 1, "save_every": 1, "device": "cpu"}
    (out / "é.yaml").write_text(yaml.safe_dump(config))
    done = CliRunner().invoke(app, ["train", str(out / "é.yaml"), "--out", str(out / "run é"), "-q"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert (out / "run é" / "model.safetensors").exists() and not list(tmp_path.rglob(f"*{HALF}"))
