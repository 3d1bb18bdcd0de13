"""The names and colours of the structures, as ITK-SNAP's label descriptions."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deformgan.io.whole_file import whole_file

GOLDEN = 0.618034  # of the circle of hues: neighbours in the list look unlike each other


def write_label_table(path: Path, structures: Mapping[str, Sequence[int]]) -> None:
    """Index, red, green, blue, opacity, visible, mesh visible, name of each structure; the first value stands for it.

    Raises OutputError.
    """
    lines = ['    0     0    0    0        0  0  0    "Clear Label"']
    for n, (name, values) in enumerate(structures.items()):
        red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(n * GOLDEN % 1, 0.65, 0.95))
        lines.append(f'{values[0]:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{name}"')
    with whole_file(path) as scratch:
        scratch.write_text("\n".join(lines) + "\n", encoding="utf-8")
