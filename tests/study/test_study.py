"""The study as a command: what it leaves, going on after a stop, further arms, and mistakes told before training."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from phantoms import T1, image

from deformgan.cli.main import app
from deformgan.config import load_config
from deformgan.errors import DeformganError
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.registration.progress import silent
from deformgan.study.arms import given, trained_on
from deformgan.study.people import held_out, made_by
from deformgan.training.history import read_history

ARMS = ["few_without_gc", "few_with_gc", "all_without_gc", "all_with_gc"]
MEASURES = ["mae", "psnr_db", "mae_hu", "mae_hu_unclipped", "ssim", "mi_nats"]
COMMAND = [sys.executable, "-m", "deformgan", "study"]


def study(config, out, *words):
    app(["study", str(config), "--out", str(out), "--threads", "1", "--quiet", *words], standalone_mode=False)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def changed(home, name, **parts):
    """Another configuration beside tiny.yaml."""
    config = yaml.safe_load((home / "tiny.yaml").read_text())
    for key, value in parts.items():
        config[key] = config[key] | value if isinstance(value, dict) and key in config else value
    path = home / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def done(home):
    """A whole study."""
    study(home / "tiny.yaml", home / "whole", "--few", "1")
    return home / "whole"


def test_every_arm_is_a_run_of_its_own(done, home):
    base = load_config(home / "tiny.yaml")
    people = {}
    for arm in ARMS:
        config = load_config(done / arm / "config.yaml")
        people[arm] = trained_on(config)
        assert config.loss.gc == (10 if arm.endswith("with_gc") and "without" not in arm else 0)
        same = {"name", "out", "loss", "data"}
        assert config.model_dump(exclude=same) == base.model_dump(exclude=same)
        assert len(read_history(done / arm)) == 9  # losses of each of eight steps, one validation
    assert people["few_with_gc"] == people["few_without_gc"] and len(people["few_with_gc"]) == 1
    assert people["all_with_gc"] == people["all_without_gc"] == ("STS_002", "STS_018")


def test_the_table_is_that_of_the_volumes_it_lies_beside(done, home):
    """MAE of one arm by SimpleITK and numpy alone: the mean over slices, then over people."""
    means = []
    for name in ("STS_051", "STS_015"):
        made, real = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float).clip(-150, 350)
            for path in (done / "all_with_gc" / "test" / f"{name}.nii.gz", home / "prepared" / name / "ct.nii.gz")
        )
        means.append(np.abs(made - real).mean((1, 2)) * 255 / 500)
    table = {(r["arm"], r["measure"]): r for r in rows_of(done / "table.csv")}
    assert list(dict.fromkeys(arm for arm, _ in table)) == ARMS
    assert list(dict.fromkeys(measure for _, measure in table)) == MEASURES
    row = table["all_with_gc", "mae"]
    assert float(row["mean"]) == pytest.approx(np.mean([m.mean() for m in means]), rel=1e-5)
    assert (row["people"], row["slices"]) == ("2", str(sum(map(len, means))))
    found = [r for r in rows_of(done / "slices.csv") if r["arm"] == "all_with_gc" and r["subject"] == "STS_015"]
    assert [float(r["mae"]) for r in found] == pytest.approx(means[1].tolist(), rel=1e-5)
    assert [int(r["slice"]) for r in found] == list(range(len(found)))
    assert list(found[0]) == ["arm", "subject", "slice", "pixels", *MEASURES]
    lines = (done / "table.md").read_text().splitlines()
    assert (
        len(lines) == 6 and f"| {float(row['mean']):.2f} (" in lines[-1] and lines[-1].startswith("| all_with_gc | 2 |")
    )


def test_the_tests_say_what_two_arms_differ_in(done):
    tests = [r for r in rows_of(done / "tests.csv") if r["measure"] == "mae"]
    assert {(r["first"], r["second"]): r["differ_in"] for r in tests} == {
        ("few_without_gc", "few_with_gc"): "gc",
        ("few_without_gc", "all_without_gc"): "people",
        ("few_without_gc", "all_with_gc"): "both",
        ("few_with_gc", "all_without_gc"): "both",
        ("few_with_gc", "all_with_gc"): "people",
        ("all_without_gc", "all_with_gc"): "gc",
    }
    means = {r["arm"]: float(r["mean"]) for r in rows_of(done / "table.csv") if r["measure"] == "mae"}
    for row in tests:
        assert float(row["mean_difference"]) == pytest.approx(means[row["first"]] - means[row["second"]], abs=1e-9)
        assert row["people"] == "2" and 0.5 <= float(row["sign_flip_p"]) <= 1
        assert float(row["t_p_holm"]) >= float(row["t_p"])


def test_the_record_and_the_page_hold_it_all(done):
    record = json.loads((done / "study.json").read_text())
    assert [arm["name"] for arm in record["arms"]] == ARMS and record["test"] == ["STS_051", "STS_015"]
    assert record["versions"]["deformgan"] and record["seed"] == 0 and record["few"] == 1
    assert len(record["tests"]) == 6 * len(MEASURES) and record["config"]["training"]["steps"] == 8
    page = (done / "study.html").read_text()
    assert page.count("data:image/") == 3 and all(arm in page for arm in ARMS)
    for name in ("boxes", "errors_STS_015", "errors_STS_051"):
        assert (done / f"{name}.png").stat().st_size > 20_000
    assert not list(done.rglob(".*"))


def test_a_second_run_trains_and_makes_nothing(done, home):
    def times(pattern):
        return {p: p.stat().st_mtime_ns for p in done.glob(pattern)}

    patterns = ("*/checkpoints/*", "*/model.safetensors", "*/history.jsonl", "*/test/*.nii.gz")
    before, text = [times(p) for p in patterns], (done / "slices.csv").read_bytes()
    assert [len(found) for found in before] == [8, 4, 4, 8]
    (done / "few_with_gc" / "test" / "STS_015.nii.gz").unlink()
    study(home / "tiny.yaml", done, "--few", "1")
    after = [times(p) for p in patterns]
    assert after[:3] == before[:3] and (done / "slices.csv").read_bytes() == text
    assert {p.parent.parent.name for p in after[3] if after[3][p] != before[3][p]} == {"few_with_gc"}


@pytest.mark.long
def test_stopped_by_ctrl_c_it_goes_on_where_it_was(done, home):
    """Stopped amid the second arm; the end is that of a study that was never stopped."""
    out, second = home / "stopped", home / "stopped" / "few_with_gc"
    words = [*COMMAND, str(home / "tiny.yaml"), "--few", "1", "--out", str(out), "--threads", "1"]
    slow = [sys.executable, "-c", SLOW, *words[3:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(slow, stderr=subprocess.PIPE, text=True, env=environment)
    limit = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < limit and len(read_history(second)) < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "nothing is left half-written" in said, said
    assert 5 <= len(read_history(second)) < 8 and not (out / "all_with_gc").exists()
    assert not (out / "slices.csv").exists()
    first = (out / "few_without_gc" / "model.safetensors").stat().st_mtime_ns
    again = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stderr[-2000:]
    assert str(out / "study.html") in again.stdout and "few_without_gc is there" in again.stderr
    assert (out / "few_without_gc" / "model.safetensors").stat().st_mtime_ns == first
    assert [x["step"] for x in read_history(second) if "losses" in x] == list(range(1, 9))
    one, other = ([float(r["mae"]) for r in rows_of(folder / "slices.csv")] for folder in (done, out))
    assert one == pytest.approx(other, rel=0.02)  # libraries that other tests load change how this process rounds


# The command, a tenth of a second slower in each step of training.
SLOW = """
import sys, time
from deformgan.synthesis.loop import Synthesis
learn = Synthesis.learn
Synthesis.learn = lambda self, step: (time.sleep(0.1), learn(self, step))[1]
from deformgan.cli.main import main
main()
"""


def test_a_finished_run_can_be_a_further_arm(done, home):
    out = home / "further"
    for arm in ARMS:
        shutil.copytree(done / arm, out / arm)  # whole runs are taken wherever they were trained
    run = done / "few_with_gc"
    study(home / "tiny.yaml", out, "--few", "1", "--arm", f"again={run}")
    rows = {arm: [r for r in rows_of(out / "slices.csv") if r["arm"] == arm] for arm in (*ARMS, "again")}
    values = [[(r["subject"], r["slice"], r["mae"]) for r in rows[arm]] for arm in ("few_with_gc", "again", ARMS[3])]
    assert values[0] == values[1] != values[2] and values[0]
    test = next(r for r in rows_of(out / "tests.csv") if (r["first"], r["second"]) == ("few_with_gc", "again"))
    assert float(test["mean_difference"]) == 0 and test["differ_in"] == ""
    (other,) = given([f"again={done / ARMS[3] / 'model.safetensors'}"], ARMS)
    places = made_by(other, held_out(load_config(home / "tiny.yaml")), out, silent, "cpu")
    for name, place in places.items():  # another model of that name: made anew
        assert place.parent.parent == out / "again"
        assert place.read_bytes()[10:] == (done / ARMS[3] / "test" / f"{name}.nii.gz").read_bytes()[10:]


@pytest.mark.parametrize(
    ("parts", "words", "message"),
    [
        ({}, ["--few", "2"], "--few 2: that is no fewer than the 2 people"),
        ({"loss": {"gc": 0}}, ["--few", "1"], "loss.gc 0: set it, or give both with --gc"),
        ({}, ["--few", "1", "--gc", "0.3"], "two weights of GC, got 0.3"),
        ({}, ["--few", "1", "--gc", "0,x"], "--gc takes numbers such as 0,0.3; got '0,x'"),
        ({}, ["--few", "1", "--gc", "0,-1"], "weights of 0 and more"),
        ({}, ["--few", "1", "--arm", "x"], "--arm takes NAME=RUN"),
        ({}, ["--few", "1", "--arm", "all_with_gc=x"], "there is an arm all_with_gc already"),
        ({}, ["--few", "1", "--arm", "x=nowhere"], "nowhere: no such model"),
        ({}, ["--few", "1", "--device", "cuda:77"], "--device cuda:77: cannot be used here"),
        ({"data": {"ct_window": None}}, ["--few", "1"], "measures HU: give data.ct_window"),
        ({"data": {"mr_window": [50000, 60000]}}, ["--few", "1"], "outside the MR window"),
        ({"data": {"manifest": "bare.csv"}}, ["--few", "1"], "no row with an MR has the split test"),
        ({"data": {"manifest": "shifted.csv"}}, ["--few", "1"], "not on the grid of"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_written(home, parts, words, message):
    (home / "bare.csv").write_text(_manifest(home, test="train"))
    grid = Geometry((12, 12, 12), (9.0, 9.0, 9.0), (-50.0, -50.0, -50.0))
    write_volume(image(grid, T1), home / "shifted.nii.gz")
    (home / "shifted.csv").write_text(_manifest(home, ct="shifted.nii.gz"))
    config = changed(home, "wrong", **parts)
    with pytest.raises(DeformganError) as caught:
        study(config, home / "nothing", *words)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (home / "nothing").exists()


def _manifest(home, test="test", ct=None):
    lines = ["mr,ct,subject,split"]
    for row in rows_of(home / "prepared" / "manifest.csv"):
        is_test = row["split"] == "test"
        files = [f"prepared/{row['mr']}", ct if ct and is_test else f"prepared/{row['ct']}"]
        lines.append(",".join([*files, row["subject"], test if is_test else row["split"]]))
    return "\n".join(lines) + "\n"


def test_a_folder_of_another_configuration_is_refused_and_named(done, home):
    before = (done / "slices.csv").read_bytes()
    config = changed(home, "other", training={"steps": 9, "keep": 2}, seed=1)
    with pytest.raises(DeformganError, match=r"few_without_gc.*began with another seed, training\.steps; use --over"):
        study(config, done, "--few", "1")
    assert (done / "slices.csv").read_bytes() == before


def test_no_registration_and_no_lists_of_images(home, tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\ngenerated: {share: 1}\n")
    with pytest.raises(DeformganError, match="of task cyclegan or conditional, not registration"):
        study(tmp_path / "a.yaml", tmp_path / "out", "--few", "1")
    parts = {"manifest": None, "mr_images": ["prepared/*/mr.nii.gz"], "ct_images": ["prepared/*/ct.nii.gz"]}
    config = changed(home, "lists", task="cyclegan", data=parts)
    with pytest.raises(DeformganError, match=r"needs data\.manifest, with people of the split test"):
        study(config, tmp_path / "out", "--few", "1")
    assert not (tmp_path / "out").exists()


def test_overwrite_begins_anew_and_people_without_a_ct_are_measured_by_information(done, home):
    out = home / "anew"
    lines = _manifest(home).splitlines()
    mr_only = [",".join([w[0], "", *w[2:]]) if w[3] == "test" else ",".join(w) for w in (x.split(",") for x in lines)]
    (home / "unpaired.csv").write_text("\n".join(mr_only) + "\n")
    config = changed(home, "unpaired", task="cyclegan", data={"manifest": "unpaired.csv"}, training={"steps": 1})
    (out / "few_without_gc").mkdir(parents=True)
    (out / "few_without_gc" / "config.yaml").write_text((done / "few_without_gc" / "config.yaml").read_text())
    with pytest.raises(DeformganError, match="began with another"):
        study(config, out, "--few", "1")
    study(config, out, "--few", "1", "--gc", "0,1", "--overwrite")
    assert {r["measure"] for r in rows_of(out / "table.csv")} == {"mi_nats"}
    assert len(rows_of(out / "tests.csv")) == 6 and (out / "study.html").read_text().count("data:image/") == 3
    assert "2, 0 of them with a real CT" in (out / "study.html").read_text()
