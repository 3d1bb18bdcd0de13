"""Time and memory against the number of voxels: growth.py FIXED MOVING [--voxels 2 1.4 1 0.8] [--out PREFIX]

The pair is brought to each voxel size (mm) and registered by the command, three times each; then one iteration of the
deformable stage is timed alone on the full grid. Medians go to PREFIX.md, a plot beside a straight line to PREFIX.png.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from accuracy import COMMAND, timed

from deformgan.io.formats import read_volume
from deformgan.registration.appearance import Appearance
from deformgan.registration.deformable import Level, solve_level
from deformgan.registration.recipe import TWO_MODALITIES
from deformgan.similarity.objective import parse_similarity

REPEATS = 3
ITERATIONS = 6


def at(image: sitk.Image, mm: float) -> sitk.Image:
    size = [round(n * s / mm) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    spacing = [n * s / m for n, s, m in zip(image.GetSize(), image.GetSpacing(), size, strict=True)]
    half = [(new / old - 1) / 2 for new, old in zip(spacing, image.GetSpacing(), strict=True)]
    origin = image.TransformContinuousIndexToPhysicalPoint(half)
    grid = (size, sitk.Transform(), sitk.sitkLinear, origin, spacing, image.GetDirection())
    return sitk.Resample(sitk.DiscreteGaussian(image, max(0.0, mm / 2 - 0.5) ** 2 + 1e-6), *grid)


def per_iteration(fixed: Path, moving: Path) -> float:
    """Seconds of one iteration at the image's own voxels."""
    pair = [Appearance.of(read_volume(str(p)), None, torch.device("cpu")) for p in (fixed, moving)]
    level = Level.of(*pair, np.eye(4), min(pair[0].geometry.spacing))
    ends: list[float] = []
    weights, settings = parse_similarity(TWO_MODALITIES.similarity), TWO_MODALITIES.settings
    solve_level(level, None, weights, ITERATIONS, settings, lambda done, loss: ends.append(time.perf_counter()))
    return statistics.median(np.diff(ends))


def measured(fixed: sitk.Image, moving: sitk.Image, mm: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{name}.nii.gz" for name in ("fixed", "moving")]
        for image, path in zip((fixed, moving), paths, strict=True):
            sitk.WriteImage(at(image, mm), str(path))
        command = [COMMAND, "register", "--fixed", paths[0], "--moving", paths[1], "--out", Path(scratch) / "out"]
        runs = [timed([*command, "-q", "--overwrite"]) for _ in range(REPEATS)]
        voxels = float(np.prod(sitk.ReadImage(str(paths[0])).GetSize()))
        whole = {k: statistics.median(r[k] for r in runs) for k in ("wall_s", "peak_mb")}
        return {"mm": mm, "voxels": voxels / 1e6, **whole, "iteration_s": per_iteration(*paths)}


def table(rows: list[dict[str, float]]) -> str:
    lines = ["| voxels, mm | millions | whole, s | peak MB | one iteration, ms | ns a voxel |", "| --- " * 6 + "|"]
    for r in rows:
        ms = 1e3 * r["iteration_s"]
        whole = f"{r['voxels']:.1f} | {r['wall_s']:.1f} | {r['peak_mb']:.0f}"
        lines.append(f"| {r['mm']:g} | {whole} | {ms:.0f} | {ms / r['voxels']:.0f} |")
    return "\n".join(lines) + "\n"


def plot(rows: list[dict[str, float]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = {"wall_s": "whole, s", "peak_mb": "peak memory, MB", "iteration_s": "one iteration, s"}
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    x = np.array([r["voxels"] for r in rows])
    for ax, (key, name) in zip(axes, kinds.items(), strict=True):
        y = np.array([r[key] for r in rows])
        slope, rest = np.polyfit(x, y, 1)
        ax.plot(x, rest + slope * x, "-", color="0.7", label="straight line")
        ax.plot(x, y, "o", color="#0072B2")
        ax.set(xlabel="million voxels", title=name, xlim=(0, None), ylim=(0, None))
    axes[0].legend()
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    parser.add_argument("--voxels", type=float, nargs="+", default=[2.0, 1.4, 1.0, 0.8])
    parser.add_argument("--out", type=Path, default=Path("benchmark-work/growth"))
    args = parser.parse_args()
    pair = [sitk.ReadImage(path, sitk.sitkFloat32) for path in (args.fixed, args.moving)]
    rows = [measured(*pair, mm) for mm in args.voxels]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text(table(rows))
    plot(rows, args.out.with_suffix(".png"))
    print(table(rows))


if __name__ == "__main__":
    main()
