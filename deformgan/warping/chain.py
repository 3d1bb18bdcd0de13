"""The transform to apply, from what a caller has: one or several, objects or files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from deformgan.errors import InputError
from deformgan.spatial.transform import Transform

TransformLike = Transform | str | os.PathLike[str]


def chain(transforms: TransformLike | Sequence[TransformLike]) -> Transform:
    """One transform from one or several, listed in the order in which fixed points go through them.

    Each is a Transform or a file that `Transform.load` reads.  Raises InputError.
    """
    listed = [transforms] if isinstance(transforms, Transform | str | os.PathLike) else list(transforms)
    if not listed:
        raise InputError("no transform was given; give one or more")
    loaded = [one if isinstance(one, Transform) else Transform.load(one) for one in listed]
    return Transform(tuple(part for one in loaded for part in one.parts))
