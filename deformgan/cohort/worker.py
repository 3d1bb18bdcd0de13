"""What a worker process does beside its tasks: its share of the cores, its GPU, memory given back."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin


class Setup(WorkerPlugin):
    """Run once in every worker, new ones too, before its first task.

    gpus: workers take them in turn; 0 = none.  own: the worker belongs to this command, whose terminal's Ctrl-C is then
    not for it.  prepare: of a module's level, called without arguments.
    """

    name = "deformgan"

    def __init__(self, gpus: int, own: bool, prepare: Callable[[], None] | None) -> None:
        self.gpus, self.own, self.prepare = gpus, own, prepare

    def setup(self, worker: Any) -> None:
        if self.own:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(int(worker.name) % self.gpus)
        if self.prepare:
            self.prepare()


def call(function: Callable[[Any], Any], payload: Any) -> Any:
    """The function's value; memory that it freed goes back to the system, so that it does not count as used."""
    try:
        return function(payload)
    finally:
        if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
