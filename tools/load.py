"""Many registrations in one process: memory, open files and threads after each: load.py [--runs 200] [--out PREFIX]

The pairs in data/sts take turns, at reduced resolution, registered by the Python interface; every fourth result is
saved with its report. PREFIX.json holds the figures of each run, PREFIX.png the plot. The slope of the memory (least
squares, the first runs left out) is said; exit 1 where it is above --most MB a run, or where open files or threads have
grown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import SimpleITK as sitk

import deformgan
from deformgan.registration.progress import silent

STS = Path(__file__).resolve().parents[1] / "data" / "sts"
PATIENTS = ("002", "015", "018", "051")
SHRINK = (5, 5, 2)
SAVED_EVERY = 4
WARM = 20  # runs until every library has what it keeps


def pairs() -> list[tuple[deformgan.Volume, deformgan.Volume]]:
    files = [[STS / f"STS_{p}_{kind}.nii.gz" for kind in ("CT", "MR_T1")] for p in PATIENTS]
    small = [[sitk.Shrink(sitk.ReadImage(str(f)), SHRINK) for f in pair] for pair in files]
    return [(deformgan.as_volume(fixed), deformgan.as_volume(moving)) for fixed, moving in small]


def loaded(runs: int, threads: int) -> list[dict[str, float]]:
    """Seconds, resident MB, open files and threads after each run."""
    images, process, rows = pairs(), psutil.Process(), []
    options = deformgan.RegisterOptions(preset="fast", threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs):
            begin = time.perf_counter()
            found = deformgan.register(*images[number % len(images)], options=options, progress=silent)
            if number % SAVED_EVERY == 0:
                found.save(Path(folder) / "result", overwrite=True)
            del found
            rows.append(
                {
                    "seconds": time.perf_counter() - begin,
                    "rss_mb": process.memory_info().rss / 1e6,
                    "files": process.num_fds(),
                    "threads": process.num_threads(),
                }
            )
    return rows


def slope(rows: list[dict[str, float]]) -> float:
    """MB a run."""
    memory = [row["rss_mb"] for row in rows]
    return float(np.polyfit(np.arange(len(memory)), memory, 1)[0])


def plot(rows: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(rows) + 1), [row["rss_mb"] for row in rows], lw=1)
    axes.set(xlabel="registrations in one process", ylabel="resident memory, MB", ylim=(0, None), xlim=(1, len(rows)))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--most", type=float, default=0.1, help="MB a run")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = loaded(given.runs, given.threads)
    late = rows[min(WARM, len(rows) // 2) :]
    grown = {name: late[-1][name] - late[0][name] for name in ("files", "threads")}
    took = sum(row["seconds"] for row in rows) / len(rows)
    print(
        f"{len(rows)} registrations of {took:.2f} s each; resident {late[0]['rss_mb']:.0f} MB after "
        f"{len(rows) - len(late) + 1} runs, {late[-1]['rss_mb']:.0f} MB at the end, at most "
        f"{max(row['rss_mb'] for row in rows):.0f} MB; slope {slope(late):+.3f} MB a run; open files "
        f"{late[-1]['files']} ({grown['files']:+d}), threads {late[-1]['threads']} ({grown['threads']:+d})"
    )
    if given.out:
        given.out.with_suffix(".json").write_text(json.dumps(rows))
        plot(rows, given.out.with_suffix(".png"))
    return int(slope(late) > given.most or any(n > 0 for n in grown.values()))


if __name__ == "__main__":
    sys.exit(main())
