"""Progress of a registration: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from deformgan.registration.progress import Progress, Show

QUIET_S = 30.0  # long work without a terminal says where it is this often
Step = TypeVar("Step")


def show_progress(quiet: bool) -> AbstractContextManager[Show]:
    """A function that shows each Progress it is given, until the block ends."""
    return shown(quiet, _bar, _lines)


def shown(
    quiet: bool,
    bar: Callable[[], AbstractContextManager[Callable[[Step], None]]],
    lines: Callable[[], Callable[[Step], None]],
) -> AbstractContextManager[Callable[[Step], None]]:
    """Nothing if quiet, else the bar on a terminal and the lines elsewhere."""
    if quiet:
        return nullcontext(lambda step: None)
    return bar() if sys.stderr.isatty() else nullcontext(lines())


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
