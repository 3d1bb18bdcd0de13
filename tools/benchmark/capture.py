"""Capture range of affine registration: capture.py TOOL PAIR FIXED MOVING [--starts 100] [--exact] [--out LINES]

TOOL: deformgan (its start on), deformgan-local (--no-search), ants (antspyx), elastix (the command, from the grids'
centres) or elastix-local (from the headers). Each runs in
an environment that holds it, numpy and SimpleITK, and no other tool. The moving image's header is turned by exactly
10, 20, 30 or 45 degrees about a random axis through its centre and shifted by exactly 20, 40, 60 or 80 mm in a random
direction; both images are brought to 2 mm first. A run succeeds where the mean distance to the truth over the fixed
image's bright voxels is below one voxel of the coarser image as it came. The truth of a pair that is aligned exactly
(--exact) is the planted motion; of any other pair, the planted motion after what the same tool finds most often with
little or no motion (kept in a file beside the lines).
One JSON line a run; runs that the file holds are not repeated. Seconds are the median over the first ten starts: run
those on a quiet machine, the rest may share it. `capture.py table [--out LINES]` prints Markdown,
`capture.py plot PICTURE [--out LINES]` draws it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

LEVELS = ((10, 20), (20, 40), (30, 60), (45, 80))  # degrees, mm
VOXEL_MM = 2.0
SMALL_STARTS = 8  # of 5 degrees and 10 mm, for the truth of a pair that has none
TIMED = 10  # starts a level whose seconds count


def at_two_mm(image: sitk.Image) -> sitk.Image:
    size = np.array(image.GetSize()) * np.array(image.GetSpacing()) / VOXEL_MM
    grid = sitk.Image([max(4, round(n)) for n in size], sitk.sitkFloat32)
    spacing = np.array(image.GetSize()) * np.array(image.GetSpacing()) / np.array(grid.GetSize())
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(((spacing / image.GetSpacing() - 1) / 2).tolist()))
    low = float(sitk.GetArrayViewFromImage(image).min())
    return sitk.Resample(sitk.DiscreteGaussian(image, 0.5), grid, sitk.Transform(), sitk.sitkLinear, low)


def motion(centre: np.ndarray, degrees: float, mm: float, seed: int) -> np.ndarray:
    """4x4, LPS mm, of a turn and a shift of that size in random directions."""
    rng = np.random.default_rng(seed)
    axis, way = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    turn = sitk.VersorTransform(axis.tolist(), np.deg2rad(degrees))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(turn.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = centre + mm * way - matrix[:3, :3] @ centre
    return matrix


def moved(image: sitk.Image, matrix: np.ndarray) -> sitk.Image:
    """The same voxels, every point where `matrix` sends it."""
    out = sitk.Image(image)
    out.SetDirection((matrix[:3, :3] @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    out.SetOrigin((matrix[:3, :3] @ image.GetOrigin() + matrix[:3, 3]).tolist())
    return out


def as_matrix(transform: sitk.Transform) -> np.ndarray:
    """4x4 of a transform that is affine."""
    origin, *ends = (np.array(transform.TransformPoint(p)) for p in ((0.0, 0.0, 0.0), *np.eye(3).tolist()))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack([e - origin for e in ends], 1), origin
    return matrix


def by_deformgan(fixed: sitk.Image, moving: sitk.Image, search: bool) -> np.ndarray:
    import deformgan

    options = deformgan.RegisterOptions(stage="affine", search=search)
    found = deformgan.register(fixed, moving, options=options)
    return found.transform.parts[0].matrix if found.transform.parts else np.eye(4)


def by_ants(fixed: sitk.Image, moving: sitk.Image, folder: Path) -> np.ndarray:
    import ants

    images = [ants.image_read(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving")]
    found = ants.registration(*images, type_of_transform="Affine", random_seed=1)
    return as_matrix(sitk.ReadTransform(found["fwdtransforms"][0]))


def by_elastix(fixed: sitk.Image, moving: sitk.Image, folder: Path, search: bool) -> np.ndarray:
    """Rigid, then affine, of the tool's own defaults (advanced Mattes MI, four resolutions)."""
    common = {
        "FixedInternalImagePixelType": '"float"', "MovingInternalImagePixelType": '"float"',
        "FixedImageDimension": "3", "MovingImageDimension": "3", "UseDirectionCosines": '"true"',
        "Registration": '"MultiResolutionRegistration"', "Interpolator": '"LinearInterpolator"',
        "ResampleInterpolator": '"FinalBSplineInterpolator"', "Resampler": '"DefaultResampler"',
        "FixedImagePyramid": '"FixedSmoothingImagePyramid"', "MovingImagePyramid": '"MovingSmoothingImagePyramid"',
        "Optimizer": '"AdaptiveStochasticGradientDescent"', "Metric": '"AdvancedMattesMutualInformation"',
        "AutomaticScalesEstimation": '"true"', "AutomaticTransformInitialization": f'"{str(search).lower()}"',
        "HowToCombineTransforms": '"Compose"', "NumberOfHistogramBins": "32", "NumberOfResolutions": "4",
        "MaximumNumberOfIterations": "250", "NumberOfSpatialSamples": "2048", "NewSamplesEveryIteration": '"true"',
        "ImageSampler": '"RandomCoordinate"', "WriteResultImage": '"false"', "ErodeMask": '"false"',
        "ITKTransformOutputFileNameExtension": '"tfm"',
    }  # fmt: skip
    calls = []
    for name in ("Euler", "Affine"):
        text = "\n".join(f"({k} {v})" for k, v in {**common, "Transform": f'"{name}Transform"'}.items())
        (folder / f"{name}.txt").write_text(text)
        calls += ["-p", folder / f"{name}.txt"]
    subprocess.run(
        ["elastix", "-f", folder / "fixed.nii.gz", "-m", folder / "moving.nii.gz", "-out", folder, *calls],
        check=True, capture_output=True,
    )  # fmt: skip
    stages = []
    for k in (0, 1):
        values = {}
        for line in (folder / f"TransformParameters.{k}.txt").read_text().splitlines():
            if line.startswith("("):
                key, *rest = line.strip("()").split()
                values[key] = rest
        p = [float(v) for v in values["TransformParameters"]]
        stage = sitk.Euler3DTransform() if k == 0 else sitk.AffineTransform(3)
        stage.SetCenter([float(v) for v in values["CenterOfRotationPoint"]])
        stage.SetParameters(p)
        stages.append(as_matrix(stage))
    return stages[1] @ stages[0]


def run(tool: str, fixed: sitk.Image, moving: sitk.Image) -> tuple[np.ndarray, float]:
    """(4x4 fixed -> moving, seconds without the reading and writing of files)."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, image in (("fixed", fixed), ("moving", moving)):
            sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
        begin = time.perf_counter()
        if tool.startswith("deformgan"):
            matrix = by_deformgan(fixed, moving, tool == "deformgan")
        elif tool == "ants":
            matrix = by_ants(fixed, moving, folder)
        else:
            matrix = by_elastix(fixed, moving, folder, tool == "elastix")
        return matrix, time.perf_counter() - begin


def measure(tool: str, pair: str, files: tuple[str, str], starts: int, exact: bool, out: Path) -> None:
    raw = [sitk.ReadImage(f, sitk.sitkFloat32) for f in files]
    voxel = max(max(image.GetSpacing()) for image in raw)
    fixed, moving = (at_two_mm(image) for image in raw)
    array = sitk.GetArrayFromImage(fixed)
    bright = np.argwhere(array > array.mean())[::200, ::-1]
    points = np.array([fixed.TransformIndexToPhysicalPoint(p.tolist()) for p in bright])
    centre = np.array(moving.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in moving.GetSize()]))
    reference = np.eye(4) if exact else usual(tool, pair, fixed, moving, points, centre, out)
    done = {(r["tool"], r["pair"], r["degrees"], r["seed"]) for r in rows(out)}
    for seed in range(starts):
        for degrees, mm in LEVELS:
            if (tool, pair, degrees, seed) in done:
                continue
            planted = motion(centre, degrees, mm, 1000 * degrees + seed)
            try:
                found, seconds = run(tool, fixed, moved(moving, planted))
                apart = np.c_[points, np.ones(len(points))] @ (found - planted @ reference)[:3].T
                error = float(np.linalg.norm(apart, axis=1).mean())
            except Exception as failure:  # a tool that stops has failed, whatever its reason
                error, seconds = 1e4, 0.0
                print(failure, file=sys.stderr)
            row = {"tool": tool, "pair": pair, "degrees": degrees, "mm": mm, "seed": seed, "error_mm": round(error, 3)}
            row |= {"success": error < voxel, "seconds": round(seconds, 2)}
            with out.open("a") as lines:
                lines.write(json.dumps(row) + "\n")


def usual(
    tool: str, pair: str, fixed: sitk.Image, moving: sitk.Image, points: np.ndarray, centre: np.ndarray, out: Path
) -> np.ndarray:
    """4x4: of what the tool finds without a motion and with small ones, that which the others lie nearest to."""
    kept = out.with_suffix(".references.json")
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if (key := f"{tool} {pair}") not in known:
        found = [run(tool, fixed, moving)[0]]
        for seed in range(SMALL_STARTS):
            planted = motion(centre, 5, 10, seed)
            found.append(np.linalg.inv(planted) @ run(tool, fixed, moved(moving, planted))[0])
        ends = np.c_[points, np.ones(len(points))] @ np.stack(found)[:, :3].transpose(0, 2, 1)
        apart = np.linalg.norm(ends[:, None] - ends[None], axis=-1).mean(-1)
        known[key] = found[int(np.median(apart, axis=1).argmin())].tolist()
        kept.write_text(json.dumps(known, indent=1))
    return np.array(known[key])


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def rates(found: list[dict]) -> dict[tuple[str, str, int], tuple[float, int, float]]:
    """(pair, tool, degrees) -> (success rate, runs, median seconds)."""
    groups: dict[tuple[str, str, int], list[dict]] = {}
    for r in found:
        groups.setdefault((r["pair"], r["tool"], r["degrees"]), []).append(r)
    return {
        k: (
            float(np.mean([r["success"] for r in g])),
            len(g),
            float(np.median([r["seconds"] for r in g if r["seed"] < TIMED])),
        )
        for k, g in sorted(groups.items())
    }


def table(found: list[dict]) -> str:
    head = " | ".join(f"{d} degrees, {mm} mm" for d, mm in LEVELS)
    lines = [f"| pair | tool | {head} | runs a level | median s |", "| --- " * (4 + len(LEVELS)) + "|"]
    known = rates(found)
    for pair, tool in sorted({k[:2] for k in known}):
        cells = [known.get((pair, tool, d), (float("nan"), 0, 0.0)) for d, _ in LEVELS]
        shares = " | ".join(f"{100 * share:.0f} %" for share, _, _ in cells)
        lines.append(f"| {pair} | {tool} | {shares} | {cells[0][1]} | {np.median([c[2] for c in cells]):.1f} |")
    return "\n".join(lines)


def plot(found: list[dict], picture: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    known = rates(found)
    pairs, tools = (sorted({k[n] for k in known}) for n in (0, 1))
    figure, axes = pyplot.subplots(1, len(pairs), figsize=(4 * len(pairs), 3.6), layout="constrained", sharey=True)
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito: told apart by everyone
    for ax, pair in zip(np.atleast_1d(axes), pairs, strict=True):
        for k, (tool, colour) in enumerate(zip(tools, colours, strict=False)):
            places = np.arange(len(LEVELS)) + 0.07 * (k - (len(tools) - 1) / 2)  # beside each other where they agree
            shares = [100 * known.get((pair, tool, d), (np.nan,))[0] for d, _ in LEVELS]
            ax.plot(places, shares, "os^Dv"[k] + "-", color=colour, label=tool, lw=1)
        ax.set(title=pair, ylim=(-3, 105), xticks=range(len(LEVELS)), xlabel="disturbance")
        ax.set_xticklabels([f"{d}\N{DEGREE SIGN}\n{mm} mm" for d, mm in LEVELS])
    np.atleast_1d(axes)[0].set_ylabel("success, %")
    figure.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "tool", choices=["deformgan", "deformgan-local", "ants", "elastix", "elastix-local", "table", "plot"]
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmark-work/capture.jsonl"))
    args = parser.parse_args()
    if args.tool == "table":
        print(table(rows(args.out)))
    elif args.tool == "plot":
        plot(rows(args.out), args.names[0])
    else:
        pair, fixed, moving = args.names
        args.out.parent.mkdir(parents=True, exist_ok=True)
        measure(args.tool, pair, (fixed, moving), args.starts, args.exact, args.out)


if __name__ == "__main__":
    main()
