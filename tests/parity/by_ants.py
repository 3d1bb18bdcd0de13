"""Apply transforms by antspyx: by_ants.py JOBS.json, in a process of its own, for its ITK and SimpleITK's do not mix.

A job is {"fixed", "moving", "labels", "transform", "inverse", "points", "out"}: files, and a folder for image.nii.gz,
labels.nii.gz (on the fixed grid), back.nii.gz (the fixed image on the moving grid) and there.npy, back.npy (points).
"""

import json
import sys
from pathlib import Path

import ants
import numpy as np
import pandas as pd


def mapped(points: np.ndarray, transform: str) -> np.ndarray:
    table = pd.DataFrame(points, columns=["x", "y", "z"])
    return ants.apply_transforms_to_points(3, table, [transform])[["x", "y", "z"]].to_numpy()


def main() -> None:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        out = Path(job["out"])
        fixed, moving, labels = (ants.image_read(job[name]) for name in ("fixed", "moving", "labels"))
        low, points = float(moving.min()), np.load(job["points"])
        for name, image, interpolator in (("image", moving, "linear"), ("labels", labels, "nearestNeighbor")):
            outside = low if name == "image" else 0
            ants.apply_transforms(
                fixed, image, [job["transform"]], interpolator=interpolator, defaultvalue=outside
            ).to_filename(str(out / f"{name}.nii.gz"))
        ants.apply_transforms(moving, fixed, [job["inverse"]], defaultvalue=float(fixed.min())).to_filename(
            str(out / "back.nii.gz")
        )
        there = mapped(points, job["transform"])
        np.save(out / "there.npy", there)
        np.save(out / "back.npy", mapped(there, job["inverse"]))


if __name__ == "__main__":
    main()
