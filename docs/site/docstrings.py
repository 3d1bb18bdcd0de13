"""What our docstrings need to be read as Markdown: examples (>>>) in fences, the fields of a class as a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^\S.*\n?)*)+", re.MULTILINE)


class Readable(griffe.Extension):
    """Lets mkdocstrings show both; an example runs up to the next blank line."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of every object, when it has been read."""
        if obj.docstring:
            text = EXAMPLE.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", obj.docstring.value)
            if obj.is_class and obj.attributes:
                field = re.compile(rf"(?:^|(?<=[.;])\s+)({'|'.join(obj.attributes)}): ", re.MULTILINE)
                text = field.sub(lambda m: f"\n\n* `{m[1]}`: ", text)
            obj.docstring.value = text
