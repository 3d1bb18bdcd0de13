"""The picture of docs/transforms.md, of a transform made, applied and measured here: coordinates.py PICTURE.

In the moving image a spot lies 20 mm to the patient's left and 10 mm to the back of where it lies in the fixed image.
The transform that says so has two parts, as those of `register` do: u, 8 mm to the left here, then the matrix A.
"""

import sys

import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

import deformgan
from deformgan.spatial.transform import Affine, DisplacementField

FIXED = deformgan.Geometry((60, 48, 5), (2.0, 2.0, 4.0), (-59.0, -47.0, -8.0))
TURN = np.deg2rad(12)
MOVING = deformgan.Geometry(
    (56, 46, 5),
    (2.4, 2.4, 4.0),
    (-42.0, -57.0, -8.0),
    (np.cos(TURN), -np.sin(TURN), 0.0, np.sin(TURN), np.cos(TURN), 0.0, 0.0, 0.0, 1.0),
)
SPOT = np.array([-10.0, 4.0, 0.0])  # LPS mm, in the fixed image
STEP_U, STEP_A = np.array([8.0, 0.0, 0.0]), np.array([12.0, 10.0, 0.0])
PAPER = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.92}
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def transform() -> deformgan.Transform:
    """fixed point -> moving point: x + u(x), then A."""
    u = np.zeros((*FIXED.shape, 3), np.float32) + STEP_U.astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, 3] = STEP_A
    return deformgan.Transform((DisplacementField(FIXED, u), Affine(matrix)))


def picture_of(grid: deformgan.Geometry, spot: np.ndarray) -> deformgan.Volume:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")[::-1], -1)
    points = index @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    body = np.linalg.norm((points - spot - [10, 0, 0]) / [44, 34, 1e3], axis=-1) < 1
    bright = np.linalg.norm((points - spot) / [9, 6, 1e3], axis=-1) < 1
    return deformgan.Volume(torch.from_numpy((0.35 * body + 0.6 * bright).astype(np.float32)), grid)


def centre_of_spot(volume: deformgan.Volume) -> np.ndarray:
    index = np.argwhere(volume.numpy() > 0.6)[:, ::-1].mean(0)
    return (volume.geometry.matrix @ np.append(index, 1))[:3]


def draw(axes: Axes, volume: deformgan.Volume, title: str) -> None:
    """The middle plane in its place in the world: x to the patient's left, y to the back."""
    grid = volume.geometry
    corners = np.stack(np.meshgrid(*[np.arange(n + 1) - 0.5 for n in grid.size[:2]]), -1)
    plane = corners @ grid.matrix[:2, :2].T + grid.matrix[:2, 3]
    axes.pcolormesh(plane[..., 0], plane[..., 1], volume.numpy()[2], cmap="gray", vmin=0, vmax=1.1)
    box = plane[[0, 0, -1, -1, 0], [0, -1, -1, 0, 0]]
    axes.plot(box[:, 0], box[:, 1], color="0.6", lw=1)
    axes.plot(*plane[0, 0], "s", color="0.3", ms=5)
    axes.annotate("voxel (0, 0, k)", plane[0, 0], (2, 6), textcoords="offset points", fontsize=8, color="0.3")
    axes.set(xlim=(-72, 100), ylim=(82, -76), aspect="equal", title=title)
    axes.set_xlabel("x, mm   (R  ←    → L, the patient's left)")
    axes.set_ylabel("y, mm   (P, back  ←    → A, front)")


def arrow(axes: Axes, begin: np.ndarray, end: np.ndarray, colour: str) -> None:
    axes.add_patch(FancyArrowPatch(begin[:2], end[:2], arrowstyle="-|>", mutation_scale=13, lw=2, color=colour))


def say(axes: Axes, text: str, at: np.ndarray, offset: tuple[float, float], colour: str) -> None:
    place = {"textcoords": "offset points", "bbox": PAPER, "fontsize": 10}
    axes.annotate(text, at[:2], offset, color=colour, weight="bold", **place)


def main(path: str) -> None:
    way = transform()
    there = way.apply(SPOT[None])[0]
    fixed, moving = picture_of(FIXED, SPOT), picture_of(MOVING, there)
    warped = deformgan.warp(moving, way, fixed)
    print(f"spot in fixed: {centre_of_spot(fixed).round(1)}, in moving: {centre_of_spot(moving).round(1)}")
    print(f"T(spot in fixed) = {there.round(1)}; spot in warped: {centre_of_spot(warped).round(1)}")

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.3), layout="constrained")
    draw(axes[0], fixed, "fixed")
    draw(axes[1], moving, "moving, with the way of one fixed point")
    draw(axes[2], warped, "warped.nii.gz: moving on the fixed grid")
    for ax, spot in zip(axes, (SPOT, there, SPOT), strict=True):
        ax.plot(*spot[:2], "+", color=ORANGE, ms=12, mew=2)
    say(axes[0], "x = (-10, 4)", SPOT, (-38, -34), ORANGE)
    arrow(axes[1], SPOT, SPOT + STEP_U, BLUE)
    arrow(axes[1], SPOT + STEP_U, there, GREEN)
    axes[1].plot(*SPOT[:2], "o", color=ORANGE, ms=5)
    say(axes[1], "x", SPOT, (-16, -3), ORANGE)
    say(axes[1], "1.  x + u(x),  u = (8, 0)", SPOT + STEP_U, (-46, 42), BLUE)
    say(axes[1], "2.  A:  + (12, 10)", SPOT + STEP_U + STEP_A / 2, (18, 24), GREEN)
    say(axes[1], "T(x) = (10, 14)", there, (-30, -36), ORANGE)
    say(axes[2], "at x: the value read at T(x)", SPOT, (-60, -34), ORANGE)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(sys.argv[1])
