"""What a run has done: a JSON line a step, and TensorBoard's curves and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from deformgan.io.whole_file import whole_file

FILE, CURVES = "history.jsonl", "tensorboard"


class History:
    """history.jsonl and TensorBoard files of a run; lines beyond `step` (from before an interruption) are dropped.

    A line holds losses only, no time, so that two runs can be compared byte by byte.  Without tensorboard there are no
    curves and pictures.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._path = run / FILE
        kept = [line for line in _whole_lines(self._path) if json.loads(line)["step"] <= step]
        with whole_file(self._path) as scratch:
            scratch.write_text("".join(kept), encoding="utf-8")
        self._lines = self._path.open("a", encoding="utf-8")
        self._curves: Any = None
        if find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._curves = SummaryWriter(str(run / CURVES), purge_step=step + 1, flush_secs=30)

    def add(self, step: int, kind: str, values: Mapping[str, Mapping[str, float]]) -> None:
        """One line: {"step": 7, "losses": {"d": {...}, ...}}; the same as curves."""
        self._lines.write(json.dumps({"step": step, kind: values}) + "\n")
        self._lines.flush()
        for group, terms in values.items() if self._curves else ():
            for name, value in terms.items():
                self._curves.add_scalar(f"{kind}/{group}/{name}", value, step)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """(1 or 3, height, width) in [0, 1]."""
        if self._curves:
            self._curves.add_image(name, image.clamp(0, 1), step)

    def close(self) -> None:
        """Everything is on disk afterwards."""
        self._lines.close()
        if self._curves:
            self._curves.close()


def read_history(run: Path) -> list[dict[str, Any]]:
    """All lines of a run."""
    return [json.loads(line) for line in _whole_lines(run / FILE)]


def _whole_lines(path: Path) -> list[str]:
    """Lines that end as they should; the last may have been cut by a crash."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
