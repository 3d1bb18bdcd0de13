"""How much memory a registration, or a mean, may need, told from the headers of its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deformgan.errors import InputError
from deformgan.io.formats import source_files
from deformgan.io.grids import read_grid

# Fitted to the peaks of the whole command in docs/benchmarks.md, 0.9 to 105 million voxels: within 10 % of all of them
# but `fast` on 512 x 512 x 400, which the margin covers.
BASE_MB = 475.0
NATIVE_MB, WORKING_MB = 19.0, 70.0  # a million voxels of both images; of the fixed image at 1 mm, where it is finer
MEAN_BYTES, LABEL_BYTES = 90, 4  # a voxel: sum, count, one image and its map; one subject's labels
MARGIN = 1.25


def registration_mb(fixed: str, moving: str) -> float:
    """Megabytes of one process; 0 where a header cannot be read, since the task will say so itself."""
    try:
        (native, working), (other, _) = _voxels(fixed), _voxels(moving)
    except (InputError, OSError):
        return 0.0
    return MARGIN * (BASE_MB + (NATIVE_MB * (native + other) + WORKING_MB * working) / 1e6)


def mean_mb(image: str, labelled: int) -> float:
    """Megabytes of the mean of a group on about the grid of `image`; labelled: how many have labels to be counted."""
    count = _voxels(image)[0]
    return MARGIN * (BASE_MB + count * (MEAN_BYTES + LABEL_BYTES * labelled) / 1e6)


def _voxels(path: str) -> tuple[float, float]:
    """(voxels, those of a grid of 1 mm over the same box, where that is coarser)."""
    if not Path(path).is_file():  # a DICOM folder, whose headers would take long
        count = sum(name.stat().st_size for name in source_files(path)) / 2
        return count, count
    grid = read_grid(path)
    count = float(np.prod(grid.size))
    return count, min(count, count * float(np.prod(grid.spacing)))
