"""Time the compiled kernels beside their twins in plain torch; prints a Markdown table.

    python tools/benchmark/kernels.py [--shape 160 192 160] [--threads 2] [--only lcc] [--no-twins]

The share of the copy bandwidth is the time a copy would take to move what the kernel must read and write once (its
`volumes` arrays of the image's size, float32), divided by the kernel's time.  To add a kernel, add a Row to `rows`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numba
import torch
from torch import Tensor

from deformgan.kernels.box import box_sum as compiled_box_sum
from deformgan.similarity.cached import CachedLoss
from deformgan.similarity.correlation import LocalCorrelation
from deformgan.similarity.descriptors import SelfSimilarity, mind_ssc
from deformgan.similarity.gradient import GradientCorrelation, LocalGradient
from deformgan.similarity.information import MutualInformation
from deformgan.similarity.windows import box_sum


@dataclass(frozen=True)
class Row:
    """One line of the table; `volumes`: arrays of the image's size that must be read or written."""

    name: str
    kernel: Callable[[], object]
    twin: Callable[[], object]
    volumes: int


def rows(shape: tuple[int, ...]) -> Iterator[Row]:
    """Every kernel on images of `shape` (Z, Y, X)."""
    warped, fixed = torch.randn((2, 1, 1, *shape), generator=torch.Generator().manual_seed(0))
    weight = (torch.rand(fixed.shape, generator=torch.Generator().manual_seed(1)) > 0.1).float()
    stack = torch.cat([warped, fixed, warped * warped, fixed * fixed, warped * fixed], 1)
    yield Row("five box sums, 7^3", lambda: compiled_box_sum(stack[0].numpy(), 7), lambda: box_sum(stack, 7), 10)

    lcc = LocalCorrelation(fixed)
    yield Row("LCC 7^3, value", lambda: lcc(warped), lambda: lcc._reference(warped, None), 4)
    yield _with_derivative("LCC 7^3, value and derivative", lcc, warped, None, 5)
    yield _with_derivative("the same, weighted", lcc, warped, weight, 4)
    yield _with_derivative("LG 7^3, value and derivative", LocalGradient(fixed), warped, None, 5)
    yield _with_derivative("GC, value and derivative", GradientCorrelation(fixed, None), warped, None, 3)
    yield _with_derivative("MI, 32 bins, value and derivative", MutualInformation(fixed), warped, None, 3)
    mind = SelfSimilarity(fixed)
    leaf = warped.clone().requires_grad_()
    yield Row("MIND-SSC, 12 descriptors", lambda: mind_ssc(warped), lambda: mind_ssc(leaf), 13)
    yield _with_derivative("MIND-SSC, value and derivative", mind, warped, None, 14)


def _with_derivative(name: str, loss: CachedLoss, warped: Tensor, weight: Tensor | None, volumes: int) -> Row:
    def twin() -> None:
        leaf = warped.clone().requires_grad_()
        loss._reference(leaf, weight).backward()

    return Row(name, lambda: loss.with_derivative(warped, weight), twin, volumes)


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median of `repeats` runs, after one that does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def copy_milliseconds(shape: tuple[int, ...], repeats: int) -> float:
    """Of reading and writing one volume, from the copy of three."""
    field = torch.randn((3, *shape))
    target = torch.empty_like(field)
    return milliseconds(lambda: target.copy_(field), repeats) / 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(160, 192, 160), metavar=("Z", "Y", "X"))
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--only", default="", help="a part of the names wanted")
    parser.add_argument("--no-twins", action="store_true", help="the kernels alone")
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    shape = tuple(options.shape)
    move = copy_milliseconds(shape, options.repeats)
    size = " x ".join(map(str, shape))
    print(f"{size}, float32, {options.threads} threads; one volume is copied in {2 * move:.2f} ms\n")
    print("| kernel | ms | torch twin, ms | times faster | share of copy bandwidth |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows(shape):
        if options.only.lower() not in row.name.lower():
            continue
        ours = milliseconds(row.kernel, options.repeats)
        share = f"{100 * row.volumes * move / ours:.0f} %"
        if options.no_twins:
            print(f"| {row.name} | {ours:.1f} | | | {share} |", flush=True)
            continue
        theirs = milliseconds(row.twin, 3)
        print(f"| {row.name} | {ours:.1f} | {theirs:.0f} | {theirs / ours:.0f} | {share} |", flush=True)


if __name__ == "__main__":
    main()
