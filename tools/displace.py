"""Move an image by a known rigid motion, in its header alone: displace.py IMAGE MOVED MOTION.tfm

The motion, 20 degrees about the long axis and (25, -15, 30) mm about the image's centre, maps points of the image to
points of the moved one, LPS mm.
"""

import sys
from math import radians

import numpy as np
import SimpleITK as sitk


def main(source: str, moved: str, motion_file: str) -> None:
    image = sitk.ReadImage(source)
    centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    motion = sitk.Euler3DTransform(centre, 0, 0, radians(20), (25, -15, 30))
    turn = np.array(motion.GetMatrix()).reshape(3, 3)
    image.SetOrigin(motion.TransformPoint(image.GetOrigin()))
    image.SetDirection((turn @ np.array(image.GetDirection()).reshape(3, 3)).ravel())
    sitk.WriteImage(image, moved)
    sitk.WriteTransform(motion, motion_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
