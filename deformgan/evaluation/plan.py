"""What `evaluate` would judge: options, headers and landmarks checked, no voxel read."""

from __future__ import annotations

import math
import os
from dataclasses import replace

from deformgan.cost import Cost, Plan, added, of_evaluation
from deformgan.errors import InputError
from deformgan.evaluation.cases import Case, completed, read_cases
from deformgan.evaluation.cohort import read_rows
from deformgan.evaluation.landmarks import paired
from deformgan.evaluation.pair import EvaluateOptions
from deformgan.io.grids import read_grid
from deformgan.io.points import read_landmarks
from deformgan.spatial.transform import Transform

IMAGES = ("fixed", "moving", "warped", "fixed_labels", "moving_labels", "mask")
TRANSFORMS = ("transform", "inverse")


def plan_case(case: Case, options: EvaluateOptions) -> Plan:
    """Of one case; raises InputError as `evaluate_case` would for its options, headers and landmarks."""
    case = completed(case)
    return Plan(tuple(_judged(case)), _cost(case, options))


def plan_cases(pairs: str | os.PathLike[str], compare: str | os.PathLike[str] | None, options: EvaluateOptions) -> Plan:
    """Of a table of them.  Raises InputError that names the first case which cannot be judged, and how many."""
    cases = read_cases(pairs)
    if compare is not None:
        read_rows(compare)
    plans: list[Plan] = []
    faults: list[str] = []
    for case in cases:
        name = f"{case.case} {case.method}".rstrip()
        try:
            one = plan_case(case, options)
        except InputError as error:
            faults.append(f"{name}: {error}")
        else:
            plans.append(replace(one, steps=(f"{name}: {', '.join(one.steps)}",)))
    if faults:
        raise InputError(f"{len(faults)} of {len(cases)} cases cannot be judged; the first: {faults[0]}")
    return Plan(tuple(step for one in plans for step in one.steps), added([one.cost for one in plans]))


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


def _cost(case: Case, options: EvaluateOptions) -> Cost:
    for name in TRANSFORMS if options.protocol == "physical" else ():
        if path := getattr(case, name):
            Transform.load(path)
    if case.fixed_points:
        paired(*(read_landmarks(path, space=options.space) for path in (case.fixed_points, case.moving_points)))
    voxels = {name: math.prod(read_grid(path).size) for name in IMAGES if (path := getattr(case, name))}
    labels = sum(count for name, count in voxels.items() if name.endswith("labels"))
    return of_evaluation(sum(voxels.values()), labels, fields=bool(case.transform))
