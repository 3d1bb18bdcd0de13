"""A few of the random stops of tools/faults.py, which is the long version of this."""

import contextlib
import importlib.util
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deformgan.io.whole_file import whole_file
from deformgan.io.workplace import HALF, uninterrupted, workplace

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = {"register": (0.3, 2.8), "warp": (0.3, 1.5), "prepare": (0.3, 2.2), "train": (1.5, 3.0)}  # s on a core


@pytest.fixture(scope="module")
def faults():
    spec = importlib.util.spec_from_file_location("faults", ROOT / "tools" / "faults.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["faults"] = module  # where its dataclass looks for its own annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(faults, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    faults.undisturbed(folder, ["train"], repeats=1)  # what a resumed run has to end with
    return folder


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("register", "SIGTERM"),
        ("register", "SIGKILL"),
        ("warp", "SIGINT"),
        ("prepare", "SIGTERM"),
        ("train", "SIGKILL"),
    ],
)
def test_a_stopped_command_leaves_nothing_broken_and_can_be_run_again(faults, folder, name, sent):
    moment = random.Random(f"{name} {sent}").uniform(*MOMENTS[name])
    row = faults.tried(folder, name, (moment, faults.SIGNALS[sent]))
    assert row["amiss"] == [], row


def test_a_planted_fault_is_found(faults, tmp_path):
    out = tmp_path / "result"
    out.mkdir()
    for name in faults.RESULTS:
        (out / name).write_bytes(b"half")
    assert len(faults.wrong_in_result(out)) == 5
    (out / "report.html").unlink()
    assert "only" in faults.wrong_in_result(out)[0]
    (tmp_path / "tmp").mkdir()
    (tmp_path / f".result.0123{HALF}").mkdir()
    assert faults.temporary(tmp_path) == [f".result.0123{HALF}"]


def children(threads):
    """Of a process, whichever of its threads began them."""
    found = []
    for path in threads.glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found += path.read_text().split()
    return found


def test_a_killed_pool_of_prepare_leaves_no_process(faults, folder, tmp_path):
    words = [
        str(faults.COMMAND),
        *faults.works(folder)["prepare"].words,
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "2",
    ]
    running = subprocess.Popen(words, stderr=subprocess.PIPE)
    threads = Path(f"/proc/{running.pid}/task")
    limit = time.monotonic() + 60
    while len(pids := children(threads)) < 3 and time.monotonic() < limit:  # two, and their tracker
        time.sleep(0.02)
    running.kill()
    running.communicate()
    assert len(pids) == 3
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < limit:
        time.sleep(0.05)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def hold(target, ready, stop):
    with workplace(target) as place:
        (place / "half").write_text("x")
        ready.set()
        stop.wait(60)


def test_a_workplace_of_a_dead_process_is_cleared_and_that_of_a_live_one_is_not(tmp_path):
    target, context = tmp_path / "a.nii", multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    other = context.Process(target=hold, args=(target, ready, stop))
    other.start()
    assert ready.wait(60)
    with whole_file(tmp_path / "a") as scratch:  # its name begins alike
        scratch.write_text("x")
    with whole_file(target) as scratch:
        scratch.write_text("mine")
    (theirs,) = tmp_path.glob(f"*{HALF}")
    assert (theirs / "half").exists()
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert theirs.exists()
    with whole_file(target) as scratch:
        scratch.write_text("again")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.nii"] and target.read_text() == "again"


def test_steps_that_belong_together_are_not_torn_apart():
    done = []
    before = signal.signal(signal.SIGTERM, lambda *_: done.append("signal"))
    try:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            done.append("step")
        assert done == ["step", "signal"]
    finally:
        signal.signal(signal.SIGTERM, before)


STOPPED_WITHIN = """
import os, signal, sys, time
from deformgan.cli import main
def stop():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
class Last:
    def __del__(self):
        stop()
exec(compile("def called_back():\\n stop()\\n sys.stdout.write('whole ')", "numba/core/serialize.py", "exec"))
def work(**words):
    WITHIN()
    time.sleep(20)
    print("went on")
main.app = work
main.main()
"""


@pytest.mark.parametrize(("within", "said"), [("stop", ""), ("Last", ""), ("called_back", "whole ")])
def test_an_exit_comes_however_the_signal_came(within, said):
    """Python swallows an exit amid a finaliser; a compiled kernel that calls back crashes on one, so it is let end."""
    script = STOPPED_WITHIN.replace("WITHIN", within)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (143, said), done.stderr
    assert done.stderr == "deformgan: stopped; nothing is left half-written\n"


def test_the_rows_say_what_happened(faults):
    row = {"command": "warp", "signal": "SIGINT", "exit": 0, "state": "whole", "amiss": ["x"]}
    assert faults.table([json.loads(json.dumps(row))]).endswith("| warp | SIGINT | 1 | 1 | 0 | 1 | 1 |")
