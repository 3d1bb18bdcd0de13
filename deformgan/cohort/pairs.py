"""From a manifest or a BIDS dataset to the jobs of a batch: files, settings, and where the result goes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from deformgan.cohort.memory import registration_mb
from deformgan.cohort.notes import options_key
from deformgan.errors import InputError
from deformgan.io.bids import BidsPair
from deformgan.io.folder_names import fault_of_folder_name
from deformgan.io.pairs import FILES, PairFiles, read_rows
from deformgan.io.recorded import is_dicom
from deformgan.registration.options import RegisterOptions
from deformgan.registration.outputs import INVERSE, REPORT, RESULT, TRANSFORM, WARPED

PAIRS, NOTE, NAME = "pairs", "pair.json", "name"
SETTINGS = {field.name: str(field.type) for field in fields(RegisterOptions)}
THUMBNAIL = "thumbnail.jpg"
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ASIDE = ("threads", "device")  # settings that a result does not depend on, but for rounding


@dataclass(frozen=True)
class PairJob:
    """One registration of a batch.  folder: of its files, below `out`.  note: in it.  bids: what names the files."""

    name: str
    files: PairFiles
    options: RegisterOptions
    out: str
    folder: str
    note: str = NOTE
    bids: BidsPair | None = None

    @property
    def home(self) -> Path:
        """The folder of its files."""
        return Path(self.out, self.folder)

    @property
    def place(self) -> Path:
        """Of the note."""
        return self.home / self.note

    @property
    def key(self) -> str:
        """Of the settings that the result depends on."""
        return _key(self.options)

    def paths(self) -> dict[str, str]:
        """All inputs by role."""
        paths = {role: getattr(self.files, role) for role in FILES if getattr(self.files, role)}
        return paths | model_paths(self.options.model)

    def file_names(self) -> dict[str, str]:
        """What each file of the result is called, seen from its folder."""
        if self.bids is None:
            return {name: name for name in (WARPED, TRANSFORM, INVERSE, RESULT, REPORT, THUMBNAIL)}
        figures = os.path.relpath(Path(self.bids.folder.split("/")[0], "figures"), self.bids.folder)
        return {
            WARPED: f"{self.bids.warped}.nii.gz",
            TRANSFORM: f"{self.bids.transform}.h5",
            INVERSE: f"{self.bids.inverse}.h5",
            RESULT: f"{self.bids.transform}.json",
            REPORT: f"{figures}/{self.bids.name}_report.html",
            THUMBNAIL: f"{figures}/{self.bids.name}_thumbnail.jpg",
            f"{INVERSE}.json": f"{self.bids.inverse}.json",
            f"{WARPED}.json": f"{self.bids.warped}.json",
        }

    def results(self) -> Sequence[str]:
        """The files that it leaves, seen from its folder."""
        return list(self.file_names().values())

    def memory_mb(self) -> float:
        """What a process may need for it."""
        return registration_mb(self.files.fixed, self.files.moving)

    def on_threads(self, threads: int) -> PairJob:
        """The same on so many threads, where its row does not say how many."""
        return replace(self, options=replace(self.options, threads=self.options.threads or threads))


@lru_cache(256)
def _key(options: RegisterOptions) -> str:
    return options_key({name: value for name, value in asdict(options).items() if name not in _ASIDE})


def model_paths(model: str | None) -> dict[str, str]:
    """The file of a model, in a run's folder or as it is; none for one that ships or that is not there."""
    if not model or not os.path.exists(model):
        return {}
    from deformgan.registration.models import FILE  # brings torch

    return {"model": os.path.join(model, FILE) if os.path.isdir(model) else model}


def settings_from(texts: Mapping[str, str], where: str) -> RegisterOptions:
    """The options that texts such as {"preset": "fast", "max_shift": "30"} mean.  Raises InputError that says where."""
    values = tuple((name, _value(name, text, where)) for name, text in sorted(texts.items()))
    try:
        return _checked(values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


@lru_cache(256)
def _checked(values: tuple[tuple[str, Any], ...]) -> RegisterOptions:
    return RegisterOptions(**dict(values))


def _value(name: str, text: str, where: str) -> Any:
    kind = SETTINGS[name]
    if "None" in kind and text.lower() == "none":
        return None
    try:
        if kind == "bool":
            return _WORDS[text.lower()]
        return float(text) if "float" in kind else int(text) if kind == "int" else text
    except (KeyError, ValueError) as error:
        expected = "true or false" if kind == "bool" else "a number"
        raise InputError(f"{where}: {name} must be {expected}; got {text!r}") from error


def jobs_of_manifest(path: Path, out: Path, defaults: Mapping[str, str]) -> Iterator[PairJob]:
    """A job for every row.  defaults: settings of rows that say nothing else.  Raises InputError for the first mistake.

    A pair's name is its row's name, or else its subject, or else MOVING_to_FIXED; it is its folder in OUT/pairs.
    """
    folder = path.resolve().parent
    for where, files, texts in read_rows(path, (NAME, *SETTINGS)):
        name = texts.pop(NAME, "") or files.subject
        if not name and (is_dicom(files.fixed) or is_dicom(files.moving)):
            raise InputError(
                f"{where}: the name of a DICOM folder may be a patient's; give the pair one in column {NAME}"
            )
        name = name or f"{stem(files.moving)}_to_{stem(files.fixed)}"
        check_name(name, where)
        options = settings_from({**defaults, **_absolute(texts, folder)}, where)
        yield PairJob(name, files, options, str(out), f"{PAIRS}/{name}")


def jobs_of_dataset(pairs: Iterable[BidsPair], out: Path, defaults: Mapping[str, str]) -> Iterator[PairJob]:
    """A job for every pair of a BIDS dataset, its files named as BIDS Derivatives are."""
    options = settings_from(defaults, "--set")
    for pair in pairs:
        yield PairJob(pair.name, pair.files, options, str(out), pair.folder, f".{pair.name}.json", pair)


def check_name(name: str, where: str) -> None:
    """A name is a path below a folder, such as site-1/person-7.  Raises InputError for one that could be elsewhere."""
    for part in name.split("/"):
        if fault := fault_of_folder_name(part):
            raise InputError(
                f"{where}: {name[:80]!r} cannot be the name of a folder: {fault}; give another in column {NAME}"
            )


def distinct(jobs: Iterable[PairJob]) -> list[PairJob]:
    """The jobs; no two may share a name, and none may lie inside another's folder.  Raises InputError."""
    out: list[PairJob] = []
    seen: set[str] = set()
    above: set[str] = set()
    for job in jobs:
        name = job.name.casefold()  # some file systems do not know a from A
        if name in seen:
            raise InputError(f"two pairs are called {job.name}; give each another in column {NAME}")
        out.append(job)
        seen.add(name)
        above.update(name[:i] for i, letter in enumerate(name) if letter == "/")
    if inside := seen & above:
        raise InputError(f"pair {min(inside)} would hold the folder of another; rename one of them in column {NAME}")
    return out


def _absolute(texts: dict[str, str], folder: Path) -> dict[str, str]:
    """A model that is a file beside the manifest is meant so."""
    model = texts.get("model", "")
    return {**texts, "model": str(folder / model)} if model and (folder / model).exists() else texts


def stem(path: str) -> str:
    """The file's name without its endings."""
    name = os.path.basename(path.rstrip("/"))
    return re.sub(r"\.(nii|mha|mhd|nrrd|nhdr|mgz|mgh)(\.gz)?$", "", name, flags=re.IGNORECASE)
