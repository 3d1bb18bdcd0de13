"""How far the known motion was found: check_demo.py FIXED MOTION.tfm TRANSFORM.h5, with SimpleITK alone.

The distance holds what is left of the patient's own soft-tissue motion between the two scans, which nobody knows.
"""

import sys

import numpy as np
import SimpleITK as sitk

SAMPLES = 5000


def main(fixed: str, motion_file: str, transform_file: str) -> int:
    image = sitk.ReadImage(fixed, sitk.sitkFloat32)
    body = np.argwhere(sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, 3.0)) > -200)
    chosen = body[np.random.default_rng(0).choice(len(body), SAMPLES)]
    points = [image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]) for index in chosen]
    motion, found = sitk.ReadTransform(motion_file), sitk.ReadTransform(transform_file)
    truth = np.array([motion.TransformPoint(p) for p in points])
    before = np.linalg.norm(truth - points, axis=1)
    after = np.linalg.norm(truth - [found.TransformPoint(p) for p in points], axis=1)
    distances = f"{np.median(before):.1f} mm before, {np.median(after):.1f} mm after"
    print(f"demo: off the known motion, median over the body: {distances}")
    print("demo: (what is left holds the patient's own soft-tissue motion between the scans)")
    return 0 if np.median(after) < 0.25 * np.median(before) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
