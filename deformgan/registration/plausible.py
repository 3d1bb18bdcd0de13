"""Whether a result may be believed: signs of a registration that ended farther from the truth than it began.

The pose that wins always scores better than the start, so the score cannot say.  What can is what the score hardly
looks at: the tissue below the surface of both bodies, where no outline helps.  At the right place its intensities tell
more of each other than when one image is moved by a centimetre or two; in a wrong place, or of two different things,
they do not.  The numbers below are from the runs in docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deformgan.kernels.joint_histogram import information_of_poses
from deformgan.registration.appearance import Appearance
from deformgan.registration.pose import tissue_spread
from deformgan.spatial.affine import to_parameters
from deformgan.spatial.transform import Affine, DisplacementField, Transform

Array = NDArray[np.float64]

GRID_MM = 4.0
DEEP_MM = 4.0  # below the surface along each axis
ASIDE_MM = 15.0
BINS = 16
BIAS = 13.0  # nats times points: what independent values seem to tell of each other in so many bins
EVERY = 7  # of the tissue's voxels is looked at for how far the field bends
FEWEST = 400  # points that say something
MOST = 12_000  # points, so that the look costs little
LEAST_GAIN = 0.05  # nats; one of 125 good results had less
MOST_STRETCH = 0.3  # log scale or shear of the affine map; good results had up to 0.15
MOST_FOLDING = 0.1  # percent
MOST_INVERSE_MM = 2.0  # 95th percentile of the way there and back
MOST_BENDING = 0.4  # 95th percentile of the deformable part, as a share of the body's radius; good ones had up to 0.18


class Depth(NamedTuple):
    """What two images tell of each other below the surface of both.

    points: how many of the fixed image's points lie there in both; possible: how many could.  here: mutual information,
    nats.  aside: the mean of it at six shifts of ASIDE_MM.
    """

    points: int
    possible: int
    here: float
    aside: float

    @property
    def fault(self) -> str | None:
        """What speaks against the result; None where nothing does, or too little is to be seen."""
        if self.points < FEWEST:
            return "the two bodies hardly lie on each other" if self.possible >= 4 * FEWEST else None
        if self.here - self.aside < LEAST_GAIN:
            return (
                "inside the two bodies the images match hardly better than they do shifted aside "
                f"({self.here:.2f} against {self.aside:.2f} nats)"
            )
        return None


def information_in_depth(fixed: Appearance, moving: Appearance, transform: Transform) -> Depth:
    """Of the result: transform maps fixed points to moving points, LPS mm."""
    f, m = fixed.at(GRID_MM), moving.at(GRID_MM)
    deep, other_deep = _below_surface(f), _below_surface(m)
    volume, other_volume = (np.prod(i.geometry.spacing) for i in (f, m))
    possible = int(min(MOST, deep.sum(), other_deep.sum() * other_volume / volume))
    index = np.argwhere(deep)
    index = index[:: 1 + len(index) // MOST]
    landed = _landed(index, f, m, transform)
    near = np.rint(landed).astype(int)
    inside: NDArray[np.bool_] = np.asarray(((near >= 0) & (near < other_deep.shape)).all(1))
    inside[inside] = other_deep[tuple(near[inside].T)]
    found = int(inside.sum())
    if found < FEWEST:
        return Depth(found, possible, 0.0, 0.0)
    a, b = (i.image[0, 0].cpu().numpy() for i in (f, m))
    seen = a[tuple(index[inside].T)]
    share, nats = information_of_poses(
        landed[inside].astype(np.float32),
        np.rint(_in_bins(seen, seen)).astype(np.int64),
        _in_bins(b, b[other_deep]),
        other_deep.astype(np.uint8),
        _here_and_aside(ASIDE_MM / np.array(m.geometry.spacing[::-1])),
        BINS,
    )
    count = share * found
    nats = nats - BIAS / np.maximum(count, 1)
    aside = nats[1:][count[1:] >= FEWEST]
    return Depth(found, possible, float(nats[0]), float(aside.mean()) if aside.size else 0.0)


def implausible(fixed: Appearance, moving: Appearance, transform: Transform) -> list[str]:
    """What speaks against a result, a line each; transform: fixed point -> moving point, LPS mm."""
    fault = information_in_depth(fixed, moving, transform).fault
    return ([] if fault is None else [fault]) + faults_of_transform(fixed, transform)


def faults_of_transform(fixed: Appearance, transform: Transform) -> list[str]:
    """What no pair of one body needs."""
    found = []
    centre, radius = tissue_spread(fixed)
    for part in transform.parts:
        if isinstance(part, Affine):
            stretch = float(np.abs(to_parameters(part.matrix, centre, "affine")[6:]).max())
            if stretch > MOST_STRETCH:
                found.append(f"the affine map scales or shears by a factor of {np.exp(stretch):.2f}")
    fields = Transform(tuple(p for p in transform.parts if isinstance(p, DisplacementField)))
    if fields.parts:
        grid = fixed.geometry
        tissue = np.argwhere(fixed.foreground[0, 0].cpu().numpy() > 0)[::EVERY, ::-1]
        points = tissue @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
        bent = float(np.percentile(np.linalg.norm(fields.apply(points) - points, axis=1), 95))
        if bent > MOST_BENDING * radius:
            found.append(f"the deformation moves tissue by {50 * bent / radius:.0f} % of the body's size")
    return found


def faults_of_metrics(
    regularity: Mapping[str, float], inverse_error_mm: Mapping[str, float], most_mm: float = MOST_INVERSE_MM
) -> list[str]:
    """Of the figures in result.json; most_mm: that the inverse may miss by."""
    found = []
    if regularity["folding_percent"] > MOST_FOLDING:
        found.append(f"{regularity['folding_percent']:.2g} % of the deformation is folded")
    if inverse_error_mm["p95"] > most_mm:
        found.append(f"the inverse misses by {inverse_error_mm['p95']:.2g} mm")
    return found


def _here_and_aside(voxels: Array) -> Array:
    """(7, 3, 4): the identity, and shifts by so many voxels z, y, x, forth and back."""
    poses = np.zeros((7, 3, 4))
    poses[:, :, :3] = np.eye(3)
    poses[1:, :, 3] = np.vstack([np.diag(voxels), -np.diag(voxels)])
    return poses


def _in_bins(image: NDArray[np.float32], tissue: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled so that the values of `tissue` fill the bins."""
    low, high = np.quantile(tissue, [0.01, 0.99])
    return ((image - low) * ((BINS - 1.001) / max(high - low, 1e-6))).clip(0, BINS - 1.001).astype(np.float32)


def _landed(index: NDArray[np.int64], fixed: Appearance, moving: Appearance, transform: Transform) -> Array:
    """(N, 3) z, y, x index in `moving` of voxels of `fixed`."""
    grid, inverse = fixed.geometry, moving.geometry.inverse
    points = index[:, ::-1] @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    landed: Array = (transform.apply(points) @ inverse[:3, :3].T + inverse[:3, 3])[:, ::-1]
    return landed


def _below_surface(image: Appearance) -> NDArray[np.bool_]:
    """(Z, Y, X): nothing but tissue within DEEP_MM along each axis, and not masked out."""
    from scipy import ndimage

    tissue = (image.foreground[0, 0].cpu().numpy() > 0).astype(np.uint8)
    if image.valid is not None:
        tissue *= image.valid[0, 0].cpu().numpy() > 0
    reach = [2 * int(DEEP_MM / s + 0.5) + 1 for s in image.geometry.spacing[::-1]]
    deep: NDArray[np.bool_] = ndimage.minimum_filter(tissue, reach, mode="nearest") > 0
    return deep
