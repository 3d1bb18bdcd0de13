"""The tables of a batch: status.csv while it runs, summary.csv at the end."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from deformgan.io.whole_file import whole_file
from deformgan.report.cohort import Line

STATUS, SUMMARY = "status.csv", "summary.csv"
NAME = "pair"  # title of the first column
EVERY_S = 2.0
SHARE = 0.02  # of the time, at most, goes into rewriting the status


class Status:
    """status.csv: one row a pair, rewritten as a whole, so that whoever reads it sees a whole table."""

    def __init__(self, out: Path, lines: Collection[Line]) -> None:
        self.path, self.lines = out / STATUS, lines
        self._counts = Counter(line.status for line in lines)
        self._next = time.monotonic()

    def counts(self) -> Counter[str]:
        """How many lines are in each state."""
        return +self._counts

    def change(self, line: Line, state: str) -> None:
        """Put a line into a state."""
        self._counts[line.status] -= 1
        self._counts[state] += 1
        line.status = state

    def write(self, *, ended: bool = False) -> None:
        """Rewrite the table, unless that was done a moment ago.  ended: nothing runs any more; write in any case."""
        begin = time.monotonic()
        if begin < self._next and not ended:
            return
        for line in self.lines if ended else ():
            if line.status == "running":
                self.change(line, "waiting")
        rows = (
            (line.name, line.status, "; ".join(line.suspect), line.values.get("seconds", ""), line.reason)
            for line in self.lines
        )
        _write(self.path, (NAME, "status", "suspect", "seconds", "reason"), rows)
        took = time.monotonic() - begin
        self._next = time.monotonic() + max(EVERY_S, took / SHARE)


def write_summary(out: Path, lines: Collection[Line]) -> None:
    """summary.csv: one row a pair with every measure, empty where there is none.  Raises OutputError."""
    measures = list(dict.fromkeys(name for line in lines for name in line.values))
    rows = (
        (
            line.name,
            line.status,
            "; ".join(line.suspect),
            *(line.values.get(name, "") for name in measures),
            "; ".join(line.warnings),
            line.reason,
        )
        for line in lines
    )
    _write(out / SUMMARY, (NAME, "status", "suspect", *measures, "warnings", "reason"), rows)


def _write(path: Path, titles: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with whole_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(titles)
        table.writerows(rows)
