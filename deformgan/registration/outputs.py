"""The folder of one registration: written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from deformgan import __version__
from deformgan.errors import OutputError
from deformgan.io.formats import file_hash, write_volume
from deformgan.io.transform_files import Affine
from deformgan.report import report_page
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deformgan.io.volume import Volume
    from deformgan.registration.result import Registration

WARPED, TRANSFORM, INVERSE, RESULT, REPORT = "warped.nii.gz", "transform.h5", "inverse.h5", "result.json", "report.html"
FILES = (WARPED, TRANSFORM, INVERSE, RESULT, REPORT)
Labels = tuple["Volume | None", "Volume | None"]
NO_LABELS: Labels = (None, None)
_LIBRARIES = ("torch", "numpy", "numba", "scipy", "nibabel", "SimpleITK", "h5py")


def check_output(folder: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """The folder, if results may be written there; to be called before the work.  Raises OutputError."""
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; give a folder with --out")
    there = [name for name in FILES if (target / name).exists()]
    if there and not overwrite:
        raise OutputError(f"{target} holds {there[0]} already; use --overwrite, or another folder with --out")
    place = next(p for p in (target, *target.absolute().parents) if p.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise OutputError(f"{place} cannot be written to; give another folder with --out")
    return target


def check_space(folder: Path, voxels: int) -> None:
    """Raise OutputError where the disk is too full for a result of so many voxels."""
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    need, free = 12 * voxels + (32 << 20), shutil.disk_usage(place).free
    if free < need:
        raise OutputError(f"{place} has {free >> 20} MB free, the result may need {need >> 20} MB; free some space")


def save_registration(
    registration: Registration, folder: str | os.PathLike[str], *, overwrite: bool = False, labels: Labels = NO_LABELS
) -> None:
    """Write FILES into `folder`; they appear together once all are complete.  Raises OutputError.

    labels: of the fixed and the moving image, for the report's outlines; either may be None.
    """
    target = check_output(folder, overwrite=overwrite)
    check_space(target, registration.fixed.tensor.numel())
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        _write_all(registration, scratch, labels)
        target.mkdir(exist_ok=True)
        for name in FILES:
            os.replace(scratch / name, target / name)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _write_all(registration: Registration, folder: Path, labels: Labels) -> None:
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as beside:  # packing the image takes as long as drawing the report
        beside.submit(import_module, "deformgan.report.figures")  # brings matplotlib, which takes its time
        packed = beside.submit(write_volume, registration.warped, folder / WARPED)
        registration.transform.save(folder / TRANSFORM)
        registration.inverse.save(folder / INVERSE)
        result = described(registration)
        result["timings_s"]["write"] = round(time.perf_counter() - begin, 3)
        (folder / REPORT).write_text(report_of(registration, result, labels), encoding="utf-8")
        packed.result()
    result["timings_s"]["report"] = round(time.perf_counter() - begin - result["timings_s"]["write"], 3)
    (folder / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def described(registration: Registration) -> dict[str, Any]:
    """What result.json holds."""
    sources = dict(zip(("fixed", "moving"), registration.sources, strict=True))
    return {
        **{role: {"path": path, "sha256": file_hash(path)} if path else {} for role, path in sources.items()},
        **registration.metrics,
        "curve": [{"stage": s, "level": v, "loss": loss} for (s, v), loss in registration.losses.items()],
        "timings_s": {stage: round(seconds, 3) for stage, seconds in registration.seconds.items()},
        "options": asdict(registration.options),
        "seed": registration.options.seed,
        "warnings": list(registration.warnings),
        "versions": {"deformgan": __version__, "python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def report_of(registration: Registration, result: Mapping[str, Any] | None = None, labels: Labels = NO_LABELS) -> str:
    """The text of report.html.  result: what result.json holds, where at hand.  labels: as in `save_registration`."""
    grid = registration.fixed.geometry
    outside = float(registration.moving.tensor.min())
    maps = {"start": Transform.identity()}
    rigid = Transform(tuple(p for p in registration.transform.parts if isinstance(p, Affine)))
    if 0 < len(rigid.parts) < len(registration.transform.parts):
        maps["affine"] = rigid
    moving = {k: resample(registration.moving, m, grid, outside=outside).numpy() for k, m in maps.items()}
    return report_page(
        fixed=registration.fixed.numpy(),
        moving_start=moving["start"],
        warped=registration.warped.numpy(),
        geometry=grid,
        displacement=registration.displacement,
        jacobian=registration.jacobian,
        result=described(registration) if result is None else result,
        more={"moving, affine only": moving["affine"]} if "affine" in moving else None,
        labels=_on_fixed(registration, labels),
    )


def _on_fixed(registration: Registration, labels: Labels) -> dict[str, NDArray[Any]]:
    """The labels on the fixed image's grid, those of the moving image warped, by what they are called in the report."""
    maps = {"labels of fixed": Transform.identity(), "labels of moving, warped": registration.transform}
    return {
        name: resample(part, transform, registration.fixed.geometry, interpolation="nearest").numpy()
        for (name, transform), part in zip(maps.items(), labels, strict=True)
        if part is not None
    }
