"""The CT of one MR, from file to file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deformgan.io.formats import read_volume, write_volume
from deformgan.io.workplace import check_space
from deformgan.registration.progress import Show, silent
from deformgan.synthesis.translate import translate, unsaid

if TYPE_CHECKING:
    from deformgan.synthesis.models import SynthesisModel


def synthesize_file(
    model: SynthesisModel,
    source: str,
    ct: Path,
    mask: Path | None = None,
    *,
    volume: int | None = None,
    device: str = "cpu",
    show: Show = silent,
) -> tuple[str, ...]:
    """Write the CT that the model makes of an MR; what was repaired in the MR, or looked odd.

    mask: where to write `unsaid`.  volume: of a 4-D file.  A model without HU writes percent.  Raises InputError and
    OutputError.
    """
    mr = read_volume(source, volume=volume)
    check_space(ct, 3 * mr.tensor.numel())  # int16, and a byte for the mask
    made = translate(model, mr, name=source, device=device, show=show)
    if model.config.data.ct_window is None:  # percent, not HU
        write_volume(made, ct)
    else:
        write_volume(replace(made, tensor=made.tensor.round()), ct, dtype="int16")
    if mask:
        write_volume(unsaid(model, mr, made, source), mask)
    return mr.notes
