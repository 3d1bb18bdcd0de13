"""Capture range of affine registration: capture.py TOOL DATA [--pairs NAME ...] [--degrees N ...] [--starts 100]

TOOL: deformgan (its start on), deformgan-local (--no-search), ants (antspyx), elastix (the command, from the grids'
centres) or elastix-local (from the headers). Each runs in an environment that holds it, numpy and SimpleITK, and on one
thread, so that several runs can share a machine. DATA: the folder that holds the images of PAIRS below.

The moving image's header is turned by exactly 10, 20, 30 or 45 degrees about a random axis through its centre and
shifted by exactly 20, 40, 60 or 80 mm in a random direction; both images are brought to 2 mm first. A run succeeds
where the mean distance to the truth over the fixed image's bright voxels is below one voxel of the coarser image as it
came. The truth of a pair that is aligned exactly is the planted motion; of any other pair, the planted motion after
what the same tool finds most often with little or no motion (kept in a file beside the runs).

One CSV line a run, one file a tool and pair; runs that a file holds are not repeated. Seconds are the processor's, of
all threads and child programs, so that other work on the machine does not count. `capture.py table [--out FOLDER]`
prints Markdown, `capture.py plot PICTURE [--out FOLDER]` draws it.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"  # read by the libraries as they load

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402

LEVELS = ((10, 20), (20, 40), (30, 60), (45, 80))  # degrees, mm
VOXEL_MM = 2.0
SMALL_STARTS = 8  # of 5 degrees and 10 mm, for the truth of a pair that has none
COLUMNS = ("degrees", "seed", "error_mm", "success", "cpu_s")


class Pair(NamedTuple):
    title: str
    fixed: str
    moving: str
    exact: bool  # lies in one space, to the voxel


PAIRS = {
    "ct-mr": Pair("CT/MR, a patient", "sts/STS_010_CT.nii.gz", "sts/STS_010_MR_T1.nii.gz", False),
    "ct-t1": Pair("CT/T1, templates", "mni2mm/scct.nii.gz", "mni2mm/avg152T1.nii.gz", True),
    "t1-flair": Pair("T1/FLAIR", "nichart/subj10_T1.nii.gz", "nichart/subj10_FLAIR.nii.gz", False),
    "t1-t2": Pair("T1/T2", "brainweb/T1.nii.gz", "brainweb/T2.nii.gz", True),
}
TOOLS = {
    "deformgan": "deformgan",
    "deformgan-local": "deformgan, --no-search",
    "ants": "antspyx, Affine",
    "elastix": "elastix, centres first",
    "elastix-local": "elastix, headers only",
}


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

    options = deformgan.RegisterOptions(stage="affine", search=search, threads=1)
    found = deformgan.register(fixed, moving, options=options)
    return found.transform.parts[0].matrix if found.transform.parts else np.eye(4)


def by_ants(fixed: sitk.Image, moving: sitk.Image, folder: Path) -> np.ndarray:
    import ants

    images = [ants.image_read(str(folder / f"{name}.nii")) for name in ("fixed", "moving")]
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
        ["elastix", "-f", folder / "fixed.nii", "-m", folder / "moving.nii", "-out", folder, "-threads", "1", *calls],
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


def processor_seconds() -> float:
    """Of this process and the programs it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def run(tool: str, fixed: sitk.Image, moving: sitk.Image) -> tuple[np.ndarray, float]:
    """(4x4 fixed -> moving, seconds of the processor)."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if not tool.startswith("deformgan"):
            for name, image in (("fixed", fixed), ("moving", moving)):
                sitk.WriteImage(image, str(folder / f"{name}.nii"))
        begin = processor_seconds()
        if tool.startswith("deformgan"):
            matrix = by_deformgan(fixed, moving, tool == "deformgan")
        elif tool == "ants":
            matrix = by_ants(fixed, moving, folder)
        else:
            matrix = by_elastix(fixed, moving, folder, tool == "elastix")
        return matrix, processor_seconds() - begin


def measure(tool: str, name: str, data: Path, starts: int, degrees_wanted: list[int], out: Path) -> None:
    pair = PAIRS[name]
    raw = [sitk.ReadImage(str(data / f), sitk.sitkFloat32) for f in (pair.fixed, pair.moving)]
    voxel = max(max(image.GetSpacing()) for image in raw)
    fixed, moving = (at_two_mm(image) for image in raw)
    array = sitk.GetArrayFromImage(fixed)
    bright = np.argwhere(array > array.mean())[::200, ::-1]
    points = np.array([fixed.TransformIndexToPhysicalPoint(p.tolist()) for p in bright])
    centre = np.array(moving.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in moving.GetSize()]))
    file = out / f"{name}.{tool}.csv"
    reference = np.eye(4) if pair.exact else usual(tool, fixed, moving, points, centre, file.with_suffix(".txt"))
    done = {(r["degrees"], r["seed"]) for r in rows(file)}
    wanted = [(seed, d, mm) for seed in range(starts) for d, mm in LEVELS if d in degrees_wanted]
    if not (left := [w for w in wanted if (w[1], w[0]) not in done]):
        return
    run(tool, fixed, moving)  # what the first run alone does, such as compiling, is not counted
    if not done:
        file.write_text(",".join(COLUMNS) + "\n")
    for seed, degrees, mm in left:
        planted = motion(centre, degrees, mm, 1000 * degrees + seed)
        try:
            found, seconds = run(tool, fixed, moved(moving, planted))
            apart = np.c_[points, np.ones(len(points))] @ (found - planted @ reference)[:3].T
            error = float(np.linalg.norm(apart, axis=1).mean())
        except Exception as failure:  # a tool that stops has failed, whatever its reason
            error, seconds = 1e4, float("nan")
            print(failure, file=sys.stderr)
        with file.open("a") as lines:
            lines.write(f"{degrees},{seed},{error:.3f},{int(error < voxel)},{seconds:.2f}\n")


def usual(
    tool: str, fixed: sitk.Image, moving: sitk.Image, points: np.ndarray, centre: np.ndarray, kept: Path
) -> np.ndarray:
    """4x4: of what the tool finds without a motion and with small ones, that which the others lie nearest to."""
    if not kept.exists():
        found = [run(tool, fixed, moving)[0]]
        for seed in range(SMALL_STARTS):
            planted = motion(centre, 5, 10, seed)
            found.append(np.linalg.inv(planted) @ run(tool, fixed, moved(moving, planted))[0])
        ends = np.c_[points, np.ones(len(points))] @ np.stack(found)[:, :3].transpose(0, 2, 1)
        apart = np.linalg.norm(ends[:, None] - ends[None], axis=-1).mean(-1)
        np.savetxt(kept, found[int(np.median(apart, axis=1).argmin())])
    return np.loadtxt(kept)


def rows(file: Path) -> list[dict]:
    if not file.exists():
        return []
    with file.open() as lines:
        found = list(csv.DictReader(lines))
    return [{k: int(v) if k in ("degrees", "seed") else float(v) for k, v in row.items()} for row in found]


class Rate(NamedTuple):
    percent: float
    runs: int
    seconds: float  # median


def rates(out: Path) -> dict[tuple[str, str], list[Rate]]:
    """(pair, tool) -> one for each of LEVELS."""
    known = {}
    for pair in PAIRS:
        for tool in TOOLS:
            found = rows(out / f"{pair}.{tool}.csv")
            levels = [[r for r in found if r["degrees"] == degrees] for degrees, _ in LEVELS]
            if all(levels):
                known[pair, tool] = [
                    Rate(
                        100 * float(np.mean([r["success"] for r in level])),
                        len(level),
                        float(np.nanmedian([r["cpu_s"] for r in level])),
                    )
                    for level in levels
                ]
    return known


def table(out: Path) -> str:
    """Markdown; a rate of fewer than 100 runs says of how many it is."""
    head = " | ".join(f"{d} degrees, {mm} mm" for d, mm in LEVELS)
    lines = [f"| pair | tool | {head} | median CPU s |", "| --- " * (3 + len(LEVELS)) + "|"]
    for (pair, tool), levels in rates(out).items():
        shares = " | ".join(f"{a.percent:.0f} %" + (f" ({a.runs})" if a.runs < 100 else "") for a in levels)
        seconds = np.median([level.seconds for level in levels])
        lines.append(f"| {PAIRS[pair].title} | {TOOLS[tool]} | {shares} | {seconds:.1f} |")
    return "\n".join(lines)


def plot(out: Path, picture: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    known = rates(out)
    pairs, tools = ([n for n in names if any(n in key for key in known)] for names in (PAIRS, TOOLS))
    figure, axes = pyplot.subplots(1, len(pairs), figsize=(4 * len(pairs), 3.6), layout="constrained", sharey=True)
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito: told apart by everyone
    for ax, pair in zip(np.atleast_1d(axes), pairs, strict=True):
        for k, (tool, colour) in enumerate(zip(tools, colours, strict=False)):
            if (pair, tool) in known:
                beside = 0.07 * (k - (len(tools) - 1) / 2)  # seen where they agree
                places = np.arange(len(LEVELS)) + beside
                shares = [level.percent for level in known[pair, tool]]
                ax.plot(places, shares, "os^Dv"[k] + "-", color=colour, label=TOOLS[tool], lw=1)
        ax.set(title=PAIRS[pair].title, ylim=(-3, 105), xticks=range(len(LEVELS)), xlabel="disturbance")
        ax.set_xticklabels([f"{d}\N{DEGREE SIGN}\n{mm} mm" for d, mm in LEVELS])
    np.atleast_1d(axes)[0].set_ylabel("success, %")
    figure.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*TOOLS, "table", "plot"], metavar="TOOL")
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--degrees", nargs="+", type=int, default=[degrees for degrees, _ in LEVELS])
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "capture")
    args = parser.parse_args()
    if args.what == "table":
        print(table(args.out))
    elif args.path is None:
        parser.error("a folder or a picture is needed")
    elif args.what == "plot":
        plot(args.out, str(args.path))
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        for name in args.pairs:
            measure(args.what, name, args.path, args.starts, args.degrees, args.out)


if __name__ == "__main__":
    main()
