"""--dry-run: the same checks and messages as the real run, what would be done and for how long, nothing written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer

from deformgan.cli.main import app, main
from deformgan.cost import Cost, added, duration, memory, of_registration
from deformgan.io.grids import read_grid
from deformgan.registration.appearance import Appearance
from deformgan.registration.options import PRESETS
from deformgan.registration.plan import voxels_at

ROOT = Path(__file__).resolve().parents[2]
STS, ABDOMEN = ROOT / "data/sts", ROOT / "data/abdomen"
CT, MR = STS / "STS_015_CT.nii.gz", STS / "STS_015_MR_T1.nii.gz"
LABELS = ABDOMEN / "example_seg.nii.gz", ABDOMEN / "example_seg_mr.nii.gz"
SECONDS = re.compile(r"expected: about ([\d.]+) s on \d+ threads?, and ([\d.]+) (MB|GB) of memory")
WITH_DRY_RUN = ("register", "warp", "evaluate", "prepare", "train", "synthesize", "segment")


@pytest.fixture
def run(capsys, monkeypatch):
    """(exit code, stdout, stderr) of the real entry point in this process."""
    monkeypatch.setattr("deformgan.cli.main.stop_on_signals", lambda: None)
    monkeypatch.setattr("deformgan.cli.main.leave_at_once", sys.exit)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["deformgan", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def bad(tmp_path):
    """Files that no command takes."""
    folder = tmp_path / "bad"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.full((9, 9, 9), np.nan, np.float32), np.eye(4)), folder / "nan.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9, 2), np.float32), np.eye(4)), folder / "four.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4)), folder / "constant.nii")
    (folder / "t.h5").write_text("no transform")
    (folder / "m.csv").write_text("mr,ct\nnot.nii,there.nii\n")
    (folder / "c.yaml").write_text("name: x\ntrainin: {}\n")
    (folder / "taken").mkdir()
    (folder / "taken" / "result.json").write_text("{}")
    return folder


def test_every_long_command_has_it():
    root = typer.main.get_command(app)
    assert {name for name, c in root.commands.items() if any("--dry-run" in p.opts for p in c.params)} >= set(
        WITH_DRY_RUN
    )


def test_register_tells_the_steps_and_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, warned = run("register", "-f", CT, "-m", MR, "--out", "a/b", "--model", "any_contrast", "-n")
    assert code == 0 and not warned
    order = ["fixed image, 158 x 165 x 57 voxels", "moving image, 80 x 100", "affine", "model any_contrast predicts",
             "deformable: CT and MR, mi=0.3,lcc=0.7", "write warped.nii.gz", "expected: about", "nothing"]  # fmt: skip
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    assert list(tmp_path.iterdir()) == []


def commands_that_fail(bad):
    pair = ("register", "-f", CT, "-m", MR)
    yield "register", "-f", CT, "-m", bad / "nan.nii", "-o", bad / "o"
    yield "register", "-f", bad / "four.nii", "-m", MR, "-o", bad / "o"
    yield "register", "-f", bad / "constant.nii", "-m", MR, "-o", bad / "o"
    yield *pair, "-o", bad / "taken"
    yield *pair, "-o", bad / "o", "--similarity", "bridge=1"
    yield *pair, "-o", bad / "o", "--fixed-mask", bad / "four.nii"
    yield *pair, "-o", bad / "o", "--device", "cudaa"
    yield *pair, "-o", bad / "o", "--model", "any_contras"
    yield "warp", "-t", bad / "t.h5", "-i", MR, "-r", CT, "-o", bad / "o.nii"
    yield "prepare", bad / "m.csv", "-o", bad
    yield "train", bad / "c.yaml"
    yield "synthesize", "--model", bad / "none", "-i", MR, "-o", bad / "o.nii"
    yield "segment", "--model", bad / "none", "-i", MR, "-o", bad / "o.nii"
    yield "evaluate", "--transform", bad / "t.h5", "-f", CT
    yield "evaluate", "--fixed-labels", bad / "four.nii"


def test_what_the_real_run_refuses_is_refused_alike(run, bad):
    for words in commands_that_fail(bad):
        before = sorted(bad.rglob("*"))
        real, dry = run(*words), run(*words, "--dry-run")
        assert real[0] == dry[0] == 2 and real[2] == dry[2] and dry[2].count("\n") == 1, (words, real, dry)
        assert sorted(bad.rglob("*")) == before


def test_warp_prepare_train_and_evaluate_tell_and_write_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shift.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: TranslationTransform_double_3_3\n"
        "Parameters: 3 4 5\nFixedParameters: \n"
    )
    transform = ("-t", tmp_path / "shift.tfm")
    for words, says in (
        (("warp", *transform, "-i", MR, "-r", CT, "-o", "w.nii"), "grid of 158 x 165 x 57"),
        (("warp", *transform, "-i", LABELS[0], "--spacing", "2", "-o", "l.nii"), "labels"),
        (("prepare", STS / "mr_ct.csv", "-o", "prepared"), "N4 of the MR; MR and CT on one grid"),
        (("train", ROOT / "configs/smoke.yaml", "-o", "run"), "450 steps of 1 pair(s)"),
        (("evaluate", "--fixed-labels", LABELS[0], "--moving-labels", LABELS[1]), "overlap and surfaces"),
    ):
        code, said, _ = run(*words, "-n")
        assert code == 0 and says in said and "expected: about" in said, said
    assert [p.name for p in tmp_path.iterdir()] == ["shift.tfm"]


def test_a_table_of_cases_is_looked_through(run, tmp_path):
    table = tmp_path / "cases.csv"
    line = f"{LABELS[0]},{LABELS[1]}"
    table.write_text(f"case,fixed_labels,moving_labels\none,{line}\ntwo,{line}\n")
    code, said, _ = run("evaluate", "--pairs", table, "-o", tmp_path / "o.csv", "-n")
    assert code == 0 and "1. one: overlap" in said and "2. two: overlap" in said and "o.json" in said
    table.write_text(f"case,fixed_labels,moving_labels\none,{line}\ntwo,{LABELS[0]},nowhere.nii\n")
    code, _, warned = run("evaluate", "--pairs", table, "-n")
    assert code == 2 and "1 of 2 cases cannot be judged; the first: two: " in warned and "nowhere.nii" in warned
    assert [p.name for p in tmp_path.iterdir()] == ["cases.csv"]


def test_train_refuses_a_folder_that_holds_a_run_as_the_real_run_does(run, tmp_path):
    (tmp_path / "config.yaml").write_text("")
    words = ("train", ROOT / "configs/smoke.yaml", "-o", tmp_path)
    real, dry = run(*words), run(*words, "--dry-run")
    assert real[0] == dry[0] == 2 and real[2] == dry[2] and "--resume" in dry[2]
    assert run(*words, "--dry-run", "--overwrite")[0] == 0


def test_the_estimate_holds_for_a_real_pair(tmp_path):
    """Processor time and peak memory of the real command; a busy machine slows the clock, idle threads spin."""
    words = [sys.executable, "-m", "deformgan", "register", "-f", CT, "-m", MR, "-o", tmp_path / "o"]
    words += ["--preset", "fast", "--threads", "1"]
    code = (
        "import json, resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True, capture_output=True)\n"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN)\nprint(json.dumps([u.ru_utime + u.ru_stime, u.ru_maxrss]))"
    )
    planned = subprocess.run([*map(str, words), "--dry-run"], capture_output=True, text=True, check=True).stdout
    measured = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True
    )
    seconds, kilobytes = json.loads(measured.stdout)
    told = SECONDS.search(planned)
    megabytes = float(told[2]) * (1000 if told[3] == "GB" else 1)
    assert 1 / 2 < float(told[1]) / seconds < 2, (planned, seconds)
    assert 1 / 1.3 < megabytes / (kilobytes * 1024 / 1e6) < 1.3, (planned, kilobytes)


def test_levels_are_counted_as_they_will_be():
    import torch

    from deformgan.io.formats import read_volume

    image = Appearance.of(read_volume(MR), None, torch.device("cpu"))
    for mm, _ in PRESETS["accurate"].levels:
        assert voxels_at(read_grid(MR), mm) == image.at(mm).image.numel()


def test_costs_grow_with_what_is_done():
    small, large = (of_registration(n, n, [(n, 10)], ["lcc"]) for n in (10**6, 10**7))
    middle = of_registration(5_500_000, 5_500_000, [(5_500_000, 10)], ["lcc"])
    assert middle.cpu_s == pytest.approx((small.cpu_s + large.cpu_s) / 2)
    assert large.cpu_s > small.cpu_s + 3 and large.memory_mb > small.memory_mb + 300
    assert of_registration(10**7, 10**7, [(10**7, 10)], ["mind"]).cpu_s > large.cpu_s
    assert large.wall_s(1) == pytest.approx(large.cpu_s) and large.wall_s(1) > large.wall_s(2) > large.wall_s(64)
    assert large.wall_s(10**6) == pytest.approx(large.alone_s, rel=1e-3)
    assert added([small, large]).cpu_s < small.cpu_s + large.cpu_s


def test_figures_are_said_as_roughly_as_they_are_known():
    assert [duration(s) for s in (0.2, 8.34, 61, 200, 7300, 180_000)] == [
        "1 s",
        "8.3 s",
        "61 s",
        "3.3 minutes",
        "2 hours",
        "2.1 days",
    ]
    assert [memory(m) for m in (562.4, 1234, 12_345)] == ["560 MB", "1.2 GB", "12 GB"]
    assert Cost(9.5, 700, 1.5).said(2) == "about 5.5 s on 2 threads, and 700 MB of memory"
