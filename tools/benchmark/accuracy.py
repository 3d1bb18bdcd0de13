"""Accuracy on cases with a known truth: accuracy.py CASES_DIR [CASE ...] [--way NAME=OPTIONS ...] [--out LINES]

A case is a folder with fixed.nii.gz, moving.nii.gz, fixed_mask.nii.gz and either truth.npy (phi(x) - x in mm, LPS,
on the fixed grid, (Z, Y, X, 3)) or fixed_labels.nii.gz and moving_labels.nii.gz, or both. Each is registered in every
way that is named (--way "T alone=--model runs/brain --no-refine"; the defaults unless told) by the command in a process
of its own; SimpleITK reads the transform, which is compared with the truth. `--peer TOOL` runs another tool beside
(peers.py; `--python FAMILY=PYTHON` names the environment that holds it), its conversion not timed. All take two
threads; seconds and peak memory are of the whole process. One JSON line a case; cases that the file holds are not run
again. `--table` prints the lines as Markdown, `--medians` those of each way over the cases that all have done,
`--summary` one line a family of cases and way, `--plot PICTURE` draws accuracy against time.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import peers
import SimpleITK as sitk

COMMAND = Path(sys.executable).with_name("deformgan")
PEERS = Path(peers.__file__)
METER = """if True:  # runs a command and says last how much memory it took; a large parent's would count as its child's
    import resource, subprocess, sys
    code = subprocess.run(sys.argv[1:]).returncode
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)
    sys.exit(code)
"""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


def run(case: Path, way: str, options: list[str]) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        names = ["--fixed", case / "fixed.nii.gz", "--moving", case / "moving.nii.gz", "--out", out]
        row = {"case": case.name, "way": way} | timed([COMMAND, "register", *names, *options, "-q"])
        if "error" in row:
            return row
        result = json.loads((out / "result.json").read_text())
        row |= {"kept": result["kept"], "timings_s": result["timings_s"], "similarity": result["similarity"]}
        row |= {k: result[k] for k in ("suspect", "suspect_reasons") if k in result}
        return row | scored(case, sitk.ReadTransform(str(out / "transform.h5")))


def run_peer(case: Path, tool: str, python: str) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        names = [tool, case / "fixed.nii.gz", case / "moving.nii.gz", Path(scratch) / "out"]
        row = {"case": case.name, "way": tool} | timed([python, PEERS, "run", *names])
        if "error" not in row:
            row |= {k: v for k, v in timed([python, PEERS, "transform", *names]).items() if k == "error"}
        if "error" not in row:
            row |= scored(case, sitk.ReadTransform(str(Path(scratch) / "out/transform.h5")))
        return row


def timed(command: list) -> dict:
    """Wall seconds and peak MB of a process, or what it said when it failed."""
    threads = dict.fromkeys(THREADS, str(peers.THREADS))
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        whole = [sys.executable, "-IS", "-c", METER, *(str(c) for c in command)]
        code = subprocess.run(whole, stdout=said, stderr=said, env=os.environ | threads).returncode
        row: dict = {"wall_s": round(time.perf_counter() - begin, 2)}
        said.seek(0)
        *lines, kilobytes = said.read().decode(errors="replace").strip().splitlines()
        row["peak_mb"] = round(int(kilobytes) / 1024)
        if code:
            row["error"] = "\n".join(lines)[-200:] or f"exit {code}"
    return row


def scored(case: Path, transform: sitk.Transform) -> dict:
    fixed = sitk.ReadImage(str(case / "fixed.nii.gz"))
    grid = (fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing(), fixed.GetDirection())
    found = sitk.GetArrayFromImage(sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *grid))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "fixed_mask.nii.gz"))) > 0
    axes = np.array(fixed.GetDirection()).reshape(3, 3) * np.array(fixed.GetSpacing())
    slope = np.stack([np.gradient(found, axis=a) for a in (2, 1, 0)], -1) @ np.linalg.inv(axes)
    jacobian = np.linalg.det(np.eye(3) + slope)[mask]
    row = {"folding_percent": 100 * np.mean(jacobian <= 0), "sd_log_j": np.log(np.clip(jacobian, 1e-3, None)).std()}
    if (case / "truth.npy").exists():
        truth = np.load(case / "truth.npy")[mask]
        for name, error in (("before", truth), ("tre", found[mask] - truth)):
            e = np.linalg.norm(error, axis=-1)
            row |= {f"{name}_mean": e.mean(), f"{name}_median": np.median(e), f"{name}_p95": np.percentile(e, 95)}
    if (case / "fixed_labels.nii.gz").exists():
        row |= {"before_dice": dice(case, sitk.Transform(3, sitk.sitkIdentity)), "dice": dice(case, transform)}
    return {k: round(float(v), 4) for k, v in row.items()}


def dice(case: Path, transform: sitk.Transform) -> float:
    """Mean over the labels with more than 50 voxels in the fixed image."""
    fixed, moving = (sitk.ReadImage(str(case / f"{r}_labels.nii.gz")) for r in ("fixed", "moving"))
    warped = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0))
    truth = sitk.GetArrayFromImage(fixed)
    labels = [v for v, n in zip(*np.unique(truth, return_counts=True), strict=True) if v and n > 50]
    return float(
        np.mean([2 * ((truth == v) & (warped == v)).sum() / ((truth == v).sum() + (warped == v).sum()) for v in labels])
    )


def table(rows: list[dict]) -> str:
    """Markdown: one line a patient or pair, its seeds between slashes."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for r in sorted(rows, key=lambda r: (r["way"], r["case"])):
        groups.setdefault((r["way"], r["case"].split("_s")[0]), []).append(r)
    lines = []
    for (way, name), seeds in groups.items():
        if wrong := [r["error"] for r in seeds if "error" in r]:
            lines.append(f"| {name} | {way} | {wrong[0]} |" + " |" * 7)
            continue
        quality = DISTANCES if "tre_median" in seeds[0] else OVERLAPS
        cells = [" / ".join(f"{r[key]:{form}}" for r in seeds) if key else "" for key, form in (*quality, *ALWAYS)]
        kept = " / ".join(sorted({r.get("kept", "") for r in seeds}))
        lines.append("| " + " | ".join([name, way, *cells, kept]) + " |")
    return "\n".join([HEAD, *lines])


def medians(rows: list[dict]) -> str:
    """Markdown: each way's medians over the cases that all ways have done."""
    ways = list(dict.fromkeys(r["way"] for r in rows))
    done = set.intersection(*({r["case"] for r in rows if r["way"] == way and "error" not in r} for way in ways))
    keys = [k for k in MEDIANS if all(k in r for r in rows if r["case"] in done)]
    lines = ["| way | cases | " + " | ".join(MEDIANS[k] for k in keys) + " |", "| --- " * (2 + len(keys)) + "|"]
    for way in ways:
        middle = {k: np.median([r[k] for r in rows if r["way"] == way and r["case"] in done]) for k in keys}
        cells = [f"{v:.0f}" if v >= 100 else f"{v:.3g}" for v in middle.values()]
        lines.append(f"| {way} | {len(done)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(rows: list[dict]) -> str:
    """Markdown: one line a family of cases (what stands before the first - or _s) and way; middle (best to worst)."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for r in rows:
        groups.setdefault((r["case"].split("_s")[0].split("-")[0], r["way"]), []).append(r)
    lines = [SUMMARY, "| --- " * SUMMARY.count(" | ") + "| --- |"]
    for (family, way), cases in sorted(groups.items()):
        good = [r for r in cases if "error" not in r]
        runs = f"{len(good)}" + (f", {len(cases) - len(good)} failed" if len(good) < len(cases) else "")
        if not good:
            continue
        quality, tail = ("tre_median", "tre_p95") if "tre_median" in good[0] else ("dice", None)
        values = sorted((r[quality] for r in good), reverse=quality == "dice")
        form = ".3f" if quality == "dice" else ".2f"
        middle = f"{np.median(values):{form}} ({values[0]:{form}} to {values[-1]:{form}})"
        p95 = f"{np.median([r[tail] for r in good]):.2f}" if tail else ""
        folds = f"{max(r['folding_percent'] for r in good):.3g}"
        kinds = (("sd_log_j", ".3f"), ("wall_s", ".1f"), ("peak_mb", ".0f"))
        rest = [f"{np.median([r[k] for r in good]):{f}}" for k, f in kinds]
        lines.append("| " + " | ".join([family, way, runs, middle, p95, folds, *rest]) + " |")
    return "\n".join(lines)


def plot(rows: list[dict], picture: str) -> None:
    """Seconds against the median distance, one point a tool and way: the median over the cases that all have done."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator

    ways = list(dict.fromkeys(r["way"] for r in rows))
    good = [r for r in rows if "tre_median" in r]
    done = set.intersection(*({r["case"] for r in good if r["way"] == way} for way in ways))
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for way in ways:
        x, y = (
            np.median([r[k] for r in good if r["way"] == way and r["case"] in done]) for k in ("wall_s", "tre_median")
        )
        axes.plot(x, y, "o" if way in peers.TOOLS else "*", ms=7 if way in peers.TOOLS else 12, label=way)
        axes.annotate(way, (x, y), xytext=(7, 4), textcoords="offset points", fontsize=9)
    axes.set(xscale="log", yscale="log", xlabel="seconds, whole process, two threads", ylabel="median distance, mm")
    axes.set_title(", ".join(sorted(done)), fontsize=9)
    axes.margins(0.2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.grid(alpha=0.3, which="both")
    figure.savefig(picture, dpi=110)


SUMMARY = "| cases | way | runs | median mm, or Dice (best to worst) | p95 | most folds % | SD log J | s | MB |"
MEDIANS = {
    "tre_mean": "TRE mean, mm",
    "tre_median": "median",
    "tre_p95": "p95",
    "dice": "Dice",
    "folding_percent": "folds %",
    "sd_log_j": "SD log J",
    "wall_s": "s",
    "peak_mb": "MB",
}
COLUMNS = (
    *("case", "way", "median before, mm (or Dice)", "median (or Dice)", "mean", "p95 before", "p95"),
    *("folds %", "SD log J", "s", "kept"),
)
HEAD = "| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|"
DISTANCES = tuple((k, ".2f") for k in ("before_median", "tre_median", "tre_mean", "before_p95", "tre_p95"))
OVERLAPS = (("before_dice", ".3f"), ("dice", ".3f"), ("", ""), ("", ""), ("", ""))
ALWAYS = (("folding_percent", ".3f"), ("sd_log_j", ".3f"), ("wall_s", ".1f"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--way", action="append", default=[], metavar="NAME=OPTIONS")
    parser.add_argument("--out", type=Path, default=Path("benchmark-work/accuracy.jsonl"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--medians", action="store_true")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--plot", metavar="PICTURE")
    parser.add_argument("--peer", action="append", default=[], choices=peers.TOOLS)
    parser.add_argument("--python", action="append", default=[], metavar="FAMILY=PYTHON")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    if args.table:
        print(table(rows))
        return
    if args.medians:
        print(medians(rows))
        return
    if args.summary:
        print(summary(rows))
        return
    if args.plot:
        plot(rows, args.plot)
        return
    ways = {name: shlex.split(options) for name, _, options in (w.partition("=") for w in args.way or ["default="])}
    pythons = dict(p.split("=", 1) for p in args.python)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    known = {(r["case"], r["way"]) for r in rows}
    for name in args.cases or sorted(p.name for p in args.root.iterdir() if (p / "fixed.nii.gz").exists()):
        for way in (*ways, *args.peer):
            if (name, way) not in known:
                if way in ways:
                    row = run(args.root / name, way, ways[way])
                else:
                    row = run_peer(args.root / name, way, pythons.get(peers.family(way), sys.executable))
                with args.out.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
                print(json.dumps({k: v for k, v in row.items() if k not in ("timings_s", "similarity")}), flush=True)


if __name__ == "__main__":
    main()
