"""Where the compiled kernels are kept."""

from __future__ import annotations

from pathlib import Path

COMPILED = "*.nbc"


def cache_folder() -> Path:
    """The folder that numba chose: beside the kernels, else NUMBA_CACHE_DIR, else the user's own cache.

    Raises RuntimeError where none of them can be written; then no kernel can be loaded at all.
    """
    from deformgan.kernels.warp import _resize

    return Path(_resize.stats.cache_path)


def compiled_kernels() -> int:
    """How many lie there; none before the first run."""
    return len(list(cache_folder().glob(COMPILED)))
