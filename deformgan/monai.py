"""Registration and warping as MONAI dictionary transforms.

Images are MetaTensors (1, X, Y, Z), as `LoadImaged` and `EnsureChannelFirstd` make them; their affine says where they
lie, so neither has to be resampled or reoriented first.

    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
    from deformgan.monai import Registerd, Warpd

    onto_ct = Compose([
        LoadImaged(["ct", "mr", "mr_labels"]),
        EnsureChannelFirstd(["ct", "mr", "mr_labels"]),
        Registerd(fixed="ct", moving="mr", transform="mr_to_ct"),
        Warpd(["mr_labels"], reference="ct", transform="mr_to_ct", labels=True),
    ])
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from deformgan.io.volume import Volume, as_volume
from deformgan.registration.options import RegisterOptions
from deformgan.registration.pipeline import register

Data = dict[Hashable, Any]


class Registerd(MapTransform):
    """Brings the image under `moving` onto the grid of the one under `fixed`, as `deformgan.register` does.

    The image is replaced by the warped one; `transform` gets the `Transform` (fixed point -> moving point, LPS mm).
    fixed_mask, moving_mask: keys of masks, or None.  Warnings of the registration go to data[transform + "_warnings"].
    """

    def __init__(
        self,
        fixed: str,
        moving: str,
        transform: str = "transform",
        *,
        fixed_mask: str | None = None,
        moving_mask: str | None = None,
        options: RegisterOptions | None = None,
    ) -> None:
        super().__init__([key for key in (fixed, moving, fixed_mask, moving_mask) if key])
        self.fixed, self.moving, self.transform = fixed, moving, transform
        self.fixed_mask, self.moving_mask, self.options = fixed_mask, moving_mask, options

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """data with the moving image on the fixed image's grid, and the transform."""
        masks = {
            name: data[key]
            for name, key in (("fixed_mask", self.fixed_mask), ("moving_mask", self.moving_mask))
            if key is not None
        }
        found = register(data[self.fixed], data[self.moving], **masks, options=self.options)
        more: Data = {self.transform: found.transform, f"{self.transform}_warnings": found.warnings}
        return {**data, self.moving: found.warped.to_metatensor(), **more}


class Warpd(MapTransform):
    """Brings the images under `keys` onto the grid of the one under `reference` by the `Transform` under `transform`.

    labels: nearest neighbour, values kept.  inverse: what belongs to the fixed image is brought onto `reference`, which
    then is the moving image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        reference: str,
        transform: str = "transform",
        *,
        labels: bool = False,
        inverse: bool = False,
    ) -> None:
        super().__init__(keys)
        self.reference, self.transform, self.labels, self.inverse = reference, transform, labels, inverse

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """data with each of the images warped."""
        from deformgan import warp

        grid = as_volume(data[self.reference]).geometry
        found: Iterable[tuple[Hashable, Volume]] = (
            (key, warp(data[key], data[self.transform], grid, labels=self.labels, inverse=self.inverse))
            for key in self.key_iterator(data)
        )
        return {**data, **{key: volume.to_metatensor() for key, volume in found}}
