"""The folder of one registration: written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
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
from deformgan.report import write_report
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deformgan.registration.bridge import Bridge
    from deformgan.registration.result import Registration

WARPED, TRANSFORM, INVERSE, RESULT, REPORT = "warped.nii.gz", "transform.h5", "inverse.h5", "result.json", "report.html"
FILES = (WARPED, TRANSFORM, INVERSE, RESULT, REPORT)
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


def save_registration(registration: Registration, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write FILES into `folder`; they appear together once all are complete.  Raises OutputError."""
    target = check_output(folder, overwrite=overwrite)
    check_space(target, registration.fixed.tensor.numel())
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        _write_all(registration, scratch)
        target.mkdir(exist_ok=True)
        for name in FILES:
            os.replace(scratch / name, target / name)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _write_all(registration: Registration, folder: Path) -> None:
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as beside:  # packing the image takes as long as drawing the report
        beside.submit(import_module, "deformgan.report.figures")  # brings matplotlib, which takes its time
        packed = beside.submit(write_volume, registration.warped, folder / WARPED)
        registration.transform.save(folder / TRANSFORM)
        registration.inverse.save(folder / INVERSE)
        result = described(registration)
        result["timings_s"]["write"] = round(time.perf_counter() - begin, 3)
        _report(registration, folder / REPORT, result)
        packed.result()
    result["timings_s"]["report"] = round(time.perf_counter() - begin - result["timings_s"]["write"], 3)
    (folder / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def described(registration: Registration) -> dict[str, Any]:
    """What result.json holds."""
    sources = dict(zip(("fixed", "moving"), registration.sources, strict=True))
    return {
        **{role: {"path": path, "sha256": file_hash(path)} if path else {} for role, path in sources.items()},
        **({} if registration.bridge is None else {"bridge": _described_bridge(registration.bridge)}),
        **registration.metrics,
        "timings_s": {stage: round(seconds, 3) for stage, seconds in registration.seconds.items()},
        "options": asdict(registration.options),
        "seed": registration.options.seed,
        "warnings": list(registration.warnings),
        "versions": {"deformgan": __version__, "python": platform.python_version(), **_versions()},
    }


def _described_bridge(bridge: Bridge) -> dict[str, Any]:
    """What made the CT, which image it stands for, and what was done to that first."""
    source = {"path": bridge.source, "sha256": file_hash(bridge.source)} if bridge.source else {}
    return {**source, "stands_for": bridge.stands_for, "notes": list(bridge.image.notes)}


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _report(registration: Registration, path: Path, result: dict[str, Any]) -> None:
    grid = registration.fixed.geometry
    outside = float(registration.moving.tensor.min())
    before = resample(registration.moving, Transform.identity(), grid, outside=outside)
    write_report(
        path,
        fixed=registration.fixed.numpy(),
        moving_start=before.numpy(),
        warped=registration.warped.numpy(),
        bridge=_bridge_on_fixed(registration),
        geometry=grid,
        displacement=registration.displacement,
        jacobian=registration.jacobian,
        result=result,
    )


def _bridge_on_fixed(registration: Registration) -> NDArray[np.float32] | None:
    """The made CT on the fixed grid, moved as the image that it stands for; None where there is none."""
    bridge = registration.bridge
    if bridge is None or bridge.stands_for == "fixed":
        return None if bridge is None else bridge.image.numpy()
    outside = float(bridge.image.tensor.min())
    return resample(bridge.image, registration.transform, registration.fixed.geometry, outside=outside).numpy()
