"""The folder of one registration: written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deformgan import __version__
from deformgan.errors import InputError, OutputError
from deformgan.io.formats import file_hash, write_volume
from deformgan.io.grids import read_grid
from deformgan.io.recorded import recorded_name, recorded_text
from deformgan.io.workplace import check_space, uninterrupted, workplace
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
BYTES_PER_VOXEL = 12  # of the fixed image, at most: the warped image, and two fields on a coarser lattice
REPORT_BYTES = 32 << 20
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


def check_room(folder: Path, fixed: Any) -> None:
    """Raise OutputError where the disk is too full for a result on the grid of `fixed` (as `read_grid` takes it)."""
    with suppress(InputError):  # whoever reads the image says what is wrong with it
        check_space(folder, BYTES_PER_VOXEL * math.prod(read_grid(fixed).size) + REPORT_BYTES)


def save_registration(
    registration: Registration,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    place: Path | None = None,
    dicom_paths: bool = False,
) -> None:
    """Write FILES into `folder`; they appear together once all are complete.  Raises OutputError.

    place: the folder's workplace, where the caller holds it already.  dicom_paths: see `Registration.save`.
    """
    target = check_output(folder, overwrite=overwrite)
    try:
        with ExitStack() as stack:
            place = place or stack.enter_context(workplace(target, alone=True))
            check_room(place, registration.fixed)
            made = place / "result"
            made.mkdir()
            _write_all(registration, made, dicom_paths)
            _put(made, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def _put(made: Path, target: Path) -> None:
    """A folder that is not there yet appears as a whole; into one that is, result.json comes last."""
    if not target.exists():
        os.rename(made, target)
        return
    with uninterrupted():
        (target / RESULT).unlink(missing_ok=True)
        for name in (*(n for n in FILES if n != RESULT), RESULT):
            os.replace(made / name, target / name)


def _write_all(registration: Registration, folder: Path, dicom_paths: bool) -> None:
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as beside:  # packing the image takes as long as drawing the report
        beside.submit(import_module, "deformgan.report.figures")  # brings matplotlib, which takes its time
        packed = beside.submit(write_volume, registration.warped, folder / WARPED)
        registration.transform.save(folder / TRANSFORM)
        registration.inverse.save(folder / INVERSE)
        result = described(registration, dicom_paths=dicom_paths)
        result["timings_s"]["write"] = round(time.perf_counter() - begin, 3)
        _report(registration, folder / REPORT, result)
        packed.result()
    result["timings_s"]["report"] = round(time.perf_counter() - begin - result["timings_s"]["write"], 3)
    (folder / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def described(registration: Registration, *, dicom_paths: bool = False) -> dict[str, Any]:
    """What result.json holds; dicom_paths: see `Registration.save`."""
    sources = registration.sources
    names, warnings = list(sources), list(registration.warnings)
    if not dicom_paths:
        names, warnings = [recorded_name(s) for s in sources], [recorded_text(w, *sources) for w in warnings]
    roles = zip(("fixed", "moving"), names, sources, strict=True)
    return {
        **{role: {"path": name, "sha256": _hash(source)} if source else {} for role, name, source in roles},
        **({} if registration.bridge is None else {"bridge": _described_bridge(registration.bridge)}),
        "suspect": registration.suspect,
        "suspect_reasons": list(registration.suspect_reasons),
        **registration.metrics,
        "timings_s": {stage: round(seconds, 3) for stage, seconds in registration.seconds.items()},
        "options": asdict(registration.options),
        "seed": registration.options.seed,
        "warnings": warnings,
        "versions": {"deformgan": __version__, "python": platform.python_version(), **_versions()},
    }


def _described_bridge(bridge: Bridge) -> dict[str, Any]:
    """What made the CT, which image it stands for, and what was done to that first."""
    source = {"path": bridge.source, "sha256": _hash(bridge.source)} if bridge.source else {}
    return {**source, "stands_for": bridge.stands_for, "notes": list(bridge.image.notes)}


def _hash(source: str) -> str | None:
    """None: the file has gone since it was read."""
    try:
        return file_hash(source)
    except OSError:
        return None


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
