"""Deformable registration of 3-D medical images across modalities.

import deformgan

result = deformgan.register("ct.nii.gz", "mr.nii.gz")
result.save("out")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"


if TYPE_CHECKING:
    from deformgan.io.formats import read_volume, write_volume
    from deformgan.io.geometry import Geometry
    from deformgan.io.volume import Volume, as_volume
    from deformgan.registration.affine_fit import AffineOptions, register_affine
    from deformgan.registration.options import RegisterOptions
    from deformgan.registration.pipeline import register
    from deformgan.spatial.ranges import Ranges
    from deformgan.spatial.transform import Transform
    from deformgan.spatial.warp import SpatialTransformer
    from deformgan.warping.image import warp
    from deformgan.warping.points import warp_points

_HOMES = {
    "AffineOptions": "deformgan.registration.affine_fit",
    "Geometry": "deformgan.io.geometry",
    "Ranges": "deformgan.spatial.ranges",
    "RegisterOptions": "deformgan.registration.options",
    "SpatialTransformer": "deformgan.spatial.warp",
    "Transform": "deformgan.spatial.transform",
    "Volume": "deformgan.io.volume",
    "as_volume": "deformgan.io.volume",
    "read_volume": "deformgan.io.formats",
    "register": "deformgan.registration.pipeline",
    "register_affine": "deformgan.registration.affine_fit",
    "warp": "deformgan.warping.image",
    "warp_points": "deformgan.warping.points",
    "write_volume": "deformgan.io.formats",
}
__all__ = [
    "AffineOptions",
    "Geometry",
    "Ranges",
    "RegisterOptions",
    "SpatialTransformer",
    "Transform",
    "Volume",
    "as_volume",
    "read_volume",
    "register",
    "register_affine",
    "warp",
    "warp_points",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that `import deformgan` brings neither torch nor numba."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'deformgan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
