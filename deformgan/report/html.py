"""The report of one registration: a single HTML page that asks nothing of the network."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deformgan.report.curves import Part, stretches
from deformgan.report.judgement import Verdict, verdicts
from deformgan.report.template import filled, text_of

if TYPE_CHECKING:
    from markupsafe import Markup

    from deformgan.io.geometry import Geometry
    from deformgan.report.figures import Row

NONE = "\N{EM DASH}"  # stands where a number is missing or not finite
BRIDGE_AT = 3  # row: after fixed and moving, before and after
_KEPT = {
    "start": "the start pose",
    "rigid": "the rigid stage",
    "affine": "the affine stage",
    "deformable": "the deformable stage",
}


def report_page(
    *,
    fixed: NDArray[np.float32],
    moving_start: NDArray[np.float32],
    warped: NDArray[np.float32],
    geometry: Geometry,
    displacement: NDArray[np.float32] | None,
    jacobian: NDArray[np.float32] | None,
    result: Mapping[str, Any],
    bridge: NDArray[np.float32] | None = None,
    more: Mapping[str, NDArray[np.float32]] | None = None,
    labels: Mapping[str, NDArray[Any]] | None = None,
) -> str:
    """The text of report.html: a viewer, views before and after, metrics, settings, times, versions, hashes.

    fixed, moving_start (moving at the start pose) and warped: (Z, Y, X) on `geometry`.  displacement: (Z, Y, X, 3) mm,
    LPS x y z, the deformable part alone.  jacobian: (Z, Y, X), its determinant.  result: as in result.json; whatever is
    missing there is left out.  bridge: (Z, Y, X), the CT made of the MR, moved as that is.  Each of these three may be
    None.  more: further images on `geometry` for the viewer, by name.  labels: whole numbers on `geometry`, whose
    outlines it draws, by name.  Raises InputError for an array on another grid.
    """
    from deformgan.report.figures import bridge_row, displacement_row, image_rows, jacobian_row, scene
    from deformgan.report.viewer import Shown, viewer

    images = {"fixed": fixed, "moving, warped": warped, **(more or {}), "moving, start pose": moving_start}
    if bridge is not None:
        images["bridge, the CT made of the MR"] = bridge
    shown = Shown(images, displacement, jacobian, labels or {})
    with ThreadPoolExecutor(1) as beside:  # not the drawing: matplotlib opens its fonts anew for each thread
        packed = beside.submit(viewer, shown, geometry)
        view = scene(fixed, moving_start, warped, geometry)
        rows = image_rows(view)
        if bridge is not None:
            rows.insert(BRIDGE_AT, bridge_row(view, bridge))
        if displacement is not None:
            rows.append(displacement_row(view, displacement))
        if jacobian is not None:
            rows.append(jacobian_row(view, jacobian))
        text = page(rows, geometry, result, packed.result())
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # not every file name is Unicode


def page(rows: list[Row], geometry: Geometry, result: Mapping[str, Any], viewer: Markup | str = "") -> str:
    """The page's text; every word of `result` is escaped.  viewer: a fragment that goes before the rows."""
    roles = ("fixed", "moving", "bridge") if "bridge" in result else ("fixed", "moving")
    inputs = [_input(name, result.get(name)) for name in roles]
    return filled(
        "report.html.j2",
        {
            "style": text_of("page.css"),
            "names": [entry["name"] for entry in inputs],
            "kept": _KEPT.get(str(result.get("kept")), str(result.get("kept") or "")),
            "reasons": [str(reason) for reason in _sequence(result.get("suspect_reasons"))],
            "warnings": [str(warning) for warning in _sequence(result.get("warnings"))],
            "tiles": _tiles(result),
            "metrics": _metrics(result),
            "verdicts": verdicts(result),
            "curves": stretches(_curves(result), across="iteration", up="loss"),
            "viewer": viewer,
            "rows": rows,
            "inputs": inputs,
            "grid": _grid(geometry),
            "timings": _timings(_mapping(result, "timings_s")),
            "options": _settings(result),
            "versions": _flat(_mapping(result, "versions")),
        },
    )


def number(value: Any, digits: int = 3) -> str:
    """A number in plain digits, a dash where it is missing or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        return NONE
    text = f"{float(value):.{digits}f}"
    small = 10**-digits / 2
    return f"{float(value):.1e}" if value != 0 and abs(value) < small else text


def _tiles(result: Mapping[str, Any]) -> list[tuple[str, str, str, Verdict | None]]:
    """The four figures at the top, those that are known: name, value, remark, verdict or None."""
    scores, judged = _scores(result), verdicts(result)
    folding: Any = _mapping(result, "regularity").get("folding_percent")
    inverse: Any = _mapping(result, "inverse_error_mm").get("mean")
    seconds = _mapping(result, "timings_s")
    total = seconds.get("total", sum(v for v in seconds.values() if number(v) != NONE))
    tiles: list[tuple[str, str, str, Verdict | None]] = []
    if len(scores) > 1:
        after = dict(scores).get(str(result.get("kept")), scores[-1][1])
        value = f"{number(scores[0][1])} \N{RIGHTWARDS ARROW} {number(after)}"
        tiles.append(("Similarity", value, "before, after; more is better", None))
    if number(folding) != NONE:
        tiles.append(("Folding", f"{number(folding)} %", "should be 0", judged.get("Folding")))
    if number(inverse) != NONE:
        tiles.append(
            ("Inverse error", f"{number(inverse)} mm", "there and back, mean", judged.get("Inverse error, mean"))
        )
    if seconds:
        tiles.append(("Time", f"{number(total, 1)} s", "all stages", None))
    return tiles


def _metrics(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, what it says in plain words), those that are known."""
    regularity, inverse = _mapping(result, "regularity"), _mapping(result, "inverse_error_mm")
    name = str(_mapping(result, "similarity").get("name") or "similarity")
    table = [
        (f"Similarity, {stage}", number(v), f"How well the two images meet ({name}).") for stage, v in _scores(result)
    ]
    known = (
        (
            "Folding",
            regularity.get("folding_percent"),
            " %",
            "Share of voxels turned inside out; 0 for a sound result.",
        ),
        ("Smallest Jacobian", regularity.get("min_jacobian"), "", "Strongest shrinking; 0.5 halves a volume, 0 folds."),
        ("Largest Jacobian", regularity.get("max_jacobian"), "", "Strongest growth; 2 doubles a volume."),
        (
            "SD of log Jacobian",
            regularity.get("sd_log_jacobian"),
            "",
            "How uneven the change of volume is; 0 is rigid.",
        ),
        (
            "Affine volume factor",
            result.get("affine_volume_factor"),
            "",
            "Volume change of the affine part; 1 is none.",
        ),
        ("Inverse error, mean", inverse.get("mean"), " mm", "How far a point lands from itself, there and back."),
        ("Inverse error, 95th percentile", inverse.get("p95"), " mm", "19 of 20 points land closer than this."),
        ("Inverse error, largest", inverse.get("max"), " mm", "The worst of the points looked at."),
    )
    return table + [(label, number(v) + unit, words) for label, v, unit, words in known if v is not None]


def _curves(result: Mapping[str, Any]) -> list[Part]:
    """The loss by iteration, a part for each stage and level."""
    known = [entry for entry in _sequence(result.get("curve")) if isinstance(entry, Mapping)]
    parts = []
    for entry in known:
        values = tuple(float(v) for v in _sequence(entry.get("loss")) if number(v) != NONE)
        parts.append(Part(f"{entry.get('stage', '')} {entry.get('level', '')}".strip(), values))
    return parts


def _scores(result: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(stage, score) in the order of the stages, those that are numbers."""
    return [(str(k), v) for k, v in _mapping(result, "similarity").items() if number(v) != NONE]


def _timings(seconds: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """(stage, seconds, share of the longest in percent for its bar); a total comes last, without a bar."""
    known = {str(k): float(v) for k, v in seconds.items() if number(v) != NONE}
    longest = max((v for k, v in known.items() if k != "total"), default=0.0) or 1.0
    stages = [(k, f"{v:.2f} s", 100 * v / longest) for k, v in known.items() if k != "total"]
    return [*stages, ("total", f"{known.get('total', sum(known.values())):.2f} s", 0.0)] if stages else []


def _input(role: str, entry: Any) -> dict[str, Any]:
    """role, name (of the file), path and sha256 of one input; entry: a mapping, a path, or nothing."""
    known: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"path": entry}
    paths = _sequence(known.get("path", known.get("paths")))
    hashes = [str(digest) for digest in _sequence(known.get("sha256"))]
    name = os.path.basename(str(paths[0]).rstrip("/\\")) if paths else role
    return {"role": role, "name": name, "path": ", ".join(str(p) for p in paths), "sha256": ", ".join(hashes)}


def _grid(geometry: Geometry) -> str:
    size = " \N{MULTIPLICATION SIGN} ".join(str(n) for n in geometry.shape[::-1])
    spacing = " \N{MULTIPLICATION SIGN} ".join(f"{s:.3g}" for s in geometry.spacing)
    return f"{size} voxels of {spacing} mm (x, y, z)"


def _settings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was asked for, and what was chosen for this kind of pair where nothing was asked."""
    asked = {k: v for k, v in _mapping(result, "options").items() if v is not None}
    recipe = dict(_mapping(result, "deformable"))
    chosen = {"kind of pair": recipe.get("kind"), "similarity": recipe.get("similarity")} if recipe else {}
    return _flat({**asked, **chosen, **_mapping(recipe, "settings")}, seed=result.get("seed"))


def _flat(values: Mapping[str, Any], **more: Any) -> list[tuple[str, str]]:
    """(name, text) of every entry, nested ones as JSON; those of `more` that are not None, and not there, follow."""
    rest = {k: v for k, v in more.items() if v is not None and k not in values}
    return [(str(k), v if isinstance(v, str) else json.dumps(v, default=str)) for k, v in {**values, **rest}.items()]


def _mapping(result: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = result.get(key)
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> list[Any]:
    """A list of what came: several, one, or none."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
