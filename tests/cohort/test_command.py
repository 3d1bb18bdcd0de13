"""The real command: a worker killed, the whole interrupted, begun again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

COMMAND = str(Path(sys.executable).with_name("deformgan"))
SETTINGS = ("--set", "preset=fast", "--set", "stage=rigid", "--workers", "2")
PAIRS = 4
LONG_S = 300  # a limit against hanging; on two free cores all takes half a minute


@pytest.fixture
def manifest(tmp_path, images):
    for name in ("fixed.nii.gz", "moving.nii.gz"):
        shutil.copy(images / name, tmp_path)
    rows = "".join(f"fixed.nii.gz,moving.nii.gz,p{n},{n}\n" for n in range(PAIRS))
    (tmp_path / "pairs.csv").write_text(f"fixed,moving,name,seed\n{rows}")
    return tmp_path / "pairs.csv"


@pytest.fixture
def begin(manifest):
    """A function that begins the command; what is left of it at the end is killed."""
    begun = []

    def start(*more):
        words = [COMMAND, "batch", str(manifest), "--out", str(manifest.parent / "out"), *SETTINGS, *more]
        begun.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()


def until(true, what):
    end = time.monotonic() + LONG_S
    while not (found := true()):
        assert time.monotonic() < end, what
        time.sleep(0.01)
    return found


def done(manifest):
    """Inode and time of change of every result whose note is there."""
    folders = [p.parent for p in (manifest.parent / "out" / "pairs").glob("*/pair.json")]
    files = [p for folder in folders for p in folder.iterdir() if p.is_file()]
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def status(manifest):
    """State by pair, from status.csv."""
    rows = (manifest.parent / "out" / "status.csv").read_text().splitlines()[1:]
    return dict(row.split(",")[:2] for row in rows)


def workers_of(process):
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it may end just now
            if any("multiprocessing.spawn" in word for word in child.cmdline()):
                found.append(child)
    return found


def scratches(manifest):
    """The folders where a pair is being worked at, or was when its worker died."""
    return set((manifest.parent / "out" / "pairs").glob("*/.pair.json.*.half"))


def at_work(process, manifest):
    """(a worker that holds the folder of a pair that it is at, that pair's name); None while there is none."""
    for worker in workers_of(process):
        with suppress(psutil.Error):  # it may end just now
            for file in worker.open_files():
                place = Path(file.path).parent
                if place.parent.parent == manifest.parent / "out" / "pairs" and (place / "lock").exists():
                    return worker, place.parent.name
    return None


@pytest.mark.long
def test_an_interruption_costs_nothing_that_was_done_and_a_killed_worker_no_pair(manifest, begin):
    process = begin()
    until(lambda: done(manifest), "no pair ended")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONG_S)
    before = done(manifest)
    assert scratches(manifest) == set()
    assert process.returncode == 130 and "run the same command again" in err and "Traceback" not in err
    assert 1 <= len({p.parent for p in before}) < PAIRS
    states = status(manifest)
    assert states.keys() == {f"p{n}" for n in range(PAIRS)} and "running" not in states.values()

    process = begin()
    worker, killed = until(lambda: at_work(process, manifest), "no pair began")
    os.kill(worker.pid, signal.SIGKILL)
    assert killed not in {p.parent.name for p in done(manifest)}
    out, err = process.communicate(timeout=LONG_S)
    assert process.returncode == 0, err
    assert out.strip().endswith("report.html") and "Traceback" not in err
    assert set(status(manifest).values()) <= {"done", "kept"}
    after = done(manifest)
    assert len({p.parent for p in after}) == PAIRS and scratches(manifest) == set()
    assert {p: after[p] for p in before} == before and killed in {p.parent.name for p in after}


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(manifest, begin):
    process = begin("--dry-run")
    out, err = process.communicate(timeout=LONG_S)
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert len(lines) == PAIRS + 2 and lines[0].startswith("do ") and lines[0].endswith(" MB p0")
    assert "4 to do, 0 to look at, 0 done, 0 failed" in lines[-2] and lines[-1].startswith("2 workers of")
    assert not (manifest.parent / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "presets=fast"), "--set takes NAME=VALUE"),
        (("--fixed", "suffix=CT"), "choose the images of a BIDS dataset"),
        (("--cluster", "slurm", "--dry-run"), "--cluster needs --memory"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(manifest, begin, words, said):
    process = begin(*words)
    _, err = process.communicate(timeout=LONG_S)
    assert process.returncode == 2 and said in err and len(err.splitlines()) == 1
    assert not (manifest.parent / "out").exists()
