"""What a worker does for one pair: register, judge, write all files, and the note last."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deformgan.cohort.notes import Note, read_note, same_content, standing
from deformgan.cohort.pairs import THUMBNAIL, PairJob
from deformgan.errors import InputError, OutputError
from deformgan.registration.outputs import INVERSE, REPORT, RESULT, TRANSFORM, WARPED

if TYPE_CHECKING:
    from deformgan.registration.result import Registration


def register_pair(job: PairJob) -> tuple[Note, bool]:
    """(note, whether anything was done): what is whole and made of the same content by the same settings is kept.

    The files appear one by one under their names, and the note after them: without it they do not count.  Raises
    DeformganError.
    """
    if not job.inside:
        raise OutputError(f"{job.home} leads out of {job.out} by a link; remove it, or choose another --out")
    sources = job.sources(content=True)
    for role, source in sources.items():
        if source.size < 0:
            raise InputError(f"{role}: no such file: {source.path}")
    old = read_note(job.place)
    if old and standing(old, job.place, job.key, sources) in ("done", "look") and same_content(old, sources):
        note = replace(old, sources=sources)
        note.write(job.place)
        return note, False
    scratch = job.home / f".{job.place.stem.lstrip('.')}.new"
    try:
        shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
        scratch.mkdir(parents=True)
        values, warnings = _work(job, scratch)
        note = Note(job.name, "done", job.key, sources, _put(job, scratch), values, warnings)
        note.write(job.place)
    except OSError as error:
        raise OutputError(f"{job.home}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return note, True


def names(job: PairJob) -> dict[str, str]:
    """What each file of a result is called, seen from the job's home."""
    if job.bids is None:
        return {name: name for name in (WARPED, TRANSFORM, INVERSE, RESULT, REPORT, THUMBNAIL)}
    figures = os.path.relpath(Path(job.bids.folder.split("/")[0], "figures"), job.bids.folder)
    return {
        WARPED: f"{job.bids.warped}.nii.gz",
        TRANSFORM: f"{job.bids.transform}.h5",
        INVERSE: f"{job.bids.inverse}.h5",
        RESULT: f"{job.bids.transform}.json",
        REPORT: f"{figures}/{job.bids.name}_report.html",
        THUMBNAIL: f"{figures}/{job.bids.name}_thumbnail.jpg",
        f"{INVERSE}.json": f"{job.bids.inverse}.json",
        f"{WARPED}.json": f"{job.bids.warped}.json",
    }


def _work(job: PairJob, scratch: Path) -> tuple[dict[str, float], tuple[str, ...]]:
    """Fill the scratch folder; (measures, warnings)."""
    from deformgan.registration.pipeline import register_files
    from deformgan.report.cohort_figures import write_thumbnail

    begin, files = time.perf_counter(), job.files
    masks = files.fixed_mask or None, files.moving_mask or None
    found = register_files(files.fixed, files.moving, *masks, options=job.options)
    found.save(scratch / "result")
    for name in (WARPED, TRANSFORM, INVERSE, RESULT, REPORT):
        os.replace(scratch / "result" / name, scratch / name)
    write_thumbnail(scratch / THUMBNAIL, found.fixed.numpy(), found.warped.numpy(), found.fixed.geometry)
    values = {**measures(found), **_overlap(job, scratch), "seconds": time.perf_counter() - begin, **_peak()}
    if job.bids is not None:
        _write_sidecars(job, scratch)
    return {name: round(value, 6) for name, value in values.items()}, found.warnings


def measures(found: Registration) -> dict[str, float]:
    """The figures of one result that a cohort is judged by."""
    known: Any = found.metrics
    scores, inverse = known["similarity"], known["inverse_error_mm"]
    return {
        "similarity_before": scores["start"],
        "similarity": scores[known["kept"]],
        **{name: known["regularity"][name] for name in ("folding_percent", "min_jacobian", "sd_log_jacobian")},
        "inverse_error_mm": inverse["p95"],
        "affine_volume_factor": known["affine_volume_factor"],
    }


def _overlap(job: PairJob, scratch: Path) -> dict[str, float]:
    """Dice before and after and HD95 after, where both images have labels."""
    from deformgan.evaluation.cases import Case
    from deformgan.evaluation.pair import evaluate_case

    fixed, moving = job.files.fixed_labels, job.files.moving_labels
    if not (fixed and moving):
        return {}
    before = evaluate_case(Case(fixed_labels=fixed, moving_labels=moving)).measures
    after = evaluate_case(Case(transform=str(scratch / TRANSFORM), fixed_labels=fixed, moving_labels=moving)).measures
    values = {"dice_before": before["dice"], "dice": after["dice"], "hd95_mm": after["hd95_mm"]}
    return {name: float(value) for name, value in values.items() if value == value}


def _peak() -> dict[str, float]:
    """Most memory that this process had so far, in MB."""
    if sys.platform == "win32":
        return {}
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"worker_peak_mb": peak / (1e6 if sys.platform == "darwin" else 1e3)}


def _write_sidecars(job: PairJob, scratch: Path) -> None:
    """JSON beside transform, inverse and warped image, as BIDS has it; the first holds what result.json does."""
    assert job.bids is not None
    pair, files = job.bids, job.files
    fixed, moving = pair.uri(files.fixed), pair.uri(files.moving)
    result: dict[str, Any] = json.loads((scratch / RESULT).read_text(encoding="utf-8"))
    both = {"Sources": [moving, fixed], "Units": "mm", "CoordinateSystem": "LPS"}
    documents: dict[str, Mapping[str, Any]] = {
        RESULT: {"From": pair.moving, "To": pair.fixed, "Inverse": f"{pair.inverse}.h5", **both, **result},
        f"{INVERSE}.json": {"From": pair.fixed, "To": pair.moving, "Inverse": f"{pair.transform}.h5", **both},
        f"{WARPED}.json": {"Sources": [moving], "SpatialReference": fixed},
    }
    for name, document in documents.items():
        (scratch / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _put(job: PairJob, scratch: Path) -> dict[str, int]:
    """Move everything to its name; the old note, if any, goes first.  The sizes by name."""
    job.place.unlink(missing_ok=True)
    sizes = {}
    for name, final in names(job).items():
        target = job.home / final
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch / name, target)
        sizes[final] = target.stat().st_size
    return sizes
