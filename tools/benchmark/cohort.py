"""Many pairs: the scheduler's overhead, throughput by workers, and what a million pairs would cost the driver.

    .venv/bin/python tools/benchmark/cohort.py empty --count 10000 --workers 2
    .venv/bin/python tools/benchmark/cohort.py pairs --data ../shared/data --count 24 --workers 1 2
    .venv/bin/python tools/benchmark/cohort.py million --count 1000000

`empty`: seconds and milliseconds a task of tasks that do nothing.  `pairs`: CT/MR and T1/T1 pairs of the shared data,
after some that do not count; pairs a minute, efficiency against the first number of workers (one worker has all cores,
too), and the CPU that a pair took, since the clock says little on a busy machine.  `million`: a manifest of so many
rows over four images: seconds and memory to read it, to write status.csv, to make as many folders and to look through
as many notes.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil

from deformgan.cohort.batch import run_batch
from deformgan.cohort.engine import Task, run_tasks
from deformgan.cohort.jobs import planned, sources_of
from deformgan.cohort.notes import Note
from deformgan.cohort.pairs import distinct, jobs_of_manifest
from deformgan.cohort.pool import PoolOptions, open_pool
from deformgan.cohort.register import register_pair
from deformgan.cohort.tables import Status
from deformgan.report.cohort import Line, write_cohort_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("empty", "pairs", "million"))
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--preset", default="default")
    parser.add_argument("--stage", default="deformable")
    asked = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if asked.what == "empty":
        for workers in asked.workers:
            empty(asked.count, workers)
    elif asked.what == "pairs":
        pairs(asked.data, asked.count, asked.workers, {"preset": asked.preset, "stage": asked.stage})
    else:
        million(asked.count)


def empty(count: int, workers: int) -> None:
    with timed(f"{workers} workers open"):
        opened = open_pool(PoolOptions(workers=workers))
        pool = opened.__enter__()
    begin, cpu = time.perf_counter(), time.process_time()
    tasks = (Task(f"t{n}", 0, 100.0) for n in range(count))
    for ended, outcome in enumerate(run_tasks(tasks, abs, pool), start=1):
        assert outcome.value == 0, outcome
        if ended == count or ended % 1000 == 0:
            seconds, used = time.perf_counter() - begin, time.process_time() - cpu
            print(
                f"{ended} empty tasks, {workers} workers: {seconds:.1f} s, {1000 * seconds / ended:.2f} ms a task; "
                f"{1000 * used / ended:.2f} ms of CPU in the driver; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    opened.__exit__(None, None, None)


def pairs(data: Path, count: int, workers: list[int], settings: dict[str, str]) -> None:
    rows = real_pairs(data)[:count]
    rates: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "pairs.csv")
        with manifest.open("w", newline="") as stream:
            csv.writer(stream).writerows([("name", "fixed", "moving"), *rows])
        for number in workers:
            out = Path(folder, f"out{number}")
            jobs = distinct(jobs_of_manifest(manifest, out, settings))
            with open_pool(PoolOptions(workers=number)) as pool:
                one = replace(jobs[0], options=replace(jobs[0].options, threads=pool.threads))
                warm = [replace(one, folder=f"warm/{n}") for n in range(2 * number)]
                list(run_tasks([Task(job.folder, job) for job in warm], register_pair, pool))
                shutil.rmtree(out)
                begin, cpu = time.perf_counter(), cpu_of_workers()
                tally = run_batch(jobs, out, lambda pool=pool: nullcontext(pool))
                seconds, cpu = time.perf_counter() - begin, cpu_of_workers() - cpu
            rates[number] = 60 * len(jobs) / seconds
            efficiency = rates[number] / (rates[workers[0]] * number / workers[0])
            print(
                f"{len(jobs)} pairs, {number} workers of {pool.threads} threads: {seconds:.1f} s, "
                f"{rates[number]:.2f} a minute, {rates[number] / rates[workers[0]]:.2f} times {workers[0]} "
                f"(efficiency {100 * efficiency:.0f} %), failed {tally.counts['failed']}, "
                f"largest worker {max(_peaks(out)):.0f} MB; {cpu / len(jobs):.1f} s of CPU a pair, workers had "
                f"{100 * cpu / seconds / os.cpu_count():.0f} % of the cores; load {os.getloadavg()[1]:.1f}",
                flush=True,
            )


def cpu_of_workers() -> float:
    """Seconds of CPU of this process' children so far: on a busy machine they say more than the clock."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))


def real_pairs(data: Path) -> list[tuple[str, str, str]]:
    """CT and MR of 14 patients, T1 of neighbours among 11 heads: (name, fixed, moving)."""
    patients = sorted((data / "sts").glob("*_CT.nii.gz"))[:14]
    heads = sorted((data / "nichart").glob("*_T1.nii.gz"))[:11]
    rows = [(p.name[:7], str(p.resolve()), str(p.resolve()).replace("_CT.", "_MR_T1.")) for p in patients]
    rows += [(f"{a.name[:6]}-{b.name[:6]}", str(a.resolve()), str(b.resolve())) for a, b in pairwise(heads)]
    return rows


def million(count: int) -> None:
    """What grows with the number of pairs, without registering any."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("f.nii.gz", "m.nii.gz"):
            (root / name).write_bytes(b"x")
        with (root / "pairs.csv").open("w") as stream:
            stream.write("name,fixed,moving\n")
            stream.writelines(f"site{n // 1000:04d}/p{n:07d},f.nii.gz,m.nii.gz\n" for n in range(count))
        print(f"manifest {(root / 'pairs.csv').stat().st_size / 1e6:.0f} MB")
        with timed("read the manifest"):
            jobs = distinct(jobs_of_manifest(root / "pairs.csv", root / "out", {}))
        with timed("write folders and notes"):
            sources = sources_of(jobs[0], content=True)
            for job in jobs:
                values = dict.fromkeys(("similarity", "folding_percent", "seconds", "min_jacobian"), 0.5)
                job.home.mkdir(parents=True)
                job.place.write_text(Note(job.name, "done", job.key, sources, {}, values).text())
        with timed("look through the notes of a restart"):
            assert all(state == "done" for _, state, _ in planned(jobs, retry_failed=False))
        lines = [Line(job.name, f"{job.folder}/report.html", "", "done", "", dict(values)) for job in jobs]
        with timed("write status.csv"):
            Status(root, lines).write()
        with timed("write report.html"):
            write_cohort_report(root / "report.html", lines, root)
        print(f"status.csv {(root / 'status.csv').stat().st_size / 1e6:.0f} MB, "
              f"report.html {(root / 'report.html').stat().st_size / 1e6:.1f} MB")  # fmt: skip


@contextmanager
def timed(what: str):
    begin, cpu = time.perf_counter(), time.process_time()
    yield
    cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(f"{what}: {time.perf_counter() - begin:.1f} s, {cpu:.1f} s of CPU, peak {peak:.0f} MB so far", flush=True)


def _peaks(out: Path) -> list[float]:
    with (out / "summary.csv").open() as stream:
        return [float(row["worker_peak_mb"] or 0) for row in csv.DictReader(stream)]


if __name__ == "__main__":
    main()
