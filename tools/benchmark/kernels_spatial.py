"""Time the spatial kernels beside their torch twins and print a markdown table.

    python tools/benchmark/kernels_spatial.py [--threads N] [--repeats N]

Share of copy bandwidth: the bytes the operation reads and writes at least, over its time, against a threaded copy of a
3-channel field.
"""

import argparse
import statistics
import time

import numba
import numpy as np
import torch

from deformgan.kernels import field as fields
from deformgan.kernels.lattice import adjoint
from deformgan.kernels.smooth import gaussian
from deformgan.kernels.warp import resize, warp_composed
from deformgan.spatial.field import compose_reference, resize_reference
from deformgan.spatial.jacobian import jacobian_determinant_reference
from deformgan.spatial.pyramid import gaussian_smooth, gaussian_smooth_reference
from deformgan.spatial.warp import warp_reference, warp_through_reference

SHAPE = (160, 192, 160)
COARSE = tuple(n // 2 for n in SHAPE)
OBLIQUE = np.array([[0.99, 0.05, 0.02, 1.2], [-0.05, 1.02, 0.03, -1.7], [0.01, -0.04, 0.98, 0.6]])


@numba.njit(parallel=True)
def copy(source, target):
    """The limit: every byte read once and written once."""
    for i in numba.prange(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


def median_ms(function, repeats):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def gradient_of(function, *inputs):
    """A function that runs forward and backward, by the inputs."""

    def run():
        leaves = [t.detach().requires_grad_() for t in inputs]
        function(*leaves).sum().backward()

    return run


def operations():
    """Yield (name, volumes read and written, kernel, torch twin)."""
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    u, v = (10 * gaussian_smooth(torch.randn(1, 3, *SHAPE), 4.0)[0].numpy() for _ in range(2))
    out, slope, inside = np.empty_like(image), np.empty_like(u), np.empty(SHAPE, np.bool_)
    coarse = resize(u, COARSE)
    lattice, tensor = torch.from_numpy(coarse)[None], torch.from_numpy(image)[None, None]
    tu, tv = torch.from_numpy(u)[None], torch.from_numpy(v)[None]

    def through(t):
        return warp_through_reference(tensor, OBLIQUE, t, (2, 2, 2), SHAPE)[0]

    def warp_with_slope(field, matrix, factors):
        warp_composed(image, matrix, field, out, gradient=slope, inside=inside, factors=factors)

    yield "warp", 5, lambda: warp_composed(image, np.eye(4), u, out), lambda: warp_reference(tensor, tu)
    yield (
        "warp and slope",
        8.25,
        lambda: warp_with_slope(u, np.eye(4), (1, 1, 1)),
        gradient_of(lambda t: warp_reference(tensor, t), tu),
    )
    yield (
        "oblique matrix, lattice of factor 2, slope",
        5.6,
        lambda: warp_with_slope(coarse, OBLIQUE, (2, 2, 2)),
        gradient_of(through, lattice),
    )
    yield "adjoint of the lattice of factor 2", 4.4, lambda: adjoint(u, (2, 2, 2), COARSE, image), None
    yield "resize from half", 3.4, lambda: resize(coarse, SHAPE), lambda: resize_reference(lattice, SHAPE)
    yield "compose", 9, lambda: fields.compose(u, v), lambda: compose_reference(tu, tv)
    yield (
        "compose, both derivatives",
        18,
        lambda: (fields.compose_gradient(u, v, slope), fields.splat(slope, v)),
        gradient_of(compose_reference, tu, tv),
    )
    yield "invert to 0.01 voxel", 7, lambda: fields.invert(u, 50, 0.01), None
    yield (
        "Gaussian, sigma 2, 3 channels",
        6,
        lambda: gaussian(u, (2, 2, 2)),
        lambda: gaussian_smooth_reference(tu, (2, 2, 2)),
    )
    yield (
        "Jacobian determinant",
        4,
        lambda: fields.jacobian_determinant(u),
        lambda: jacobian_determinant_reference(tu),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    source = np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32).reshape(-1, *SHAPE[1:])
    target = np.empty_like(source)
    per_volume = median_ms(lambda: copy(source, target), options.repeats) / 6
    print(
        f"{' x '.join(map(str, SHAPE))}, float32, {options.threads} threads; copy of 3 channels {6 * per_volume:.1f} ms"
    )
    print("\n| kernel | ms | torch twin ms | ratio | share of copy bandwidth |\n| --- | --- | --- | --- | --- |")
    for name, volumes, kernel, twin in operations():
        ms = median_ms(kernel, options.repeats)
        share = f"{100 * volumes * per_volume / ms:.0f} %"
        other = None if twin is None else median_ms(twin, max(1, options.repeats // 2))
        print(f"| {name} | {ms:.1f} | {'| ' if other is None else f'{other:.0f} | {other / ms:.1f}'} | {share} |")


if __name__ == "__main__":
    main()
