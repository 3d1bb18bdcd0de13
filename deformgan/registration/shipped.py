"""Which trained models come with the package; without torch, for whoever only lists them."""

from __future__ import annotations

from pathlib import Path

from deformgan.io.tensor_files import ENDING

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
AUTO = "auto"  # in place of a name: whichever of those that ship serves the pair best, if any


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.stem for p in SHIPPED.glob(f"*{ENDING}"))
