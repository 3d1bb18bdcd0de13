"""What is kept of every task: one small JSON file, written last, that says what was made of what, or why not.

The notes are the whole memory of a batch.  A result is whole where its files have the sizes that the note says; it is
up to date where options and inputs are those of the note.  An input is the same where name, size and time of change
are, or else where its content is; so the next run over thousands of results reads thousands of notes, and no image.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from deformgan.io.formats import file_hash, source_files
from deformgan.io.recorded import DICOM
from deformgan.io.whole_file import whole_file

FORMAT = "deformgan-batch-1"  # a change of what is written makes everything anew
Standing = Literal["new", "done", "look", "failed"]


@dataclass(frozen=True)
class Source:
    """One input: where it is, bytes and nanoseconds of its last change (of all files of a folder), SHA-256 or "".

    Of a DICOM folder, which often names the patient, the path is not written down, but a hash of it.
    """

    path: str
    size: int
    changed: int
    sha256: str = ""

    @classmethod
    def of(cls, path: str, *, content: bool = False) -> Source:
        """As it is now; a file that is not there has the size -1."""
        try:
            one = os.path.isfile(path)
            stats = [os.stat(path)] if one else [name.stat() for name in source_files(path)]
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return cls(path, -1, 0)
        size, changed = sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
        place = path if one else f"{DICOM} {hashlib.sha256(path.encode()).hexdigest()[:16]}"
        return cls(place, size, changed, file_hash(path) if content else "")

    def like(self, other: Source | None) -> bool:
        """Whether the two are the same by their looks; what is gone cannot have changed."""
        seen = other is not None and self.path == other.path
        return seen and (self.size == -1 or (self.size, self.changed) == (other.size, other.changed))  # type: ignore[union-attr]


@dataclass(frozen=True)
class Note:
    """status: done or failed.  options: their key.  sources: inputs by role.  files: sizes by the path seen from the
    note's folder.  values: measures of a result.  warnings: for people.  reason, trace: of a failure.  suspect: why
    the result may be worse than none.
    """

    name: str
    status: str
    options: str
    sources: Mapping[str, Source]
    files: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reason: str = ""
    trace: str = ""
    suspect: tuple[str, ...] = ()

    def text(self) -> str:
        """As the file has it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Whole or not at all.  Raises OutputError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as scratch:
            scratch.write_text(self.text(), encoding="utf-8")


def read_note(path: Path) -> Note | None:
    """None where there is none, or one that another version wrote."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format", None) != FORMAT:
            return None
        values["sources"] = {role: Source(**source) for role, source in values["sources"].items()}
        values |= {name: tuple(values.get(name, ())) for name in ("warnings", "suspect")}
        return Note(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def options_key(options: Mapping[str, Any]) -> str:
    """Of the settings that a result depends on."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


def standing(note: Note | None, place: Path, options: str, sources: Mapping[str, Source]) -> Standing:
    """What is to be done about a task whose note lies at `place`.

    new: do it.  look: do it if the content of an input is new.  sources: the inputs as they look now.
    """
    if note is None or note.options != options or note.sources.keys() != sources.keys():
        return "new"
    same = all(source.like(note.sources[role]) for role, source in sources.items())
    if note.status == "failed":
        return "failed" if same else "new"
    if not whole(note, place):
        return "new"
    return "done" if same else "look"


def whole(note: Note, place: Path) -> bool:
    """Whether every file is there with its size."""
    try:
        return all((place.parent / name).stat().st_size == size for name, size in note.files.items())
    except OSError:
        return False


def same_content(note: Note, sources: Mapping[str, Source]) -> bool:
    """sources: with their hashes."""
    return all(source.sha256 and source.sha256 == note.sources[role].sha256 for role, source in sources.items())
