"""The page of a group template: the affine mean beside it, three planes, and how the rounds went."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deformgan.io.formats import read_volume
from deformgan.io.whole_file import whole_file
from deformgan.report.contrast import body_centre, contrast_window
from deformgan.report.html import NONE, number
from deformgan.report.orientation import Orientation, radiological_views
from deformgan.report.template import filled, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deformgan.io.volume import Volume
    from deformgan.report.orientation import View

COLUMNS = (
    ("gradient_energy", "Gradient energy, 1/mm\N{SUPERSCRIPT TWO}", 5),
    ("dice", "Dice of the labels", 3),
    ("mean_shift_mm", "Mean shift, mm", 2),
    ("change_percent", "Change, %", 2),
)
QUALITY = 88


def write_template_report(
    path: str | os.PathLike[str], affine: Path, template: Path, result: Mapping[str, Any]
) -> None:
    """Write the page.  affine, template: the two images, on one grid; result: as in result.json.

    Raises OutputError.
    """
    rounds = result["rounds"]
    known = [column for column in COLUMNS if any(column[0] in one for one in rounds)]
    picture = base64.b64encode(comparison(read_volume(affine), read_volume(template))).decode("ascii")
    text = filled(
        "group_template.html.j2",
        {
            "style": text_of("page.css"),
            "result": result,
            "titles": [title for _, title, _ in known],
            "rows": [
                (
                    one["round"],
                    one["stage"],
                    [number(one[key], digits) if key in one else NONE for key, _, digits in known],
                )
                for one in rounds
            ],
            "first": next(one for one in reversed(rounds) if one["stage"] == "affine"),
            "last": rounds[-1],
            "number": number,
            "picture": picture,
        },
    )
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def comparison(affine: Volume, template: Volume) -> bytes:
    """JPEG: the affine mean above, the template below, on one grid, three planes through the middle, one window."""
    from deformgan.report.panels import canvas, show

    orientation = Orientation.of(template.geometry)
    window = contrast_window(template.numpy())
    images = {"affine": orientation.turn(affine.numpy()), "template": orientation.turn(template.numpy())}
    planes = radiological_views(orientation, images["template"].shape, body_centre(images["template"], window))
    rows = [[replace(plane, name=name) for plane in planes] for name in images]

    def paint(axes: Axes, plane: View) -> None:
        show(axes, plane, window.grey(plane.cut(images[plane.name])))

    stream = io.BytesIO()
    canvas(rows, [paint] * len(planes)).savefig(stream, format="jpg", pil_kwargs={"quality": QUALITY})
    return stream.getvalue()
