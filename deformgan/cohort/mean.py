"""The mean of a group: its mean shape, told from the maps of a template to each of it, and its mean image there.

A map T_i takes points of the template to points of subject i: u_i(x) = D_i(x) - x of its deformable part D_i, then an
affine A_i.  The mean map is M(x) = A(x + u(x)), u the mean of u_i and A = exp(mean of log A_i); the template that lies
in the middle has the points y = M(x), and T_i o M^-1 takes those to subject i.
Source: Guimond et al., CVIU 77, 2000; Avants et al., NeuroImage 49, 2010 (the mean map inverted); Arsigny et al., SIAM
J. Matrix Anal. 29, 2007 (the mean of matrices).  Theirs warp the mean image; here each image is sampled once, through
T_i o M^-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.registration.appearance import Appearance
from deformgan.spatial.pyramid import gaussian_smooth
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Affine, DisplacementField, Transform

Array = NDArray[np.float64]
EDGE = 4  # lattice nodes around the template, so that no point near its border leaves the field
COARSER = 2  # voxels between nodes of the mean displacement, which is smooth
SHARPEN_VOXELS = 1.0  # sigma of what an unsharp mask takes away


def mean_affine(matrices: Sequence[Array]) -> Array:
    """(4, 4): exp of the mean logarithm.  Raises InputError where a matrix turns by half a turn or mirrors."""
    from scipy.linalg import expm, logm

    logarithms = [logm(matrix) for matrix in matrices]
    if any(np.abs(np.imag(one)).max() > 1e-6 for one in logarithms):
        raise InputError("the subjects lie turned by half a turn to each other; bring them near each other first")
    mean: Array = np.real(expm(np.mean([np.real(one) for one in logarithms], axis=0)))
    mean[3] = 0, 0, 0, 1
    return mean


def parts_of(transform: Transform) -> tuple[Transform, Array]:
    """(the deformable part, the affine that follows it), as `register` finds them."""
    matrix = np.eye(4)
    for part in transform.parts:
        if isinstance(part, Affine):
            matrix = part.matrix @ matrix
    return Transform(tuple(p for p in transform.parts if isinstance(p, DisplacementField))), matrix


def mean_map(transforms: Iterable[Transform], grid: Geometry, step: float = 1.0) -> Transform:
    """M, from points of the template on `grid` to those of the template in the middle; `step`: how far to go there."""
    lattice = grid.resized([-(-n // COARSER) for n in grid.size]).padded(EDGE)
    matrices, total = [], np.zeros((*lattice.shape, 3), np.float64)
    deformed = False
    for transform in transforms:
        fields, matrix = parts_of(transform)
        matrices.append(matrix)
        if fields.parts:
            total += fields.displacement_on(lattice)
            deformed = True
    affine = Affine(mean_affine(matrices))
    if step != 1:
        affine = Affine(_power(affine.matrix, step))
    if not deformed:
        return Transform((affine,))
    return Transform((DisplacementField(lattice, (total * (step / len(matrices))).astype(np.float32)), affine))


def common_grid(grids: Sequence[Geometry], maps: Sequence[Transform], spacing: float | None) -> Geometry:
    """A grid along the axes of the world that holds what the usual subject's image holds.

    maps: from template to subject, affine.  spacing: mm; None = the median of the subjects'.
    """
    boxes = []
    for grid, transform in zip(grids, maps, strict=True):
        corners = transform.inverse().apply(grid.corners)
        boxes.append((corners.min(0), corners.max(0)))
    low, high = np.median(boxes, axis=0)
    mm = spacing or float(np.median([np.prod(grid.spacing) ** (1 / 3) for grid in grids]))
    size = np.maximum(np.ceil((high - low) / mm).astype(int) + 1, 1)
    origin = (low + high) / 2 - mm * (size - 1) / 2
    return Geometry((int(size[0]), int(size[1]), int(size[2])), (mm, mm, mm), (origin[0], origin[1], origin[2]))


def mean_image(images: Iterable[tuple[Volume, Transform]], grid: Geometry, sharpen: float = 0.0) -> Volume:
    """The mean of images on `grid`, each with the map that takes its points to the image's, and of equal brightness.

    Every image is divided by the mean of its tissue and the whole multiplied by the mean of those, but for CT, whose HU
    stay.  Where fewer than half of the images have a value, the least one stands.  sharpen: share of an unsharp mask.
    """
    total, seen = np.zeros(grid.shape, np.float64), np.zeros(grid.shape, np.uint32)
    levels = []
    for image, transform in images:
        levels.append(brightness(image))
        values = resample(image, transform, grid, outside=float("nan")).numpy()
        there = np.isfinite(values)
        np.add(total, values / levels[-1], out=total, where=there)
        seen += there
    enough = 2 * seen >= len(levels)
    if not enough.any():
        raise InputError("the subjects' images hardly meet; look at the registrations of this round")
    mean = np.divide(total, seen, out=np.zeros_like(total), where=enough) * np.mean(levels)
    mean[~enough] = mean[enough].min()
    tensor = torch.from_numpy(mean.astype(np.float32))
    if sharpen:
        smooth = gaussian_smooth(tensor[None, None], SHARPEN_VOXELS)[0, 0]
        tensor = tensor + sharpen * (tensor - smooth)
    return Volume(tensor, grid)


def brightness(image: Volume) -> float:
    """Mean of the tissue; 1 for CT and where there is nothing to divide by."""
    seen = Appearance.of(image, None, torch.device("cpu"))
    level = float(image.tensor[seen.foreground[0, 0] > 0].float().mean())
    return 1.0 if seen.ct or level <= 0 else level


def voted_labels(labels: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """The label that most of the images (Z, Y, X) have at each voxel; of equals, the smallest number."""
    out = np.zeros(labels[0].shape, np.int32)
    for z in range(len(out)):  # by planes: there may be hundreds of images, and of labels
        planes = np.stack([one[z] for one in labels])
        most = np.zeros(out[z].shape, np.uint32)
        for value in np.unique(planes):
            count = (planes == value).sum(0, dtype=np.uint32)
            out[z][count > most] = value
            np.maximum(most, count, out=most)
    return out


def gradient_energy(image: Volume) -> float:
    """How sharp an image is: mean of |gradient|^2 over its tissue, per mm^2, over the square of the tissue's mean."""
    seen = Appearance.of(image, None, torch.device("cpu"))
    tissue = seen.foreground[0, 0].numpy() > 0
    values = image.numpy().astype(np.float64)
    energy = sum(g**2 for g in np.gradient(values, *image.geometry.spacing[::-1]))
    return float(energy[tissue].mean() / values[tissue].mean() ** 2)


def change_percent(image: Volume, before: Volume) -> float:
    """Root mean square difference of two images on one grid, in percent of the tissue's mean."""
    tissue = Appearance.of(image, None, torch.device("cpu")).foreground[0, 0] > 0
    there, then = image.tensor[tissue].double(), before.tensor[tissue].double()
    return 100 * float((there - then).square().mean().sqrt() / there.mean().abs())


def mean_shift_mm(mean: Transform, image: Volume) -> float:
    """How far the mean map moves the tissue: root mean square, mm."""
    tissue = np.argwhere(Appearance.of(image, None, torch.device("cpu")).foreground[0, 0].numpy() > 0)[::7, ::-1]
    points = tissue @ image.geometry.matrix[:3, :3].T + image.geometry.matrix[:3, 3]
    return float(np.sqrt(((mean.apply(points) - points) ** 2).sum(1).mean()))


def through(mean: Transform, transform: Transform) -> Transform:
    """T o M^-1: from the template in the middle to a subject."""
    return (transform @ mean.inverse()).merged()


def _power(matrix: Array, share: float) -> Array:
    from scipy.linalg import expm, logm

    power: Array = np.real(expm(share * np.real(logm(matrix))))
    power[3] = 0, 0, 0, 1
    return power
