"""The real command: what it prints and writes, for one case, a cohort and bad input."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import phantoms
import pytest
import torch

from deformgan.io.formats import write_volume
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, Transform

COMMAND = str(Path(sys.executable).with_name("deformgan"))
GOOD, BAD = (0, 0, 3, 3, 0, 3), (3, 6, 6, 12, 9, 9)  # mm that either method is off; voxels are 3 mm


def call(*words, folder):
    return subprocess.run([COMMAND, "evaluate", *map(str, words)], capture_output=True, text=True, cwd=folder)


def shift(mm):
    matrix = np.eye(4)
    matrix[0, 3] = mm
    return Transform((Affine(matrix),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A head and its labels; for each case a transform nearly right and one that is off; tables of them."""
    place = tmp_path_factory.mktemp("cohort")
    labels = torch.from_numpy(phantoms.tissue(voxel_points(phantoms.GRID)).astype(np.uint8))
    write_volume(Volume(labels, phantoms.GRID), place / "labels.nii.gz")
    write_volume(phantoms.image(phantoms.GRID, phantoms.T1), place / "head.nii.gz")
    rows = []
    for n, both in enumerate(zip(GOOD, BAD, strict=True)):
        for method, off in zip(("good", "bad"), both, strict=True):
            shift(off).save(place / f"{method}{n}.h5")
            files = ["labels.nii.gz", "labels.nii.gz", "head.nii.gz", f"{method}{n}.h5"]
            rows.append([f"c{n}", method, "odd" if n % 2 else "even", *files])
    write_table(place / "cases.csv", rows)
    write_table(place / "broken.csv", [*rows[:4], ["c9", "good", "", "none.nii", "labels.nii.gz", "", "good0.h5"]])
    write_table(place / "good.csv", [[r[0], "", *r[2:]] for r in rows if r[1] == "good"])
    write_table(place / "bad.csv", [[r[0], "", *r[2:]] for r in rows if r[1] == "bad"])
    return place


def write_table(path, rows):
    with open(path, "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["case", "method", "group", "fixed_labels", "moving-labels", "fixed", "transform"])
        table.writerows(rows)


def table(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


LABELS = ("--fixed-labels", "labels.nii.gz", "--moving-labels", "labels.nii.gz")


def test_one_case_as_json_table_and_csv(folder, tmp_path):
    words = (*LABELS, "--fixed", "head.nii.gz", "--moving", "head.nii.gz", "--transform", "bad3.h5")
    done = call(*words, "--out", tmp_path / "m.json", folder=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["protocol"] == "physical" and found["files"]["transform"] == "bad3.h5"
    assert 0.2 < found["dice"] < 0.9 and len(found["by_label"]) == 5 and found["folding_percent"] == 0
    assert "sd_log_jacobian" in done.stdout and f"{found['dice']:.4g}" in done.stdout
    quiet = call(*words, "--out", tmp_path / "m.csv", "--quiet", folder=folder)
    assert quiet.returncode == 0 and quiet.stdout == quiet.stderr == ""
    rows = table(tmp_path / "m.csv")
    assert [row["label"] for row in rows] == ["all", "1", "2", "3", "4", "5"]
    assert float(rows[0]["dice"]) == found["dice"] and float(rows[3]["dice"]) == found["by_label"][2]["dice"]
    again = call(*words, "--out", tmp_path / "m.csv", folder=folder)
    assert again.returncode == 2 and "--overwrite" in again.stderr


def test_a_cohort_with_two_methods(folder, tmp_path):
    done = call("--pairs", "cases.csv", "--out", tmp_path / "r.csv", "--seed", 3, folder=folder)
    assert done.returncode == 0, done.stderr
    rows, found = table(tmp_path / "r.csv"), json.loads((tmp_path / "r.json").read_text())
    assert len(rows) == 12 * 6 and found["cases"] == 12 and found["failures"] == []
    summary = {(s["method"], s["group"], s["measure"]): s for s in found["summary"]}
    good = [float(r["dice"]) for r in rows if r["method"] == "good" and r["label"] == "all"]
    entry = summary["good", "", "dice"]
    assert entry["n"] == 6 and entry["mean"] == pytest.approx(np.mean(good))
    assert entry["ci95_low"] < entry["mean"] < entry["ci95_high"] and summary["good", "odd", "dice"]["n"] == 3
    test = next(t for t in found["tests"] if t["measure"] == "dice")
    assert (test["first"], test["second"]) == ("good", "bad") and test["rank_biserial"] == 1
    assert test["wilcoxon_p"] == pytest.approx(2 / 2**6) and test["wilcoxon_p_holm"] >= test["wilcoxon_p"]
    assert {t["measure"] for t in found["tests"]}.isdisjoint({"labels", "affine_volume_factor"})
    again = call("--pairs", "cases.csv", "--out", tmp_path / "again.json", "--seed", 3, folder=folder)
    assert again.returncode == 0 and json.loads((tmp_path / "again.json").read_text()) == found
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "r.csv").read_text()


def test_an_earlier_run_is_compared(folder, tmp_path):
    assert call("--pairs", "good.csv", "--out", tmp_path / "good.csv", folder=folder).returncode == 0
    words = ("--pairs", "bad.csv", "--compare", tmp_path / "good.csv", "--out", tmp_path / "both.csv")
    done = call(*words, folder=folder)
    assert done.returncode == 0, done.stderr
    test = next(t for t in json.loads((tmp_path / "both.json").read_text())["tests"] if t["measure"] == "hd95_mm")
    assert (test["first"], test["second"], test["n"]) == ("bad", "good", 6)
    assert test["mean_difference"] > 1 and "bad" in done.stdout


def test_a_failing_case_is_recorded_and_the_rest_goes_on(folder, tmp_path):
    done = call("--pairs", "broken.csv", "--out", tmp_path / "r.csv", folder=folder)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith("1 of 5 cases failed; the others are judged")
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["failures"][0]["case"] == "c9" and "none.nii" in found["failures"][0]["reason"]
    assert {row["case"] for row in table(tmp_path / "r.csv")} == {"c0", "c1"}


def test_learn2reg_protocol(folder):
    done = call(*LABELS, "--transform", "bad3.h5", "--protocol", "learn2reg", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "sdlogj" in done.stdout and "hd95_voxels" in done.stdout and "hd95_mm" not in done.stdout


def bad_calls(folder):
    yield (), "nothing to judge"
    yield ("--fixed", "head.nii.gz"), "nothing to judge"
    yield (*LABELS, "--only", "1,x"), "whole numbers"
    yield (*LABELS, "--protocol", "l2r"), "physical, learn2reg"
    yield (*LABELS, "--transform", "head.h5"), "head.h5"
    yield (*LABELS, "--mask", "labels.txt"), "labels.txt"
    yield (*LABELS, "--out", "out.xlsx"), ".json or .csv"
    yield (*LABELS, "--out", "no/out.json"), "folder does not exist"
    yield (*LABELS, "--compare", "cases.csv"), "needs --pairs"
    yield ("--pairs", "cases.csv", "--fixed", "head.nii.gz"), "leave out --fixed"
    yield ("--pairs", "none.csv"), "none.csv"
    yield ("--pairs", "typo.csv"), "did you mean fixed_labels"
    yield ("--pairs", "twice.csv"), "there already"
    yield ("--pairs", "unnamed.csv"), "needs the case's name"
    yield ("--pairs", "cases.csv", "--compare", "cases.csv"), "rows of label all"


def test_bad_calls_end_with_one_line_and_nothing_written(folder):
    (folder / "typo.csv").write_text("case,fixed_lables\na,labels.nii.gz\n")
    (folder / "twice.csv").write_text("case,fixed\na,head.nii.gz\na,head.nii.gz\n")
    (folder / "unnamed.csv").write_text("method,fixed\na,head.nii.gz\n")
    before = sorted(p.name for p in folder.iterdir())
    for words, says in bad_calls(folder):
        done = call(*words, folder=folder)
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 2, (words, done.stderr)
        assert len(lines) == 1 and says in lines[0] and "Traceback" not in lines[0], (words, done.stderr)
        assert sorted(p.name for p in folder.iterdir()) == before
