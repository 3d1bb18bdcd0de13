"""The words of --dry-run."""

from __future__ import annotations

import typer

from deformgan.cost import Plan, memory
from deformgan.errors import printable

NOTHING = "dry run: the input is good, nothing was written"


def show_plan(plan: Plan, *last: str, threads: int = 0) -> None:
    """Print the steps of a plan, then `last` (what would be written), what it will take, and that nothing was done."""
    for note in plan.notes:
        typer.echo(f"warning: {printable(note)}", err=True)
    for number, step in enumerate((*plan.steps, *last), start=1):
        typer.echo(printable(f"{number:3d}. {step}"))
    typer.echo(f"expected: {plan.cost.said(threads)}")
    if plan.cost.memory_mb > (free := free_megabytes()):
        typer.echo(f"warning: this machine has {memory(free)} of memory free", err=True)
    typer.echo(NOTHING)


def free_megabytes() -> float:
    """Memory that a new process may use without swapping."""
    import psutil

    return float(psutil.virtual_memory().available) / 1e6
