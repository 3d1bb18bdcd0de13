"""Batches on two real worker processes: what is done, kept, done again, recorded."""

import csv
import json
import os
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import SimpleITK as sitk
from filelock import FileLock

from deformgan.cohort.batch import run_batch
from deformgan.cohort.jobs import planned
from deformgan.cohort.pairs import distinct, jobs_of_manifest
from deformgan.errors import OutputError
from deformgan.registration.outputs import FILES

QUICK = {"preset": "fast", "stage": "rigid", "threads": "1"}
ROWS = {
    "site/a": "fixed.nii.gz,moving.nii.gz,fixed_labels.nii.gz,moving_labels.nii.gz,",
    "b": "fixed.nii.gz,moving.nii.gz,,,",
    "gone": "fixed.nii.gz,nowhere.nii.gz,,,",
    "empty": "fixed.nii.gz,empty.nii.gz,,,",
}


class Batch:
    """A folder with copies of the images, a manifest, and what a run over it does."""

    def __init__(self, folder, images, pool):
        self.folder, self.out, self.pool, self.rows = folder, folder / "out", pool, dict(ROWS)
        for path in images.glob("*.nii.gz"):
            shutil.copy2(path, folder)
        if not (folder / "empty.nii.gz").exists():
            (folder / "empty.nii.gz").write_bytes(b"")

    def jobs(self, **defaults):
        head = "name,fixed,moving,fixed_labels,moving_labels,seed\n"
        text = "".join(f"{name},{row}\n" for name, row in self.rows.items())
        (self.folder / "pairs.csv").write_text(head + text)
        return distinct(jobs_of_manifest(self.folder / "pairs.csv", self.out, {**QUICK, **defaults}))

    def run(self, **how):
        tallies = []
        run_batch(self.jobs(), self.out, lambda: nullcontext(self.pool), show=tallies.append, **how)
        assert tallies == [] or tallies[-1].ended == len(self.rows)
        return {row["pair"]: row for row in self.table("status.csv")}

    def states(self, **how):
        return {name: row["status"] for name, row in self.run(**how).items()}

    def table(self, name):
        with (self.out / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    def marks(self):
        """Inode and time of change of all files of all results."""
        results = (p for p in (self.out / "pairs").rglob("*") if p.name in FILES)
        return {p.relative_to(self.out).as_posix(): (p.stat().st_ino, p.stat().st_mtime_ns) for p in results}


@pytest.fixture(scope="module")
def first(tmp_path_factory, images, pool):
    batch = Batch(tmp_path_factory.mktemp("batch"), images, pool)
    return batch, batch.run()


@pytest.fixture
def batch(first, tmp_path, pool):
    """A copy of the first batch, as it stood at its end."""
    copy = Batch(tmp_path, first[0].folder, pool)
    shutil.copytree(first[0].out, copy.out)
    for note in (copy.out / "pairs").rglob("pair.json"):
        note.write_text(note.read_text().replace(str(first[0].folder), str(tmp_path)))
    return copy


def test_good_pairs_are_done_and_bad_ones_say_why(first):
    batch, rows = first
    assert {name: row["status"] for name, row in rows.items()} == {
        "site/a": "done", "b": "done", "gone": "failed", "empty": "failed"
    }  # fmt: skip
    assert "nowhere.nii.gz" in rows["gone"]["reason"] and "empty (0 bytes)" in rows["empty"]["reason"]
    folder = batch.out / "pairs" / "site" / "a"
    assert {p.name for p in folder.iterdir()} == {*FILES, "thumbnail.jpg", "pair.json"}
    assert [p.name for p in (batch.out / "pairs" / "gone").iterdir()] == ["pair.json"]
    transform = sitk.ReadTransform(str(folder / "transform.h5"))
    np.testing.assert_allclose(np.array(transform.TransformPoint((3, -4, 2))) - (3, -4, 2), (6, -5, 4), atol=1.5)


def test_the_tables_and_the_page_say_it_all(first):
    batch, _ = first
    rows = {row["pair"]: row for row in batch.table("summary.csv")}
    assert float(rows["site/a"]["dice"]) > float(rows["site/a"]["dice_before"]) + 0.1 and rows["b"]["dice"] == ""
    assert float(rows["b"]["similarity"]) > float(rows["b"]["similarity_before"]) and float(rows["b"]["seconds"]) > 0
    page = (batch.out / "report.html").read_text()
    assert 'href="pairs/site/a/report.html"' in page and "nowhere.nii.gz" in page and "http" not in page


def test_nothing_is_done_twice(batch):
    before = batch.marks()
    assert len(before) == 10
    assert batch.states() == {"site/a": "kept", "b": "kept", "gone": "failed", "empty": "failed"}
    assert batch.marks() == before


def test_an_image_of_another_time_but_the_same_content_is_known_again(batch):
    before = batch.marks()
    os.utime(batch.folder / "moving.nii.gz")
    assert {state for job, state, _ in planned(batch.jobs(), retry_failed=False) if job.name == "b"} == {"look"}
    assert batch.states()["b"] == "kept" and batch.marks() == before
    assert {state for job, state, _ in planned(batch.jobs(), retry_failed=False) if job.name == "b"} == {"done"}


def test_another_setting_of_one_row_does_that_row_again(batch):
    before = batch.marks()
    batch.rows["b"] += "5"
    assert batch.states() == {"site/a": "kept", "b": "done", "gone": "failed", "empty": "failed"}
    after = batch.marks()
    assert {name for name in before if before[name] == after[name]} == {f"pairs/site/a/{name}" for name in FILES}
    assert json.loads((batch.out / "pairs/b/result.json").read_text())["seed"] == 5


def test_a_result_that_is_cut_off_or_without_its_note_is_made_again(batch):
    with (batch.out / "pairs/b/warped.nii.gz").open("r+b") as stream:
        stream.truncate(100)
    (batch.out / "pairs/site/a/pair.json").unlink()
    left = batch.out / "pairs/site/a/.pair.json.0123456789abcdef.half"  # as a worker that was killed leaves it
    left.mkdir()
    (left / "lock").touch()
    (left / "half").write_bytes(b"x")
    assert batch.states() == {"site/a": "done", "b": "done", "gone": "failed", "empty": "failed"}
    assert sitk.ReadImage(str(batch.out / "pairs/b/warped.nii.gz")).GetSize() == (28, 30, 26)
    assert not left.exists()


def test_what_failed_is_left_until_it_is_asked_for_or_mended(batch):
    def tried(name):
        return (batch.out / "pairs" / name / "pair.json").stat().st_mtime_ns

    before = {name: tried(name) for name in ("gone", "empty")}
    batch.run()
    assert {name: tried(name) for name in before} == before
    batch.run(retry_failed=True)
    assert all(tried(name) > before[name] for name in before)
    shutil.copy(batch.folder / "moving.nii.gz", batch.folder / "nowhere.nii.gz")
    assert batch.states() == {"site/a": "kept", "b": "kept", "gone": "done", "empty": "failed"}


def test_a_failure_takes_the_stale_result_with_it(batch):
    (batch.folder / "moving.nii.gz").write_bytes(b"")
    assert batch.states()["b"] == "failed"
    assert [p.name for p in (batch.out / "pairs/b").iterdir()] == ["pair.json"]


def test_an_image_that_is_gone_leaves_its_result(batch):
    before = batch.marks()
    (batch.folder / "moving.nii.gz").unlink()
    assert batch.states()["b"] == "kept" and batch.marks() == before


def test_two_batches_in_one_folder(batch):
    with FileLock(batch.out / ".lock"), pytest.raises(OutputError, match="another batch is at work"):
        batch.run()


def test_a_folder_that_holds_other_things(batch):
    (batch.out / "batch.json").unlink()
    with pytest.raises(OutputError, match="holds other files"):
        batch.run()


def test_a_link_that_leads_out_is_not_followed(batch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    batch.rows = {"link/x": ROWS["b"]}
    (batch.out / "pairs" / "link").symlink_to(elsewhere)
    row = batch.run()["link/x"]
    assert row["status"] == "failed" and "leads out of" in row["reason"] and list(elsewhere.iterdir()) == []
