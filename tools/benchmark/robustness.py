"""What harm to an image does: robustness.py CASES_DIR CASE ... [--harm NAME ...] [--way NAME=OPTIONS] [--peer TOOL]

Takes the cases with an exact truth of accuracy.py, shrinks them to voxels of --mm (3), harms the moving image (metal:
the fixed one) in each way of HARMS, and lets every tool at the same files by accuracy.py's own means (so with two
threads, or as many as BENCHMARK_THREADS says). The distance to the truth counts where the harmed image still shows
something. A run fails where the median distance is larger than before, or where there is no result. One JSON line a
run; what the file holds is not run again. `--summary` prints Markdown.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import accuracy
import numpy as np
import peers
import SimpleITK as sitk
from scipy import ndimage

Harm = Callable[[sitk.Image, np.random.Generator], sitk.Image]
THIN_MM, METAL_MM, STREAK_MM = 5.0, 10.0, 60.0
CT_TOP, RATIO = 3071.0, 10.0  # HU that a scanner's 12 bits hold; slice to pixel


# What is done to an image, at its own resolution; the image that comes back may have another grid


def nothing(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    return image


def constant_slices(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Every sixth slice, at random, holds one value."""
    a = sitk.GetArrayFromImage(image)
    a[rng.permutation(len(a))[: max(1, len(a) // 6)]] = a.mean()
    return like(a, image)


def metal(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Two saturated balls of 2 cm in the body, with streaks in the slices through them."""
    a = sitk.GetArrayFromImage(image)
    top, low = CT_TOP if a.min() < -500 else 4 * np.percentile(a, 99.9), float(a.min())
    spacing = np.array(image.GetSpacing()[::-1])
    middle = np.argwhere(a > np.percentile(a, 70)).mean(0) * spacing
    grid = np.meshgrid(*(np.arange(n) * s for n, s in zip(a.shape, spacing, strict=True)), indexing="ij", sparse=True)
    for side in (-1, 1):
        dz, dy, dx = (g - m - side * o for g, m, o in zip(grid, middle, (0.0, 8.0, 25.0), strict=True))
        flat = np.hypot(dy, dx)
        streaks = np.cos(14 * np.arctan2(dy, dx) + rng.uniform(0, 6)) * np.exp(-flat / STREAK_MM)
        a += 0.15 * (top - low) * streaks * (np.abs(dz) < 1.5 * METAL_MM)
        a[np.hypot(flat, dz) < METAL_MM] = top
    return like(a.clip(low, top), image)


def bias(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Four times as bright at one end as at the other."""
    a, way = sitk.GetArrayFromImage(image), rng.standard_normal(3)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in a.shape), indexing="ij", sparse=True)
    slope = sum(w * g for w, g in zip(way / np.abs(way).sum(), axes, strict=True))
    return like(a.min() + (a - a.min()) * 4 ** (0.5 * slope), image)


def noise(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Rician, as much as a fifth of the tissue's signal in the voxels of --mm."""
    a = sitk.GetArrayFromImage(image) - sitk.GetArrayViewFromImage(image).min()
    sigma = a[a > a.mean()].mean() / 5
    return like(np.hypot(a + sigma * rng.standard_normal(a.shape), sigma * rng.standard_normal(a.shape)), image)


def half_field_of_view(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    n = image.GetSize()[2]
    return image[:, :, : n // 2] if rng.random() < 0.5 else image[:, :, n - n // 2 :]


def empty_half(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    a = sitk.GetArrayFromImage(image)
    n = a.shape[2]
    a[:, :, slice(n // 2) if rng.random() < 0.5 else slice(n - n // 2, n)] = a.min()
    return like(a, image)


def three_slices(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Of 5 mm, from the middle."""
    thick = shrunk(image, (0.0, 0.0, THIN_MM))
    first = (thick.GetSize()[2] - 3) // 2
    return thick[:, :, first : first + 3]


def ten_to_one(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    return shrunk(image, (0.0, 0.0, RATIO * image.GetSpacing()[0]))


HARMS: dict[str, tuple[str, Harm]] = {
    "none": ("moving", nothing),
    "constant slices": ("moving", constant_slices),
    "metal": ("fixed", metal),
    "3 slices": ("moving", three_slices),
    "half the field of view": ("moving", half_field_of_view),
    "10:1 voxels": ("moving", ten_to_one),
    "empty half": ("moving", empty_half),
    "bias field 4:1": ("moving", bias),
    "noise, SNR 5": ("moving", noise),
}


FINER = {
    "3 slices": (3.0, 3.0, 0.0),
    "10:1 voxels": (1.0, 1.0, 0.0),
}  # voxels before the harm, where it needs finer ones


def like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(np.asarray(array, np.float32))
    made.CopyInformation(image)
    return made


def shrunk(image: sitk.Image, mm: tuple[float, float, float]) -> sitk.Image:
    """Over the same box, with voxels of at least `mm` (x, y, z), smoothed for them."""
    old = np.array(image.GetSpacing())
    size = np.maximum(1, np.rint(np.array(image.GetSize()) * old / np.maximum(old, mm))).astype(int)
    new = old * image.GetSize() / size
    sigma = 0.5 * np.sqrt(np.maximum((new / old) ** 2 - 1, 0))[::-1]
    smooth = like(ndimage.gaussian_filter(sitk.GetArrayFromImage(image), sigma), image)
    origin = image.TransformContinuousIndexToPhysicalPoint(((new / old - 1) / 2).tolist())
    grid = origin, new.tolist(), image.GetDirection()
    return sitk.Resample(smooth, size.tolist(), sitk.Transform(), sitk.sitkLinear, *grid)


def harmed(case: Path, name: str, mm: float, to: Path) -> None:
    """Write the shrunk and harmed case as a case of its own."""
    role, harm = HARMS[name]
    rng = np.random.default_rng(int(case.name.rpartition("_s")[2]))
    images = {}
    for r in ("fixed", "moving"):
        image = shrunk(
            sitk.ReadImage(str(case / f"{r}.nii.gz"), sitk.sitkFloat32),
            FINER.get(name, (mm,) * 3) if r == role else (mm,) * 3,
        )
        images[r] = harm(image, rng) if r == role else image
        sitk.WriteImage(images[r], str(to / f"{r}.nii.gz"), True)
    truth = read_truth(case, images["fixed"])
    np.save(to / "truth.npy", sitk.GetArrayFromImage(truth))
    mask = sitk.ReadImage(str(case / "fixed_mask.nii.gz"), sitk.sitkFloat32)
    mask = sitk.Resample(mask, images["fixed"], sitk.Transform(), sitk.sitkNearestNeighbor)
    there = sitk.DisplacementFieldTransform(sitk.Cast(truth, sitk.sitkVectorFloat64))
    seen = sitk.Resample(shown(images["moving"], name), images["fixed"], there, sitk.sitkNearestNeighbor)
    sitk.WriteImage(sitk.Cast(mask * seen, sitk.sitkUInt8), str(to / "fixed_mask.nii.gz"), True)


def read_truth(case: Path, grid: sitk.Image) -> sitk.Image:
    truth = sitk.GetImageFromArray(np.load(case / "truth.npy"), isVector=True)
    truth.CopyInformation(sitk.ReadImage(str(case / "fixed.nii.gz")))
    return sitk.Resample(truth, grid, sitk.Transform(), sitk.sitkLinear)


def shown(image: sitk.Image, name: str) -> sitk.Image:
    """1 where the harmed image still shows something."""
    a = np.ones_like(sitk.GetArrayFromImage(image))
    if name == "empty half":
        a *= np.ptp(sitk.GetArrayFromImage(image), axis=(0, 1)) > 0
    return like(a, image)


# Runs, and what comes of them


def runs(args: argparse.Namespace, known: set[tuple[str, str, str]]) -> Iterator[dict]:
    ways = {name: shlex.split(options) for name, _, options in (w.partition("=") for w in args.way)}
    pythons = dict(p.split("=", 1) for p in args.python)
    for case in args.cases:
        for harm in args.harm or HARMS:
            todo = [way for way in (*ways, *args.peer) if (case, harm, way) not in known]
            if not todo:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / case
                folder.mkdir()
                harmed(args.root / case, harm, args.mm, folder)
                for way in todo:
                    if way in ways:
                        row = accuracy.run(folder, way, ways[way])
                    else:
                        row = accuracy.run_peer(folder, way, pythons.get(peers.family(way), sys.executable))
                    yield {"harm": harm, "mm": args.mm} | row


def failed(row: dict) -> bool:
    return "error" in row or row["tre_median"] > row["before_median"]


def summary(rows: list[dict]) -> str:
    """Markdown: a line a harm; of each way the failures, of the runs, and the middle of the median distances."""
    ways = list(dict.fromkeys(r["way"] for r in rows))
    lines = ["| harm | " + " | ".join(f"{w}: failures | mm" for w in ways) + " |", "| --- " * (1 + 2 * len(ways)) + "|"]
    for harm in [h for h in HARMS if any(r["harm"] == h for r in rows)] + ["all"]:
        cells = []
        for way in ways:
            of = [r for r in rows if r["way"] == way and harm in ("all", r["harm"])]
            good = [r["tre_median"] for r in of if "error" not in r]
            lost = sum("error" in r for r in of)
            count = f"{sum(map(failed, of))} of {len(of)}" + (f" ({lost} without a result)" if lost else "")
            cells += [count, f"{np.median(good):.2f}" if good else ""]
        lines.append(f"| {harm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--harm", action="append", choices=HARMS)
    parser.add_argument("--mm", type=float, default=3.0)
    parser.add_argument("--way", action="append", default=[], metavar="NAME=OPTIONS")
    parser.add_argument("--peer", action="append", default=[], choices=peers.TOOLS)
    parser.add_argument("--python", action="append", default=[], metavar="FAMILY=PYTHON")
    parser.add_argument("--out", type=Path, default=Path("benchmark-work/robustness.jsonl"))
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    if args.summary:
        print(summary(rows))
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for row in runs(args, {(r["case"], r["harm"], r["way"]) for r in rows}):
        with args.out.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        print(json.dumps({k: v for k, v in row.items() if k not in ("timings_s", "similarity")}), flush=True)


if __name__ == "__main__":
    main()
