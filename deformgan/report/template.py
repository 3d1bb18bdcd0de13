"""The texts that pages are made of, which lie beside this file; all that is put into them is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from markupsafe import Markup


def text_of(name: str) -> Markup:
    """A file as it stands, such as page.css: ours, and so not escaped."""
    return Markup(resources.files("deformgan.report").joinpath(name).read_text(encoding="utf-8"))


def filled(name: str, values: Mapping[str, Any]) -> Markup:
    """A template with its values; one that lacks a value is an error."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return Markup(environment.from_string(text_of(name)).render(values))
