"""Affine engines, analytic beside autograd: affine.py BRAIN_T1 SLICE_IMAGE

BRAIN_T1: a volume of 1 mm voxels, tried at 2 mm and at 1 mm. SLICE_IMAGE: its middle slice is brought to 512 x 512.
A known map moves each image; both engines start from the identity. Prints two Markdown tables: milliseconds of one loss
with its derivative (medians, the engines in turn), and the search with L-BFGS on one level: iterations, seconds, and
the distance that is left.
"""

import statistics
import sys
import time
from functools import partial

import numpy as np
import torch

import deformgan
from deformgan.io.transform_files import Affine
from deformgan.registration.affine_engines import AnalyticEngine, AutogradEngine, Motion, Scene
from deformgan.registration.affine_fit import AffineOptions
from deformgan.spatial.affine import PARAMETERS, Model, from_parameters
from deformgan.spatial.grid import REVERSE, voxel_points
from deformgan.spatial.ranges import Mapping, Ranges

PLANTED: dict[Model, list[float]] = {
    "scales2d": [0.12, 8, -6, 0.06, -0.05],
    "affine": [0.08, -0.06, 0.1, 5, -6, 4, 0.05, -0.04, 0.03, 0.02, 0, -0.02],
}
ROUNDS, REPEATS = 5, 9
LOSSES = ("l2", "cauchy", "ncc", "nmi", "gc")


def pairs(brain: str, slice_image: str):
    """(name, model, fixed, moving, map) of each size."""
    volume = deformgan.read_volume(brain)
    half = torch.nn.functional.avg_pool3d(volume.tensor[None, None].float(), 2)[0, 0]
    coarse = deformgan.Volume(half, volume.geometry.resized(tuple(half.shape[::-1])))
    flat = deformgan.read_volume(slice_image).tensor.float()
    flat = torch.nn.functional.interpolate(flat[None, None, len(flat) // 2], size=(512, 512), mode="bilinear")[0]
    plane = deformgan.Volume(flat, deformgan.Geometry((512, 512, 1), (0.5, 0.5, 1.0), (0.0, 0.0, 0.0)))
    for name, fixed in (("512 x 512", plane), ("2 mm", coarse), ("1 mm", volume)):
        model: Model = "scales2d" if fixed is plane else "affine"
        matrix = from_parameters(np.array(PLANTED[model]), fixed.geometry.centre, model)
        moving = deformgan.warp(fixed, deformgan.Transform((Affine(np.linalg.inv(matrix)),)), fixed)
        size = " x ".join(map(str, fixed.geometry.shape))
        yield f"{name} ({size})" if model == "affine" else name, model, fixed, moving, matrix


def milliseconds(*calls) -> list[float]:
    """Medians, the calls in turn, so that a machine that is slower for a while is so for all."""
    seconds = [[] for _ in calls]
    for _ in range(ROUNDS + 1):
        for call, known in zip(calls, seconds, strict=True):
            call()  # brings what it needs into the caches, as the call before it does in a search
            for _ in range(REPEATS):
                begin = time.perf_counter()
                call()
                known.append(time.perf_counter() - begin)
    return [1e3 * statistics.median(known[REPEATS:]) for known in seconds]


def evaluations(name, model, fixed, moving) -> None:
    scale = float(fixed.tensor.max())
    maps = fixed.geometry.matrix @ REVERSE, REVERSE @ moving.geometry.inverse
    scene = Scene(fixed.tensor.float() / scale, moving.tensor.float() / scale, *maps)
    motion = Motion(model, fixed.geometry.centre, Mapping.of(model, 50.0, Ranges()))
    q = np.full(PARAMETERS[model], 0.5)
    for loss in LOSSES:
        engines = [engine(scene, motion, loss, 0.1) for engine in (AnalyticEngine, AutogradEngine)]
        ours, theirs = milliseconds(*(partial(engine, q) for engine in engines))
        print(f"| {name} | {loss} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} |", flush=True)


def searches(name, model, fixed, moving, matrix) -> None:
    points = voxel_points(fixed.geometry)[fixed.numpy() > fixed.numpy().mean()][::101]
    points = np.c_[points, np.ones(len(points))]
    runs = [
        ("analytic", "l2", "lm"),
        *((e, loss, "lbfgs") for loss in ("ncc", "nmi") for e in ("analytic", "autograd")),
    ]
    for engine, loss, optimiser in runs:
        options = AffineOptions(optimiser=optimiser, levels=(4.0, 2.0, 1.0))
        begin = time.perf_counter()
        fit = deformgan.register_affine(fixed, moving, model=model, engine=engine, loss=loss, options=options)
        took = time.perf_counter() - begin
        left = np.linalg.norm(points @ (fit.matrix - matrix)[:3].T, axis=1).mean()
        print(
            f"| {name} | {loss} | {optimiser} | {engine} | {len(fit.history)} | {took:.1f} | {left:.3f} |", flush=True
        )


def main(brain: str, slice_image: str) -> None:
    cases = list(pairs(brain, slice_image))
    print("| images | loss | analytic, ms | autograd, ms | times faster |\n| --- | --- | --- | --- | --- |")
    for name, model, fixed, moving, _ in cases:
        evaluations(name, model, fixed, moving)
    print("\n| images | loss | optimiser | engine | iterations | s | TRE left, mm |\n" + "| --- " * 7 + "|")
    for case in cases:
        searches(*case)


if __name__ == "__main__":
    main(*sys.argv[1:])
