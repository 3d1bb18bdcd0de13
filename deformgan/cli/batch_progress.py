"""Progress of a batch: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from deformgan.cli.progress import QUIET_S, shown

if TYPE_CHECKING:
    from deformgan.cohort.jobs import Show, Tally


def show_batch(quiet: bool) -> AbstractContextManager[Show]:
    """A function that shows each Tally it is given, until the block ends."""
    return shown(quiet, _bar, _lines)


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking", total=None)

        def show(tally: Tally) -> None:
            bar.update(task, completed=tally.ended, total=tally.total, description=_words(tally))
            if tally.now and tally.now.status == "failed":
                bar.console.print(f"failed: {tally.now.name}: {tally.now.reason}", markup=False, highlight=False)

        yield show


def _lines() -> Show:
    """Every QUIET_S; failures at once."""
    begin, last = time.perf_counter(), -math.inf

    def show(tally: Tally) -> None:
        nonlocal last
        now = time.perf_counter()
        if tally.now and tally.now.status == "failed":
            print(f"{now - begin:7.1f} s  failed: {tally.now.name}: {tally.now.reason}", file=sys.stderr, flush=True)
        if now - last > QUIET_S or tally.ended == tally.total:
            last = now
            print(f"{now - begin:7.1f} s  {tally.ended} of {tally.total}  {_words(tally)}", file=sys.stderr, flush=True)

    return show


def _words(tally: Tally) -> str:
    """2 running, 1 failed, 14.2 a minute, 3 min left."""
    counts = [f"{tally.counts[state]} {state}" for state in ("running", "failed") if tally.counts[state]]
    if math.isfinite(tally.left_s):
        counts += [f"{60 * tally.fresh / tally.seconds:.3g} a minute", f"{_time(tally.left_s)} left"]
    return ", ".join(counts)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
