"""The page of a study: a single HTML file that asks nothing of the network."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from deformgan.io.whole_file import whole_file


@dataclass(frozen=True)
class Table:
    """titles: of the columns; rows: of text, the first column naming the row."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """title, one sentence, and the file: PNG or JPEG."""

    title: str
    text: str
    data: bytes

    @property
    def uri(self) -> str:
        """The file as a data URI."""
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64," + base64.b64encode(self.data).decode("ascii")


@dataclass(frozen=True)
class StudyPage:
    """What the page holds, in its order.  facts, settings: name -> text.  tests: by the measure's title."""

    name: str
    facts: Mapping[str, str]
    table: Table
    boxes: Picture
    tests: Mapping[str, Table]
    maps: Sequence[Picture] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


def write_study(path: str | os.PathLike[str], page: StudyPage) -> None:
    """Write the page; it appears whole or not at all.  Raises OutputError."""
    text = study_html(page)
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def study_html(page: StudyPage) -> str:
    """The page's text; every word of it is escaped."""
    from jinja2 import Environment, StrictUndefined

    template = resources.files("deformgan.report").joinpath("study.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(page=page)
