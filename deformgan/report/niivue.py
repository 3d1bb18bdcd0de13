"""NiiVue, the viewer of the page: taken when a report is written from the installed package, never kept by us."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from deformgan.io.gzipped import gzipped

PACKAGE = "ipyniivue"
_BUNDLE = "ipyniivue/static/widget.js"
_MADE = re.compile(r'"Creating new Niivue instance"\)[^;]*;.{0,200}?=new ([A-Za-z_$][\w$]*)\(', re.DOTALL)
_NIIVUE_VERSION = re.compile(r'name:"@niivue/niivue",version:"([\w.+-]+)"')


@dataclass(frozen=True)
class Bundle:
    """A JavaScript module, gzipped, that exports the class `Niivue`; and what it is, in words."""

    packed: bytes
    name: str


@lru_cache(maxsize=1)
def installed_niivue() -> Bundle | None:
    """The bundle of the installed package; None where there is none, or one that is built in another way.

    The package's module is a notebook widget, which makes one viewer and keeps it to itself; an export is added, so
    that a page can make its own.
    """
    try:
        text = Path(str(distribution(PACKAGE).locate_file(_BUNDLE))).read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError):
        return None
    made = _MADE.search(text)
    if made is None:
        return None
    module = f"{text}\nexport {{ {made.group(1)} as Niivue }};\n"
    inside = _NIIVUE_VERSION.search(text)
    name = f"NiiVue {inside.group(1) if inside else ''} of {PACKAGE} {version(PACKAGE)}"
    return Bundle(gzipped(module.encode()), " ".join(name.split()))
