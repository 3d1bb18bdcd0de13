"""What a command would do, and what that will take: by figures measured on the machine of docs/benchmarks.md.

Whoever knows what is to be done (voxels, iterations, multiply-adds) asks here, and adds up. How the figures were found
and how far they may be off stands in docs/command_line.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

MILLION = 1e6
START = 1.5  # seconds: Python, torch, the compiled kernels; one thread does it

REGISTER_S = 2.6  # beside START: start, affine, judging and the report of small images
REGISTER_ALONE_S = 1.0  # of it, by one thread
REGISTER_S_PER_MVOXEL = 0.12  # of both images: reading, scaling, pyramids, resampling, packing
DEFORM_S, DEFORM_S_PER_MVOXEL = 1.3, 0.13  # of the fixed image: the field's inverse, its Jacobian, its file
ITERATION_S, ITERATION_S_PER_MVOXEL = 0.0025, 0.015  # of a level: warping, smoothing, composing
TERM_S_PER_MVOXEL = {  # of a similarity in an iteration
    "lg": 0.025, "gc": 0.008, "ncc": 0.009, "lcc": 0.011, "mi": 0.018, "nmi": 0.018, "mind": 0.08, "l1": 0.006,
    "l2": 0.006, "cauchy": 0.006, "bridge": 0.011,
}  # fmt: skip
REGISTER_MB, REGISTER_MB_PER_MVOXEL = 580.0, 18.0  # of both images
DEFORM_MB_PER_MVOXEL, MIND_MB_PER_MVOXEL = 56.0, 70.0  # of the finest level
MODEL_MB = 100.0

GAN_S, GAN_STEP_S, GAN_MB = 20.0, 1.5, 1260.0  # register --method gan, whose networks and voxels are always the same

WARP_S, WARP_MB, WARP_MB_PER_MVOXEL = 0.8, 470.0, 9.4  # of image and result
READ_S_PER_MVOXEL = 0.04
PULL_S_PER_MVOXEL = {"linear": 0.03, "nearest": 0.03, "vote": 0.05, "cubic": 0.13, "lanczos": 10.0}

# Networks, on one thread: a pass forward or back, by its multiply-adds and by the numbers that its layers produce.
S_PER_WORK, S_PER_NUMBER = 15e-12, 5e-9
STEP_S, TRAIN_S, TRAIN_MB = 0.005, 2.5, 500.0
PAIRS_TIMES, PAIRS_MB = 2.1, 920.0  # of registration: warps, LG and LCC beside the networks; pairs are aligned first
STATES = 4  # arrays of a weight's size: itself, its gradient, Adam's two moments
PASS_S, PASS_MB, PASS_MB_PER_MVOXEL = 1.5, 420.0, 30.0

PREPARE_S_PER_MVOXEL, PREPARE_MB, PREPARE_MB_PER_MVOXEL = 0.09, 370.0, 20.0
N4_S, N4_MB = 1.2, 110.0

JUDGE_S, JUDGE_MB, JUDGE_MB_PER_MVOXEL = 0.4, 290.0, 35.0  # of all images
JUDGE_S_PER_MVOXEL, FIELD_S_PER_MVOXEL, LABELS_S_PER_MVOXEL = 0.04, 0.04, 0.085


@dataclass(frozen=True)
class Cost:
    """cpu_s: seconds of work, of all threads together; alone_s: of it, by one thread.  memory_mb: at the peak."""

    cpu_s: float
    memory_mb: float
    alone_s: float = START

    def wall_s(self, threads: int = 0) -> float:
        """Seconds until it is done, on a machine with nothing else to do; threads: 0 = all cores."""
        return self.alone_s + (self.cpu_s - self.alone_s) / (threads or os.cpu_count() or 1)

    def said(self, threads: int = 0) -> str:
        """In words: rounded as roughly as it is known."""
        count = threads or os.cpu_count() or 1
        return (
            f"about {duration(self.wall_s(count))} on {count} thread{'s' * (count > 1)}, and {memory(self.memory_mb)} "
            "of memory"
        )


@dataclass(frozen=True)
class Plan:
    """steps: what would be done, in this order.  notes: what is amiss in the input."""

    steps: tuple[str, ...]
    cost: Cost
    notes: tuple[str, ...] = ()


def duration(seconds: float) -> str:
    """Two digits and a unit that a person would choose."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{_two_digits(max(1.0, seconds))} s"


def memory(megabytes: float) -> str:
    """Two digits, GB from 1000 MB on."""
    return f"{_two_digits(megabytes / 1e3)} GB" if megabytes >= 995 else f"{_two_digits(megabytes)} MB"


def of_registration(
    fixed: int,
    moving: int,
    levels: Sequence[tuple[int, int]],
    terms: Sequence[str] = (),
    *,
    predicted: bool = False,
    gan_steps: int = 0,
) -> Cost:
    """Of `register`.  fixed, moving: voxels; levels: (voxels, iterations) of the deformable stage, none if left out;
    terms: names of its similarities; predicted: a model begins; gan_steps: of a training on this pair before it.
    """
    images = (fixed + moving) / MILLION
    seconds = START + REGISTER_S + REGISTER_S_PER_MVOXEL * images
    megabytes = REGISTER_MB + REGISTER_MB_PER_MVOXEL * images + MODEL_MB * predicted
    if levels:
        a_voxel = ITERATION_S_PER_MVOXEL + sum(TERM_S_PER_MVOXEL[name] for name in terms)
        seconds += DEFORM_S + DEFORM_S_PER_MVOXEL * fixed / MILLION
        seconds += sum(n * (ITERATION_S + a_voxel * v / MILLION) for v, n in levels)
        a_voxel_mb = DEFORM_MB_PER_MVOXEL + MIND_MB_PER_MVOXEL * ("mind" in terms)
        megabytes += a_voxel_mb * max(v for v, _ in levels) / MILLION
    if gan_steps:
        seconds += GAN_S + GAN_STEP_S * gan_steps
        megabytes = max(megabytes, GAN_MB)
    return Cost(seconds, megabytes, START + REGISTER_ALONE_S)


def of_warp(image: int, grid: int, how: str = "linear", count: int = 1, *, series: bool = False) -> Cost:
    """Of `warp`: voxels read and written, `count` volumes or components of each; a series is held one at a time."""
    seconds = count * (READ_S_PER_MVOXEL * image + PULL_S_PER_MVOXEL[how] * grid) / MILLION
    held = (image + grid) * (1 if series else count) / MILLION
    return Cost(START + WARP_S + seconds, WARP_MB + WARP_MB_PER_MVOXEL * held)


def of_training(
    steps: int, batch: int, work: float, numbers: float, kept_bytes: float, weights: int, *, pairs: bool = False
) -> Cost:
    """Of `train`, beside preparing the data and validation.

    work, numbers: of one sample in a step, all passes together, multiply-adds and what the layers produce.  kept_bytes:
    what one step keeps for its derivatives.  pairs: it is of registration.
    """
    a_sample = (work * S_PER_WORK + numbers * S_PER_NUMBER) * (PAIRS_TIMES if pairs else 1)
    a_step = STEP_S + batch * a_sample
    megabytes = (PAIRS_MB if pairs else TRAIN_MB) + (kept_bytes + 4 * STATES * weights) / MILLION
    return Cost(START + TRAIN_S + steps * a_step, megabytes)


def of_networks(work: float, numbers: float, voxels: int) -> Cost:
    """Of `synthesize` and `segment`: passes over all patches of an image of so many voxels."""
    seconds = START + PASS_S + work * S_PER_WORK + numbers * S_PER_NUMBER
    return Cost(seconds, PASS_MB + PASS_MB_PER_MVOXEL * voxels / MILLION)


def of_preparation(voxels: int, people: int, corrected: int) -> Cost:
    """Of `prepare`: voxels of all images together, people, and how many of them have N4 done."""
    seconds = START + PREPARE_S_PER_MVOXEL * voxels / MILLION + N4_S * corrected
    megabytes = PREPARE_MB + PREPARE_MB_PER_MVOXEL * voxels / max(1, people) / MILLION
    return Cost(seconds, megabytes + N4_MB * bool(corrected))


def of_evaluation(voxels: int, labels: int, *, fields: bool) -> Cost:
    """Of `evaluate`: voxels of all images, those of label maps among them, and whether a transform is judged."""
    a_voxel = JUDGE_S_PER_MVOXEL + fields * FIELD_S_PER_MVOXEL
    seconds = JUDGE_S + (a_voxel * voxels + LABELS_S_PER_MVOXEL * labels) / MILLION
    return Cost(START + seconds, JUDGE_MB + JUDGE_MB_PER_MVOXEL * voxels / MILLION)


def added(costs: Sequence[Cost]) -> Cost:
    """One after another in one process, which starts once."""
    return Cost(sum(c.cpu_s - START for c in costs) + START, max(c.memory_mb for c in costs))


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
