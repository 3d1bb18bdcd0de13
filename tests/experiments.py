"""What the tests of all trainings share: one thread, a grid, and a configuration with some of its values changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from deformgan.io.geometry import Geometry
from deformgan.kernels.threads import set_threads, threads_in_use

LEFT_HANDED = Geometry((30, 36, 24), (6.0, 5.0, 6.5), (85.0, -88.0, -80.0), (-1, 0, 0, 0, 1, 0, 0, 0, 1))


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Small networks gain nothing by more, and wait long for each other on a busy machine."""
    before = torch.get_num_threads(), threads_in_use()
    torch.set_num_threads(1)
    set_threads(1)
    yield
    torch.set_num_threads(before[0])
    set_threads(before[1])


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, section by section."""
    return {**base, **{k: merged(base[k], v) if isinstance(v, dict) and k in base else v for k, v in over.items()}}
