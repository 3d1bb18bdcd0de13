"""What `evaluate` would judge: the options and the files' headers checked, no voxel read."""

from __future__ import annotations

import math
import os

from deformgan.cost import Cost, Plan, added, of_evaluation
from deformgan.errors import InputError
from deformgan.evaluation.cases import Case, completed, read_cases
from deformgan.evaluation.cohort import read_rows
from deformgan.io.grids import read_grid
from deformgan.spatial.transform import Transform

IMAGES = ("fixed", "moving", "warped", "fixed_labels", "moving_labels", "mask")
TRANSFORMS = ("transform", "inverse")


def plan_case(case: Case) -> Plan:
    """Of one case; raises InputError as `evaluate_case` would for its options and headers."""
    case = completed(case)
    steps = tuple(_judged(case))
    return Plan(steps, _cost(case))


def plan_cases(pairs: str | os.PathLike[str], compare: str | os.PathLike[str] | None) -> Plan:
    """Of a table of them; a case that cannot be judged is named, as it would be at the end of the run."""
    cases = read_cases(pairs)
    if compare is not None:
        read_rows(compare)
    steps: list[str] = []
    costs: list[Cost] = []
    faults: list[str] = []
    for case in cases:
        try:
            costs.append(_cost(completed(case)))
            steps.append(f"{case.case} {case.method}: ".replace(" :", ":") + ", ".join(_judged(completed(case))))
        except InputError as error:
            faults.append(f"{case.case} {case.method}: {error}".replace(" :", ":"))
    if faults:
        raise InputError(f"{len(faults)} of {len(cases)} cases cannot be judged; the first: {faults[0]}")
    return Plan(tuple(steps), added(costs))


def _judged(case: Case) -> list[str]:
    """What there are files for."""
    found = {
        "overlap and surfaces of labels": case.fixed_labels,
        "distances of landmarks": case.fixed_points,
        "folding and Jacobian": case.transform and (case.fixed_labels or case.fixed or case.warped),
        "error of the inverse": case.inverse,
        "intensities": case.fixed and (case.moving or case.warped),
    }
    return [what for what, there in found.items() if there]


def _cost(case: Case) -> Cost:
    for name in TRANSFORMS:
        if path := getattr(case, name):
            Transform.load(path)
    voxels = {name: math.prod(read_grid(path).size) for name in IMAGES if (path := getattr(case, name))}
    labels = sum(count for name, count in voxels.items() if name.endswith("labels"))
    return of_evaluation(sum(voxels.values()), labels, fields=bool(case.transform))
