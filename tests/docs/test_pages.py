"""Every command and snippet of README.md and docs/ runs, page by page, as a reader would run them.

A page's blocks (```bash and ```python) run in order in one folder that holds what the pages speak of: data, docs and
configs of a clone, and the files of a patient (conftest.py).  HTML comments, which no reader sees, say more:

    <!-- run: COMMANDS -->          runs at that place
    <!-- not run: REASON -->        the next block does not run; its commands and options still have to exist
    <!-- long: REASON -->           the page runs only with `pytest -m long`, as .ci/run has it
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.main import get_command

from deformgan.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md"))]
PART = re.compile(
    r"^<!-- (?P<word>run|not run|long): (?P<said>.*?) ?-->$|^```(?P<language>\w*)[^\n]*\n(?P<block>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
LANGUAGES = {"bash", "python", "text", "yaml", "csv"}  # of the fences; only the first two are work
UNFENCED = re.compile(r"^    (deformgan|python|pip|accelerate|tools/\w+|import|from) ", re.MULTILINE)
COMMAND = re.compile(r"^deformgan [a-z][^\n]*", re.MULTILINE)
INLINE = re.compile(r"`(deformgan [a-z][^`]*|register [^`]*|warp [^`]*|evaluate [^`]*|segment [^`]*)`")


class Block(NamedTuple):
    language: str
    text: str
    runs: bool


def words_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """What runs, and what does not, in order."""
    found, runs = [], True
    for part in PART.finditer(words_of(page)):
        if part["word"] == "run":
            found.append(Block("bash", part["said"], True))
        elif part["word"]:
            assert part["said"].strip(), f"{page.name}: say why: {part[0]}"
            runs = part["word"] == "long"
        else:
            assert part["language"] in LANGUAGES, f"{page.name}: a fence names one of {LANGUAGES}:\n{part[0]}"
            if part["language"] in ("bash", "python"):
                found.append(Block(part["language"], part["block"], runs))
            runs = True
    return tuple(found)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def case(page: Path):
    return pytest.param(page, id=named(page), marks=pytest.mark.long if "<!-- long: " in words_of(page) else ())


@pytest.fixture
def folder(patient, tmp_path, monkeypatch):
    for name in ("data", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(patient, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [case(page) for page in PAGES if any(block.runs for block in blocks(page))])
def test_runs(page, folder, request, monkeypatch):
    names = {"__name__": "__main__"}
    if "$RESULT" in words_of(page):  # what `register --preset fast` makes of the patient
        monkeypatch.setenv("RESULT", str(request.getfixturevalue("result")))
    for block in blocks(page):
        if block.runs and block.language == "python":
            exec(compile(block.text, named(page), "exec"), names)
        elif block.runs:
            shell(block.text, named(page))


def shell(text: str, where: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{where}:\n{text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_a_command_that_fails_is_told():
    with pytest.raises(AssertionError, match="no such file"):
        shell("true\necho no such file >&2; false\ntrue", "page")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_stand_in_fences(page):
    """Which begin at the margin, where they are looked for."""
    text = words_of(page)
    assert not re.findall(r"^ +```", text, re.MULTILINE)
    assert not UNFENCED.findall(re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_options_exist(page):
    """Of those that do not run, too, and of those within sentences and tables."""
    found = [line for block in blocks(page) for line in COMMAND.findall(block.text.replace("\\\n", " "))]
    found += [f"deformgan {said.removeprefix('deformgan ')}" for said in INLINE.findall(words_of(page))]
    assert not {line: wrong for line in found if (wrong := unknown(line))}


@pytest.mark.parametrize("line", ["deformgan regster", "deformgan register --fixd a", "deformgan transform infos t.h5"])
def test_what_does_not_exist_is_told(line):
    assert unknown(line)


def unknown(line: str) -> set[str]:
    """The words of a command line that name no command or option."""
    command, *rest = shlex.split(line.replace("'", ""), comments=True)[1:]
    known = get_command(app).commands.get(command)
    if known is not None and hasattr(known, "commands") and rest:
        command, known = rest[0], known.commands.get(rest[0])
    if known is None:
        return {command}
    options = {"--help", *(name for p in known.params for name in (*p.opts, *p.secondary_opts))}
    return {word.strip("[],").partition("=")[0] for word in rest if re.match(r"\[?--[a-z]", word)} - options
