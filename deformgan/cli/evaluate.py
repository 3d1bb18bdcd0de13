"""`deformgan evaluate`: judge one registration, or a table of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deformgan.cli.completion import protocols, spaces
from deformgan.cli.options import FILES, METHOD, RUNNING, DryRun, Quiet
from deformgan.cli.plan import show_plan
from deformgan.cli.targets import check_free
from deformgan.errors import InputError, OutputError

if TYPE_CHECKING:
    from deformgan.evaluation.cases import Case
    from deformgan.evaluation.pair import EvaluateOptions, Scores

SHOWN_LABELS = 12  # in the terminal's table; the worst by Dice
WIDTH = 160  # of tables that go to a file


def evaluate(
    transform: Annotated[
        str,
        typer.Option(
            "--transform", "-t", help="Maps fixed points to moving points.  Default: identity.", rich_help_panel=FILES
        ),
    ] = "",
    fixed: Annotated[
        str,
        typer.Option(
            "--fixed", "-f", help="Fixed image; its grid is where the transform is judged.", rich_help_panel=FILES
        ),
    ] = "",
    moving: Annotated[
        str,
        typer.Option("--moving", "-m", help="Moving image, warped and compared with it.", rich_help_panel=FILES),
    ] = "",
    fixed_labels: Annotated[str, typer.Option(help="Labels of the fixed image.", rich_help_panel=FILES)] = "",
    moving_labels: Annotated[
        str, typer.Option(help="Labels of the moving image (not warped).", rich_help_panel=FILES)
    ] = "",
    fixed_points: Annotated[
        str, typer.Option(help="Landmarks of the fixed image: CSV, .fcsv, .mrk.json.", rich_help_panel=FILES)
    ] = "",
    moving_points: Annotated[
        str, typer.Option(help="Their counterparts, by name or in the same order.", rich_help_panel=FILES)
    ] = "",
    mask: Annotated[str, typer.Option(help="Where it counts (non-zero), in fixed space.", rich_help_panel=FILES)] = "",
    inverse: Annotated[
        str, typer.Option(help="Inverse transform, to be held against --transform.", rich_help_panel=FILES)
    ] = "",
    warped: Annotated[
        str, typer.Option(help="Moving image already warped onto the fixed grid.", rich_help_panel=FILES)
    ] = "",
    result: Annotated[
        str, typer.Option(help="Folder that register wrote: transform, inverse, warped image.", rich_help_panel=FILES)
    ] = "",
    pairs: Annotated[
        Path | None, typer.Option(help="CSV of cases: these options, and case, method, group.", rich_help_panel=FILES)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="FILE.json or FILE.csv; with --pairs both.", rich_help_panel=FILES),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.", rich_help_panel=FILES)] = False,
    protocol: Annotated[
        str,
        typer.Option(
            help="physical, or learn2reg as that challenge counts.", autocompletion=protocols, rich_help_panel=METHOD
        ),
    ] = "physical",
    only: Annotated[
        str, typer.Option(help="Labels that count, such as 1,2,5.  Default: all but 0.", rich_help_panel=METHOD)
    ] = "",
    space: Annotated[
        str | None,
        typer.Option(
            help="LPS or RAS, of points in a CSV that does not say.", autocompletion=spaces, rich_help_panel=METHOD
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="CSV of an earlier --pairs run, tested against this.", rich_help_panel=METHOD),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the confidence intervals.", rich_help_panel=RUNNING)] = 0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Judge a registration: overlap, surfaces, landmarks, folding, inverse, intensities; whatever there are files for.

    Examples:
        deformgan evaluate --result out -f ct.nii.gz
        deformgan evaluate --fixed-labels a.mha --moving-labels b.mha -o dice.csv
    """
    files = {
        "transform": transform, "fixed": fixed, "moving": moving, "fixed_labels": fixed_labels,
        "moving_labels": moving_labels, "fixed_points": fixed_points, "moving_points": moving_points, "mask": mask,
        "inverse": inverse, "warped": warped, "result": result,
    }  # fmt: skip
    targets = _targets(out, both=pairs is not None, overwrite=overwrite)
    if pairs is None and compare is not None:
        raise InputError("--compare needs --pairs: one case alone cannot be tested")
    if pairs is not None and (given := [name for name, file in files.items() if file]):
        raise InputError(f"--pairs names the files of every case; leave out --{given[0].replace('_', '-')}")
    from deformgan.evaluation.cases import Case
    from deformgan.evaluation.pair import EvaluateOptions

    options = EvaluateOptions(protocol, _numbers(only), space)
    if dry_run:
        from deformgan.evaluation.plan import plan_case, plan_cases

        plan = plan_case(Case(**files), options) if pairs is None else plan_cases(pairs, compare, options)
        show_plan(plan, *(f"write {target}" for target in targets.values()))
    elif pairs is None:
        _one(Case(**files), options, targets, quiet)
    else:
        _many(pairs, options, targets, compare=compare, seed=seed, quiet=quiet)


def _one(case: Case, options: EvaluateOptions, targets: Mapping[str, Path], quiet: bool) -> None:
    from deformgan.evaluation.cohort import rows_of, write_document, write_rows
    from deformgan.evaluation.pair import evaluate_case

    scores = evaluate_case(case, options)
    files = {name: file for name, file in vars(case).items() if file}
    if ".json" in targets:
        document = {"protocol": options.protocol, "files": files, **scores.measures}
        write_document({**document, "by_label": scores.labels, "warnings": scores.notes}, targets[".json"])
    if ".csv" in targets:
        write_rows(rows_of(case, scores), targets[".csv"])
    for note in scores.notes:
        typer.echo(f"warning: {note}", err=True)
    if not quiet:
        _show_one(scores)


def _many(
    pairs: Path, options: EvaluateOptions, targets: Mapping[str, Path], *, compare: Path | None, seed: int, quiet: bool
) -> None:
    from deformgan.evaluation.cases import read_cases
    from deformgan.evaluation.cohort import (
        compared,
        evaluate_cases,
        read_rows,
        summarised,
        write_document,
        write_rows,
    )

    cases = read_cases(pairs)
    others = read_rows(compare) if compare else []

    def show(number: int, case: Case) -> None:
        if not quiet:
            typer.echo(f"{number} of {len(cases)}  {case.case} {case.method}".rstrip(), err=True)

    cohort = evaluate_cases(cases, options, show)
    measures = summarised(cohort.rows, seed)
    tests = compared(cohort.rows, others, (pairs.stem, compare.stem if compare else ""))
    if targets:
        write_rows(cohort.rows, targets[".csv"])
        counts = {"protocol": options.protocol, "cases": len(cases), "failed": len(cohort.failures), "seed": seed}
        document = {**counts, "summary": measures, "tests": tests, "failures": cohort.failures}
        write_document(document, targets[".json"])
    if not quiet:
        for row in measures:
            row["ci95"] = f"{_shown(row['ci95_low'])} to {_shown(row['ci95_high'])}" if row["n"] > 1 else "-"
        _show("Over the cases", measures, ("method", "group", "measure", "n", "mean", "sd", "median", "ci95"))
        columns = ("first", "second", "measure", "n", "mean_difference", "wilcoxon_p", "wilcoxon_p_holm")
        _show("Paired tests", tests, columns)
    for failure in cohort.failures:
        typer.echo(f"failed: {failure['case']} {failure['method']}: {failure['reason']}", err=True)
    if cohort.failures:
        raise InputError(f"{len(cohort.failures)} of {len(cases)} cases failed; the others are judged")


def _targets(out: Path | None, *, both: bool, overwrite: bool) -> dict[str, Path]:
    """Ending -> file to write.  Raises OutputError before any work is done."""
    if out is None:
        return {}
    if out.suffix not in (".json", ".csv"):
        raise OutputError(f"{out}: measures are written as .json or .csv")
    targets = {ending: out.with_suffix(ending) for ending in ((".csv", ".json") if both else (out.suffix,))}
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist; make it, or choose another with --out")
    check_free(*targets.values(), overwrite=overwrite)
    return targets


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(f"--only takes whole numbers such as 1,2,5; got {text!r}") from error


def _show_one(scores: Scores) -> None:
    from deformgan.evaluation.cohort import flat

    rows = [{"measure": name, "value": value} for name, value in flat(scores.measures).items()]
    _show("", rows, ("measure", "value"))
    worst = sorted(scores.labels, key=lambda row: row["dice"])[:SHOWN_LABELS]
    more = len(scores.labels) - len(worst)
    title = f"The {len(worst)} labels with the lowest Dice; {more} more with --out" if more else "By label"
    _show(title, worst, tuple(worst[0]) if worst else ())


def _show(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table on the terminal; columns that are empty throughout are left out."""
    columns = [name for name in columns if any(row.get(name) not in ("", None) for row in rows)]
    if not columns:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in columns:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row.get(name)) for name in columns))
    if title:
        typer.echo(title)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)
