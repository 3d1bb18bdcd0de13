"""People segmented and judged: files, a table of Dice by structure, a box plot; for `segment` and `cross-validate`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deformgan.errors import InputError, OutputError

if TYPE_CHECKING:
    from deformgan.evaluation.cases import Case
    from deformgan.io.subjects import SubjectFiles
    from deformgan.registration.progress import Show
    from deformgan.segmentation.models import SegmentationModel
    from deformgan.synthesis.intensity import Kind

TABLE, PLOT, REFERENCES = "dice.csv", "dice.png", "references"
Dice = dict[str, dict[str, dict[str, float]]]  # method -> case -> structure


def segment_people(
    people: Sequence[SubjectFiles], model: SegmentationModel, kind: Kind, out: Path, *, device: str, show: Show
) -> list[Case]:
    """Write OUT/SUBJECT.nii.gz, and the reference of whoever has labels, merged alike; the cases that can be judged."""
    from dataclasses import replace

    import torch

    from deformgan.evaluation.cases import Case
    from deformgan.io.formats import read_volume, write_volume
    from deformgan.segmentation.channels import codes_of, values_of
    from deformgan.segmentation.predict import segment
    from deformgan.synthesis.prepare import label_type

    structures, cases = model.config.structures, []
    for files in people:
        path = getattr(files, kind)
        found = segment(model, read_volume(path), kind, name=path, device=device, show=show)
        place, reference = (folder / f"{files.subject}.nii.gz" for folder in (out, out / REFERENCES))
        write_volume(found.labels, place, dtype=label_type(found.labels))
        if files.labels:
            labels = read_volume(files.labels, kind="labels")
            merged = torch.from_numpy(values_of(codes_of(labels.numpy(), structures), structures))
            reference.parent.mkdir(exist_ok=True)
            write_volume(replace(labels, tensor=merged), reference, dtype=label_type(found.labels))
            named = {"fixed_labels": str(reference), "moving_labels": str(place)}
            cases.append(Case(case=files.subject, method=model.config.name, **named))
    return cases


def judge(cases: Sequence[Case], structures: Mapping[str, Sequence[int]], out: Path, others: Dice) -> list[str]:
    """Write OUT/dice.csv (with surfaces and volumes) and OUT/dice.png; lines that say what is in them.

    others: earlier methods, drawn beside this and tested against it by case.  Raises InputError, OutputError.
    """
    from deformgan.evaluation.cohort import WHOLE, evaluate_cases, write_rows
    from deformgan.evaluation.pair import EvaluateOptions
    from deformgan.io.whole_file import whole_file
    from deformgan.report.dice_plot import dice_plot

    names = {values[0]: name for name, values in structures.items()}
    cohort = evaluate_cases(cases, EvaluateOptions(only=tuple(names)))
    if cohort.failures:
        raise InputError(f"{cohort.failures[0]['case']}: {cohort.failures[0]['reason']}")
    rows = [row | {"structure": names.get(row["label"], WHOLE)} for row in cohort.rows]
    write_rows(rows, out / TABLE)
    scores = read_dice(out / TABLE) | others
    boxes = {method: {name: _of(scores, method, name) for name in structures} for method in scores}
    with whole_file(out / PLOT) as scratch:
        scratch.write_bytes(dice_plot(boxes))
    table = [*_summary(scores, list(structures)), *(_tests(scores) if others else [])]
    return [*table, str(out / TABLE), str(out / PLOT)]


def others_in(compare: Iterable[Path], method: str) -> Dice:
    """All methods of earlier tables.  Raises InputError where one is there twice, or called like this one."""
    scores: Dice = {}
    for path in compare:
        other = read_dice(path)
        if twice := other.keys() & {*scores, method}:
            raise InputError(f"{path}: method {min(twice)!r} is there already; give the configurations other names")
        scores |= other
    return scores


def read_dice(path: Path) -> Dice:
    """What `judge` wrote.  Raises InputError."""
    scores: Dice = {}
    try:
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            of_case = scores.setdefault(row["method"], {}).setdefault(row["case"], {})
            of_case[row["structure"]] = float(row["dice"] or "nan")
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a {TABLE} of segment or cross-validate: {error}") from error
    return scores


def make_folder(out: Path, *, overwrite: bool) -> None:
    """Where the results go; refuses to replace a table.  Raises OutputError."""
    if (out / TABLE).exists() and not overwrite:
        raise OutputError(f"{out / TABLE} exists already; use --overwrite, or another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made: {error.strerror or error}") from error


def _of(scores: Dice, method: str, structure: str) -> list[float]:
    values = (of_case.get(structure, float("nan")) for of_case in scores[method].values())
    return [v for v in values if v == v]


def _summary(scores: Dice, structures: Sequence[str]) -> list[str]:
    """Mean and standard deviation of Dice, a line a structure, a column a method."""
    from deformgan.evaluation.cohort import WHOLE
    from deformgan.evaluation.statistics import summary

    wide = max(9, *(len(name) for name in structures))
    lines = [f"{'structure':{wide}}" + "".join(f"  {method:>24}" for method in scores)]
    for name in (*structures, WHOLE):
        cells = (summary(_of(scores, method, name)) for method in scores)
        text = (f"{c['mean']:.3f} +- {c['sd']:.3f} (n {c['n']:.0f})" for c in cells)
        lines.append(f"{name:{wide}}" + "".join(f"  {cell:>24}" for cell in text))
    return lines


def _tests(scores: Dice) -> list[str]:
    from deformgan.evaluation.statistics import compare

    return [
        f"{row['first']} - {row['second']}, {row['measure']}: {row['mean_difference']:+.3f} (n {row['n']:.0f}, "
        f"Wilcoxon p {row['wilcoxon_p']:.3g}, Holm {row['wilcoxon_p_holm']:.3g})"
        for row in compare(scores)
    ]
