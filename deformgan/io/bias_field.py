"""N4: an MR image without the slow shading of its coils (Tustison et al. 2010), by SimpleITK."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deformgan.io.volume import Volume

FIT_MM = 6.0  # the field is fitted on voxels of about this size; it is smoother than that by far
ITERATIONS = (50, 50, 50, 50)
FEWEST_VOXELS = 8  # along an axis where the field is fitted


def without_bias(volume: Volume) -> Volume:
    """The image divided by its bias field, which is fitted inside Otsu's foreground; negative values count as 0.

    The field's mean over the foreground is 1, so the intensities keep their level.
    """
    import SimpleITK as sitk
    import torch

    image = sitk.Cast(replace(volume, tensor=volume.tensor.float().clamp_min(0)).to_simpleitk(), sitk.sitkFloat32)
    mask = sitk.OtsuThreshold(image, 0, 1, 200)
    factors = [
        max(1, min(round(FIT_MM / s), n // FEWEST_VOXELS))
        for s, n in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(mask, factors))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))
    field -= field[sitk.GetArrayFromImage(mask) > 0].mean()
    corrected = sitk.GetArrayFromImage(image) / np.exp(field)
    return replace(volume, tensor=torch.from_numpy(np.ascontiguousarray(corrected, np.float32)))
