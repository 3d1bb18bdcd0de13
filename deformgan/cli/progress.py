"""Progress of a registration: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deformgan.registration.progress import Progress, Show


QUIET_S = 30.0  # a long stage without a terminal says where it is this often


@contextmanager
def show_progress(quiet: bool) -> Iterator[Show]:
    """A function that shows each Progress it is given, until the block ends."""
    if quiet:
        yield lambda step: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None, loss="")

        def show(step: Progress) -> None:
            text = f"{step.stage} {step.level}"
            bar.update(
                task,
                description=text,
                completed=step.done,
                total=step.total,
                loss="" if math.isnan(step.loss) else f"{step.loss:.4f}",
            )

        yield show


def _lines() -> Show:
    """One line at the end of each level, and every half minute: seconds since the start, stage, level, loss."""
    begin = last = time.perf_counter()

    def show(step: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        if step.done in (0, step.total) or now - last > QUIET_S:
            last = now
            loss = "" if math.isnan(step.loss) else f"  loss {step.loss:.4f}"
            share = "" if step.done in (0, step.total) else f"  {step.done} of {step.total}"
            print(
                f"{now - begin:7.1f} s  {step.stage:<10} {step.level:>6}{share}{loss}",
                file=sys.stderr,
                flush=True,
            )

    return show
