"""A page inside a notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Page:
    """A whole HTML page that a notebook shows in a frame, `height` pixels high, apart from its own page."""

    text: str = field(repr=False)
    height: int = 900

    def _repr_html_(self) -> str:
        """What notebooks ask for."""
        style = f"width: 100%; height: {int(self.height)}px; border: 0"
        return f'<iframe srcdoc="{escape(self.text)}" style="{style}"></iframe>'
