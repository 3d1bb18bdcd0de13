"""What our docstrings need to be read as Markdown: examples (>>>) in fences."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^\S.*\n?)*)+", re.MULTILINE)


class Examples(griffe.Extension):
    """Lets mkdocstrings show the examples as code; each runs up to the next blank line."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of every object, when it has been read."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", obj.docstring.value)
