"""What a shell offers for the value of an option; nothing here may load torch: it is asked at every press of a key."""

from __future__ import annotations

from collections.abc import Iterable


def presets(incomplete: str) -> list[str]:
    """Of register."""
    from deformgan.registration.options import PRESETS

    return _beginning(PRESETS, incomplete)


def engines(incomplete: str) -> list[str]:
    """Of the affine stage."""
    from deformgan.registration.options import ENGINES

    return _beginning(ENGINES, incomplete)


def similarities(incomplete: str) -> list[str]:
    """Names, after a comma too: lg=1,g -> lg=1,gc."""
    from deformgan.similarity.names import NAMES

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(NAMES, last)]


def shipped(incomplete: str) -> list[str]:
    """Models that come with the package."""
    from deformgan.registration.shipped import shipped_models

    return _beginning(shipped_models(), incomplete)


def models(incomplete: str) -> list[str]:
    """Those that ship, and auto."""
    from deformgan.registration.shipped import AUTO, shipped_models

    return _beginning((*shipped_models(), AUTO), incomplete)


def methods(incomplete: str) -> list[str]:
    """Of register."""
    return _beginning(("direct", "gan"), incomplete)


def devices(incomplete: str) -> list[str]:
    """What torch calls the usual ones."""
    return _beginning(("cpu", "cuda", "mps"), incomplete)


def modalities(incomplete: str) -> list[str]:
    """Of segment and cross-validate."""
    return _beginning(("mr", "ct"), incomplete)


def interpolations(incomplete: str) -> list[str]:
    """Of warp."""
    return _beginning(("linear", "cubic", "lanczos", "nearest", "vote"), incomplete)


def reorientations(incomplete: str) -> list[str]:
    """Of warped vectors and tensors."""
    return _beginning(("rotation", "ppd", "jacobian", "none"), incomplete)


def frames(incomplete: str) -> list[str]:
    """Of the components of vectors."""
    return _beginning(("lps", "ras", "voxel"), incomplete)


def protocols(incomplete: str) -> list[str]:
    """Of evaluate."""
    return _beginning(("physical", "learn2reg"), incomplete)


def splits(incomplete: str) -> list[str]:
    """Of a manifest."""
    from deformgan.io.subjects import SPLITS

    return _beginning((*SPLITS, "all"), incomplete)


def spaces(incomplete: str) -> list[str]:
    """Of points."""
    return _beginning(("LPS", "RAS"), incomplete)


def formats(incomplete: str) -> list[str]:
    """Of transform files."""
    from deformgan.io.transform_files import FORMATS

    return _beginning(FORMATS, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
