"""What a worker does for one pair: register, judge, write."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deformgan.cohort.jobs import Made, carry_out
from deformgan.cohort.notes import Note
from deformgan.cohort.pairs import THUMBNAIL, PairJob
from deformgan.io.recorded import recorded_text
from deformgan.registration.outputs import INVERSE, RESULT, TRANSFORM, WARPED

if TYPE_CHECKING:
    from deformgan.registration.result import Registration


def register_pair(job: PairJob) -> tuple[Note, bool]:
    """(note, whether anything was done); see `jobs.carry_out`.  Raises DeformganError."""
    return carry_out(job, lambda place: _work(job, place))


def _work(job: PairJob, place: Path) -> Made:
    """Fill the workplace."""
    from deformgan.registration.outputs import check_room, save_registration
    from deformgan.registration.pipeline import register_files
    from deformgan.report.cohort_figures import write_thumbnail

    begin, files = time.perf_counter(), job.files
    if Path(files.fixed).is_file():
        check_room(place, files.fixed)
    found = register_files(
        files.fixed, files.moving, files.fixed_mask or None, files.moving_mask or None, options=job.options
    )
    made = place / "made"
    save_registration(found, made, place=place)
    write_thumbnail(made / THUMBNAIL, found.fixed.numpy(), found.warped.numpy(), found.fixed.geometry)
    values = {**measures(found), **_overlap(job, made), "seconds": time.perf_counter() - begin, **_peak()}
    if job.bids is not None:
        _write_sidecars(job, made)
    warnings = tuple(recorded_text(words, *job.paths().values()) for words in found.warnings)
    return Made(
        {f"made/{name}": final for name, final in job.file_names().items()},
        values=values,
        warnings=warnings,
        suspect=found.suspect_reasons,
    )


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


def _overlap(job: PairJob, made: Path) -> dict[str, float]:
    """Dice before and after and HD95 after, where both images have labels."""
    from deformgan.evaluation.cases import Case
    from deformgan.evaluation.pair import evaluate_case

    fixed, moving = job.files.fixed_labels, job.files.moving_labels
    if not (fixed and moving):
        return {}
    before = evaluate_case(Case(fixed_labels=fixed, moving_labels=moving)).measures
    after = evaluate_case(Case(transform=str(made / TRANSFORM), fixed_labels=fixed, moving_labels=moving)).measures
    values = {"dice_before": before["dice"], "dice": after["dice"], "hd95_mm": after["hd95_mm"]}
    return {name: float(value) for name, value in values.items() if value == value}


def _peak() -> dict[str, float]:
    """Most memory that this process had so far, in MB."""
    if sys.platform == "win32":
        return {}
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"worker_peak_mb": peak / (1e6 if sys.platform == "darwin" else 1e3)}


def _write_sidecars(job: PairJob, made: Path) -> None:
    """JSON beside transform, inverse and warped image, as BIDS has it; the first holds what result.json does."""
    assert job.bids is not None
    pair, files = job.bids, job.files
    fixed, moving = pair.uri(files.fixed), pair.uri(files.moving)
    result: dict[str, Any] = json.loads((made / RESULT).read_text(encoding="utf-8"))
    both = {"Sources": [moving, fixed], "Units": "mm", "CoordinateSystem": "LPS"}
    documents: dict[str, Mapping[str, Any]] = {
        RESULT: {"From": pair.moving, "To": pair.fixed, "Inverse": f"{pair.inverse}.h5", **both, **result},
        f"{INVERSE}.json": {"From": pair.fixed, "To": pair.moving, "Inverse": f"{pair.transform}.h5", **both},
        f"{WARPED}.json": {"Sources": [moving], "SpatialReference": fixed},
    }
    for name, document in documents.items():
        (made / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
