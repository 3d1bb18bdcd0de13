"""What MkDocs does to our pages beyond Markdown: formulas become MathML; code and commands come from the source."""

from __future__ import annotations

import ast
import html
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

ROOT = Path(__file__).parents[2]
SHIM = "https://unpkg.com/iframe-worker/shim"  # asked for by the plugin `offline`, of all things
COMMANDS = "<!-- commands -->"
SOURCE = re.compile(r"^( *)<!-- source: (\S+) (\S+) -->$", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """`<!-- source: FILE NAME -->` is the function or class NAME (or CLASS.METHOD) of FILE; COMMANDS the reference."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, commands())
    if page.file.src_uri.startswith("methods/"):
        page.meta["hide"] = ["toc"]  # formula and code need the width
    return SOURCE.sub(lambda m: indent(f'```python title="{m[2]}"\n{source(m[2], m[3])}\n```', m[1]), markdown)


def commands() -> str:
    """What typer says of every command, without its title."""
    ask = [sys.executable, "-m", "typer", "deformgan.cli.main", "utils", "docs", "--name", "deformgan"]
    said = subprocess.run(ask, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return said.split("\n", 1)[1]


def source(file: str, name: str) -> str:
    """The text of a function or class.  Raises LookupError where there is none of that name, which ends the build."""
    text = (ROOT / file).read_text()
    found: Any = ast.parse(text)
    for part in name.split("."):
        found = next((node for node in found.body if getattr(node, "name", "") == part), None)
        if found is None:
            raise LookupError(f"{file} has no {name}")
    lines = text.splitlines()[min(n.lineno for n in (found, *found.decorator_list)) - 1 : found.end_lineno]
    return dedent("\n".join(lines))


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw by themselves, offline."""
    return FORMULA.sub(lambda m: mathml(m[2], display=m[1] == "div"), content)


def mathml(latex: str, *, display: bool) -> str:
    """LaTeX, as it stands in HTML, to a <math> element."""
    from latex2mathml.converter import convert  # here, for the tests do without

    return convert(html.unescape(latex.strip()), display="block" if display else "inline")


def on_post_page(content: str, *, page: Any, **_: Any) -> str:
    """Our own script in place of the only one that a page would fetch from elsewhere."""
    return content.replace(SHIM, "../" * page.url.count("/") + "site/offline.js")


def on_post_template(content: str, *, template_name: str, **_: Any) -> str:
    """The same of the page that a web server shows where there is none."""
    return content.replace(SHIM, "/site/offline.js") if template_name == "404.html" else content
