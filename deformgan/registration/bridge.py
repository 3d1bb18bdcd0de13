"""A bridge: a CT made of the MR of a pair stands in for it, so that CT can be compared with CT.

Making it is synthesis, which stands to the right of registration; what comes here is an image, or a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from deformgan.errors import InputError
from deformgan.io.volume import Volume
from deformgan.registration.appearance import CT_WINDOW, Appearance, looks_like_ct
from deformgan.registration.deformable import Beside
from deformgan.registration.options import RegisterOptions
from deformgan.similarity.objective import parse_similarity

Role = Literal["fixed", "moving"]
Make = Callable[[Volume], Volume]  # MR -> CT in HU on its grid

NAME = "bridge"  # in a similarity: LCC of the made and the real CT
WINDOW = 5  # voxels, of that LCC


@dataclass(frozen=True)
class Bridge:
    """image: CT in HU on the MR's grid.  stands_for: which image of the pair that is.  source: file of what made it."""

    image: Volume
    stands_for: Role
    source: str = ""

    def beside(self, fixed: Appearance, moving: Appearance, weight: float) -> Beside:
        """The made CT in the MR's place and the real one, which is cut to the HU that the made one knows."""
        mr, ct = (fixed, moving) if self.stands_for == "fixed" else (moving, fixed)
        low, high = CT_WINDOW
        raw = self.image.tensor.to(mr.image)[None, None]
        made = replace(mr, image=((raw - low) / (high - low)).clamp_(0, 1), ct=True, shrunk={})
        ends = float(made.image.min()), float(made.image.max())
        real = replace(ct, image=ct.image.clamp(*ends), shrunk={})
        return Beside(*((made, real) if self.stands_for == "fixed" else (real, made)), weight, WINDOW)


def role_of_mr(fixed: Volume, moving: Volume, names: tuple[str, str] = ("the fixed image", "the moving image")) -> Role:
    """Which of a pair is the MR: the one that does not look like CT.  Raises InputError unless the other does."""
    ct = looks_like_ct(fixed.tensor), looks_like_ct(moving.tensor)
    if all(ct):
        raise InputError(f"{names[0]} and {names[1]} both look like CT; a bridge makes a CT of an MR: leave it out")
    if not any(ct):
        raise InputError(
            f"neither {names[0]} nor {names[1]} looks like CT (HU, with air or padding below -400); "
            "a bridge leads from MR to CT: leave it out"
        )
    return "moving" if ct[0] else "fixed"


def bridge_of(image: Volume, fixed: Volume, moving: Volume, source: str = "") -> Bridge:
    """The bridge that a made CT is to a pair.  Raises InputError where the two do not belong together."""
    role = role_of_mr(fixed, moving)
    mr, name = fixed if role == "fixed" else moving, f"the bridge {source}".rstrip()
    if not image.geometry.almost_equal(mr.geometry):
        raise InputError(
            f"{name} lies on another grid than the {role} image, which is the MR: "
            f"size {image.geometry.size}, not {mr.geometry.size}, or another place; make it of this very image"
        )
    low, high = float(image.tensor.min()), float(image.tensor.max())
    if not min(high, CT_WINDOW[1]) > max(low, CT_WINDOW[0]):
        raise InputError(f"{name} holds {low:g} to {high:g} HU: no contrast between air and bone is left")
    return Bridge(image, role, source)


def check_options(options: RegisterOptions, *, bridged: bool) -> None:
    """Raise InputError for options that leave a bridge out where there is one, or name one where there is none."""
    if bridged and (options.stage != "deformable" or (options.model and not options.refine)):
        raise InputError(
            "a bridge serves the deformable stage, which --affine-only, --rigid-only and --no-refine leave out; "
            "give one of the two"
        )
    named = bridged if options.similarity is None else parted(options.similarity)[1] > 0
    if bridged and not named:
        raise InputError(f"similarity {options.similarity!r} leaves the bridge out; add {NAME}=1 to it")
    if named and not bridged:
        raise InputError(f"similarity {options.similarity!r} names a bridge, and there is none; give --bridge MODEL")


def parted(similarity: str) -> tuple[dict[str, float], float]:
    """(weights of the real pair, weight of the bridge or 0) of, for example, "bridge=1,gc=0.3".  Raises InputError."""
    parts = [part for part in similarity.split(",") if part.partition("=")[0].strip().lower() == NAME]
    rest = [part for part in similarity.split(",") if part not in parts]
    if len(parts) > 1:
        raise InputError(f"similarity: {NAME} is given twice in {similarity!r}; give each name once")
    weights = parse_similarity(",".join(rest)) if rest else {}
    if not parts:
        return weights, 0.0
    [weight] = parse_similarity("lcc" + parts[0].strip()[len(NAME) :]).values()
    return weights, weight
