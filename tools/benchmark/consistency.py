"""Does a known displacement of one image come out again?  consistency.py CASES_DIR FIXED MOVING CASE [...]

The pairs of real patients are aligned by their source only up to soft-tissue motion that nobody knows, so the distance
to the planted truth holds that unknown too. Here the undisturbed pair (FIXED, MOVING) is registered as well, phi0, and
each case with a planted truth, phi1; phi1 should be truth o phi0. Prints one JSON line a case: median and 95th
percentile (mm) of | phi1(x) - truth(phi0(x)) |, and of | phi0(x) - x |: how far the undisturbed pair itself moved.
"""

import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

import deformgan
from deformgan.io.transform_files import DisplacementField
from deformgan.spatial.transform import Transform


def main(root: str, fixed: str, moving: str, *cases: str) -> None:
    still = deformgan.register(fixed, moving).transform
    for name in cases:
        case = Path(root) / name
        grid = deformgan.read_volume(case / "fixed.nii.gz").geometry
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "fixed_mask.nii.gz"))) > 0
        index = np.argwhere(mask)[:: max(1, int(mask.sum() // 30000)), ::-1]
        points = index @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
        truth = Transform((DisplacementField(grid, np.load(case / "truth.npy")),))
        found = deformgan.register(case / "fixed.nii.gz", case / "moving.nii.gz").transform
        landed = still.apply(points)
        inside = np.abs((landed - grid.centre) @ np.linalg.inv(grid.matrix[:3, :3]).T) < np.array(grid.size) / 2
        apart = np.linalg.norm(found.apply(points) - truth.apply(landed), axis=1)[inside.all(1)]
        moved = np.linalg.norm(landed - points, axis=1)
        figures = {"consistency": apart, "undisturbed": moved}
        row = {f"{k}_{s}": round(float(f(v)), 2) for k, v in figures.items() for s, f in STATISTICS.items()}
        print(json.dumps({"case": name, **row}), flush=True)


STATISTICS = {"median": np.median, "p95": lambda v: np.percentile(v, 95)}

if __name__ == "__main__":
    main(*sys.argv[1:])
