"""Stop the commands at random moments, on real images, and look at what is left: faults.py [--kills 50] [...]

Each run of `register`, `train`, `warp` and `prepare` gets SIGINT, SIGTERM or SIGKILL at a moment drawn over the time
that it works undisturbed. Then its output has to be absent or whole (every file is read), its exit code that of the
signal, and nothing temporary may stay, except after SIGKILL. The same command, run again (`train` with --resume), has
to end well, to leave nothing temporary at all, and `train` has to end with the bits of the undisturbed run.

With --folder the rows are kept, a JSON line each, and a run goes on where the last one stood. Exit 1 where anything is
amiss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import psutil
import SimpleITK as sitk
import torch
import yaml

from deformgan.io.tensor_files import read_tensors

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("deformgan")
STS = ROOT / "data" / "sts"
PATIENTS = ("015", "051")
SIGNALS = {one.name: one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)}
SHRINK = (3, 3, 1)
RESULTS = {"warped.nii.gz", "transform.h5", "inverse.h5", "result.json", "report.html"}
LIMIT_S, POLL_S = 300, 0.005


@dataclass(frozen=True)
class Work:
    """words: of the command, after which --out OUT comes.  wrong: what is not whole in OUT, if it is there."""

    words: tuple[str, ...]
    out: str
    wrong: Callable[[Path], list[str]]


def images(folder: Path) -> None:
    """Two patients' CT and MR, every third voxel in the plane, and what the commands need to work on them."""
    for patient in PATIENTS:
        for kind in ("CT", "MR_T1"):
            image = sitk.Shrink(sitk.ReadImage(str(STS / f"STS_{patient}_{kind}.nii.gz")), SHRINK)
            sitk.WriteImage(image, str(folder / f"{patient}_{kind}.nii.gz"))
    rows = [(f"{p}_CT.nii.gz", f"{p}_MR_T1.nii.gz", p) for p in PATIENTS]
    splits = ("train", "validation")
    pairs = [f"{ct},{mr},{p},{split}" for (ct, mr, p), split in zip(rows, splits, strict=True)]
    (folder / "pairs.csv").write_text("\n".join(["fixed,moving,subject,split", *pairs]) + "\n")
    people = [f"{mr},{ct},{p},{split}" for (ct, mr, p), split in zip(rows, splits, strict=True)]
    (folder / "people.csv").write_text("\n".join(["mr,ct,subject,split", *people]) + "\n")
    config = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    config["data"] |= {"manifest": "pairs.csv", "cache": "cache", "spacing_mm": 12, "shape": [16, 16, 16]}
    config["transformation"] = {"channels": [4, 8, 8], "matching": 1}
    config["generator"], config["discriminator"] = {"channels": [4, 8]}, {"channels": 4, "layers": 2}
    config["training"] |= {"steps": 8, "validate_every": 4, "save_every": 2, "device": "cpu"}
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    matrix = sitk.Euler3DTransform((0.0, 0.0, -500.0), 0.1, 0.0, 0.2, (5.0, -3.0, 4.0))
    sitk.WriteTransform(sitk.AffineTransform(matrix.GetMatrix(), matrix.GetTranslation()), str(folder / "motion.tfm"))


def works(folder: Path) -> dict[str, Work]:
    fixed, moving = str(folder / "051_CT.nii.gz"), str(folder / "051_MR_T1.nii.gz")
    return {
        "register": Work(("register", "--fixed", fixed, "--moving", moving, "--preset", "fast", "--threads", "1", "-q"),
                         "result", wrong_in_result),
        "warp": Work(("warp", "--transform", str(folder / "motion.tfm"), "--image", moving, "--reference", fixed, "-q"),
                     "warped.nii.gz", wrong_in_file),
        "prepare": Work(("prepare", str(folder / "people.csv"), "-q"), "prepared", wrong_in_prepared),
        "train": Work(("train", str(folder / "train.yaml"), "--threads", "1", "-q"), "run", wrong_in_run),
    }  # fmt: skip


def wrong_in_file(path: Path) -> list[str]:
    """Read the whole file by another library than the one that wrote it, where there is one."""
    try:
        if path.name.endswith((".nii.gz", ".nii")):
            np.asarray(nibabel.load(path).dataobj)
            sitk.ReadImage(str(path))
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                file.visititems(lambda _, one: one[()] if isinstance(one, h5py.Dataset) else None)
            sitk.ReadTransform(str(path))
        elif path.suffix == ".safetensors":
            read_tensors(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".html":
            path.read_text().rindex("</html>")
        elif path.suffix == ".yaml":
            yaml.safe_load(path.read_text())["training"]
    except Exception as error:  # whatever a reader raises says that the file is not whole
        return [f"{path.name}: {type(error).__name__}: {error}"]
    return []


def wrong_in_all(folder: Path) -> list[str]:
    files = [p for p in folder.rglob("*") if p.is_file() and not any(is_temporary(part) for part in p.parts)]
    return [line for p in files for line in wrong_in_file(p)]


def wrong_in_result(folder: Path) -> list[str]:
    names = {p.name for p in folder.iterdir() if not is_temporary(p.name)}
    return [f"only {sorted(names)}"] if names != RESULTS else wrong_in_all(folder)


def wrong_in_prepared(folder: Path) -> list[str]:
    missing = [
        f"{note}: names {name}"
        for note in folder.glob("*/prepared.json")
        for name in json.loads(note.read_text())["files"]
        if not (note.parent / name).exists()
    ]
    if (folder / "manifest.csv").exists():
        people = (folder / "manifest.csv").read_text().strip().splitlines()[1:]
        missing += [] if len(people) == len(PATIENTS) else ["manifest.csv: not everyone is in it"]
    return missing + wrong_in_all(folder)


def wrong_in_run(folder: Path) -> list[str]:
    lines = (folder / "history.jsonl").read_text().splitlines(True) if (folder / "history.jsonl").exists() else []
    broken = [f"history.jsonl: {line!r}" for line in lines if line.endswith("\n") and not line.startswith("{")]
    return broken + wrong_in_all(folder)


def is_temporary(name: str) -> bool:
    return name.startswith(".") or name.endswith((".tmp", ".part"))


def temporary(place: Path) -> list[str]:
    """What is left over in the place of the output and in the folder for temporary files."""
    inside = [str(p.relative_to(place)) for p in place.rglob("*") if is_temporary(p.name)]
    # torch keeps a cache of its own there, which is for every process of the user
    return inside + [f"tmp/{p.name}" for p in (place / "tmp").iterdir() if not p.name.startswith("torchinductor_")]


def run(work: Work, place: Path, more: tuple[str, ...] = (), after: tuple[float, int] | None = None) -> tuple[int, str]:
    """(exit code as a shell shows it, what was said); after: (seconds on a core, signal)."""
    (place / "tmp").mkdir(exist_ok=True)
    words = [str(COMMAND), *work.words, "--out", str(place / work.out), *more]
    environment = {**os.environ, "TMPDIR": str(place / "tmp"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if after:
        while process.poll() is None and core_seconds(process.pid) < after[0]:
            time.sleep(POLL_S)
        process.send_signal(after[1])
    said = process.communicate(timeout=LIMIT_S)[1]
    return (process.returncode if process.returncode >= 0 else 128 - process.returncode), said


def core_seconds(pid: int) -> float:
    """What a process has worked: unlike the time that passes, the same on an idle and on a busy machine."""
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return float("inf")
    return float(used.user + used.system)


def same_bits(one: Path, other: Path) -> bool:
    for name in ("checkpoints/step-00000008.safetensors", "model.safetensors"):
        a, b = (read_tensors(folder / name)[0] for folder in (one, other))
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            return False
    return (one / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()


def tried(folder: Path, name: str, after: tuple[float, int]) -> dict[str, Any]:
    """One stopped run and the one after it; `amiss` lists what should not be."""
    work, sent = works(folder)[name], signal.Signals(after[1])
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        out = place / work.out
        code, said = run(work, place, after=after)
        state = "absent" if not out.exists() else "broken" if (wrong := work.wrong(out)) else "whole"
        amiss = [f"after the signal: {line}" for line in wrong] if state == "broken" else []
        if code not in (0, 128 + sent):
            amiss.append(f"exit {code}: {said.strip()[-300:]}")
        left = temporary(place)
        if sent != signal.SIGKILL:
            amiss += [f"left: {one}" for one in left]
        if "Traceback" in said and "in main" in said:  # else Python itself was stopped, before it ran a line of ours
            amiss.append(f"traceback: {said.strip()[-300:]}")
        again = ("--overwrite",) if out.exists() and name != "prepare" else ()
        if name == "train":
            again = ("--resume",) if (out / "config.yaml").exists() else ()
        second, words = run(work, place, again)
        if second != 0:
            amiss.append(f"the second run: exit {second}: {words.strip()[-300:]}")
        amiss += [f"the second run: {line}" for line in work.wrong(out)] if out.exists() else ["no output at last"]
        amiss += [f"left by the second run: {one}" for one in temporary(place)]
        if name == "train" and second == 0 and not same_bits(out, folder / "undisturbed" / "run"):
            amiss.append("the resumed run ends with other bits")
    return {"command": name, "signal": sent.name, "at_s": round(after[0], 3), "exit": code, "state": state,
            "left": len(left), "traceback": "Traceback" in said, "amiss": amiss}  # fmt: skip


def plan(commands: list[str], signals: list[str], kills: int, seed: int) -> Iterator[tuple[str, str, int, float]]:
    """(command, signal, number, share of the command's time): each follows from the seed and from itself alone."""
    for number in range(kills):
        for name in commands:
            for sent in signals:
                yield name, sent, number, random.Random(f"{seed} {name} {sent} {number}").random()


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| command | signal | runs | ended before it | absent | whole | amiss |", "| --- " * 7 + "|"]
    for (name, sent), count in Counter((r["command"], r["signal"]) for r in rows).items():
        mine = [r for r in rows if (r["command"], r["signal"]) == (name, sent)]
        states = Counter(r["state"] for r in mine)
        early, amiss = sum(r["exit"] == 0 for r in mine), sum(bool(r["amiss"]) for r in mine)
        lines.append(f"| {name} | {sent} | {count} | {early} | {states['absent']} | {states['whole']} | {amiss} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each command by each signal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="+", default=["register", "train", "warp", "prepare"])
    parser.add_argument("--signals", nargs="+", choices=SIGNALS, default=list(SIGNALS))
    parser.add_argument("--folder", type=Path, help="of inputs and rows, kept  [default: a temporary one]")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so long")
    given, begin = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        seconds, kept = undisturbed(folder, given.commands), folder / "rows.jsonl"
        rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
        done = {(r["command"], r["signal"], r["number"]) for r in rows}
        for name, sent, number, share in plan(given.commands, given.signals, given.kills, given.seed):
            if (name, sent, number) in done or time.monotonic() - begin > 60 * given.minutes:
                continue
            rows.append(tried(folder, name, (share * seconds[name], SIGNALS[sent])) | {"number": number})
            with kept.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            for line in rows[-1]["amiss"]:
                print(f"{name} {sent} at {rows[-1]['at_s']} s: {line}", flush=True)
    print(table(rows))
    return 1 if any(r["amiss"] for r in rows) else 0


def undisturbed(folder: Path, commands: list[str], repeats: int = 2) -> dict[str, float]:
    """How long each command works, seconds on a core; its output stays in folder/undisturbed."""
    kept, place = folder / "seconds.json", folder / "undisturbed"
    seconds: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    if not seconds:
        images(folder)
        place.mkdir()
    for name in (n for n in commands if n not in seconds):
        work = works(folder)[name]
        for _ in range(repeats):  # the first may compile kernels, and fills the cache of pictures
            shutil.rmtree(place / work.out, ignore_errors=True)
            (place / work.out).unlink(missing_ok=True)
            start = os.times()
            code, said = run(work, place)
            end = os.times()
            seconds[name] = end.children_user - start.children_user + end.children_system - start.children_system
            assert code == 0, said
    kept.write_text(json.dumps(seconds))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
