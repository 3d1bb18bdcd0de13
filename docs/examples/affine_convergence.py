"""How both engines converge, on a real slice and on a real patient: affine_convergence.py [PICTURE.png]

The MR of the demo pair is turned, shifted and scaled by a known map and found again, by either engine from the same
start: a slice with a map of its plane, then the whole volume with an affine map. The picture shows the loss and the
distance that is left (TRE, mm) over the seconds; the table says how long an iteration takes.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np

import deformgan
from deformgan.registration.affine_fit import AffineFit, AffineOptions
from deformgan.spatial.affine import Model, from_parameters
from deformgan.spatial.grid import voxel_points

matplotlib.use("Agg")
from matplotlib import pyplot

MR = Path(__file__).parents[2] / "data" / "sts" / "STS_051_MR_T1.nii.gz"
PLANTED: dict[Model, list[float]] = {
    "scales2d": [0.2, 8, -6, 0.08, -0.05],
    "affine": [0.1, -0.08, 0.15, 6, -8, 5, 0.06, -0.05, 0.04, 0.02, 0, -0.02],
}


def planted(fixed: deformgan.Volume, model: Model) -> tuple[deformgan.Volume, np.ndarray]:
    """(the image moved by a known map, that map)."""
    matrix = from_parameters(np.array(PLANTED[model]), fixed.geometry.centre, model)
    there = deformgan.Transform((deformgan.io.transform_files.Affine(np.linalg.inv(matrix)),))
    return deformgan.warp(fixed, there, fixed), matrix


def distances(fit: AffineFit, matrix: np.ndarray, fixed: deformgan.Volume) -> list[float]:
    """Mean distance to the truth after every step, mm, over the tissue."""
    seen = fixed.numpy() > fixed.numpy().mean()
    points = voxel_points(fixed.geometry)[seen][::50]
    points = np.c_[points, np.ones(len(points))]
    maps = (from_parameters(step.parameters, fit.centre, fit.model) for step in fit.history)
    return [float(np.linalg.norm(points @ (m - matrix)[:3].T, axis=1).mean()) for m in maps]


def main(picture: str = "affine_convergence.png") -> None:
    volume = deformgan.read_volume(MR)
    z = volume.geometry.shape[0] // 2
    flat = deformgan.Geometry((*volume.geometry.size[:2], 1), volume.geometry.spacing, (0.0, 0.0, 0.0))
    cases: list[tuple[str, Model, deformgan.Volume]] = [
        ("a slice, scales2d", "scales2d", deformgan.Volume(volume.tensor[z : z + 1], flat)),
        ("the volume, affine", "affine", volume),
    ]
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    print("| pair | engine | iterations | ms an iteration | TRE, mm |\n| --- | --- | --- | --- | --- |")
    for column, (name, model, fixed) in enumerate(cases):
        moving, matrix = planted(fixed, model)
        for engine in ("analytic", "autograd"):
            options = AffineOptions(optimiser="lbfgs", levels=(2.0, 1.0))
            deformgan.register_affine(fixed, moving, model=model, engine=engine, options=options)  # compiles
            fit = deformgan.register_affine(fixed, moving, model=model, engine=engine, options=options)
            left, seconds = distances(fit, matrix, fixed), [step.seconds for step in fit.history]
            each = 1e3 * (seconds[-1] - seconds[0]) / (len(seconds) - 1)
            print(f"| {name} | {engine} | {len(seconds)} | {each:.1f} | {left[-1]:.3f} |")
            axes[0, column].plot(seconds, [step.loss for step in fit.history], ".-", label=engine)
            axes[1, column].semilogy(seconds, left, ".-", label=engine)
        axes[0, column].set(title=f"{name}: loss", ylabel="1 - NCC")
        axes[1, column].set(title=f"{name}: distance to the truth", xlabel="seconds", ylabel="TRE, mm")
        axes[0, column].legend()
    figure.savefig(picture, dpi=110)
    print(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
