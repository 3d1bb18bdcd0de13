"""Volumes ready to draw slices from: oriented, windowed, made once and kept on disk as half floats."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deformgan.config import SynthesisDataConfig
from deformgan.errors import InputError
from deformgan.io.array_files import ENDING, is_whole, write_array
from deformgan.io.formats import read_volume
from deformgan.io.found import found_files, stamp
from deformgan.io.geometry import Geometry
from deformgan.io.subjects import SubjectFiles, read_subjects
from deformgan.registration.progress import Progress, Show, silent
from deformgan.synthesis.intensity import window_of
from deformgan.synthesis.orientation import Orientation
from deformgan.training.draws import drawn_splits

FORMAT = "deformgan-slices-1"  # part of every cache key: a change of what is stored makes new files


@dataclass(frozen=True)
class StoredSubject:
    """Arrays (slices, rows, columns) of one person, None where there is none; those there are lie on one grid.

    mr, ct: float16 in [-1, 1].  seen: uint8, 1 where both show something; None = everywhere.
    """

    subject: str
    split: str
    mr: Path | None
    ct: Path | None
    seen: Path | None


def listed(data: SynthesisDataConfig, seed: int) -> list[SubjectFiles]:
    """All files that the configuration names, each with its split.  Raises InputError."""
    if data.manifest is not None:
        if not data.manifest.exists():
            raise InputError(f"{data.manifest}: no such manifest; deformgan prepare writes one (docs/synthesis.md)")
        subjects = read_subjects(data.manifest)
    else:
        subjects = [SubjectFiles(mr=f, subject=f) for f in found_files(data.mr_images)]
        subjects += [SubjectFiles(ct=f, subject=f) for f in found_files(data.ct_images)]
    splits: dict[str, str] = {}
    for kind in ("mr", "ct"):  # a share of either list, where they are apart
        names = [s.subject for s in subjects if not s.split and getattr(s, kind)]
        splits = drawn_splits(names, {"validation": data.validation}, seed) | splits
    found = [s if s.split else replace(s, split=splits[s.subject]) for s in subjects]
    return found if data.people is None else _fewer(found, data.people, seed)


def _fewer(subjects: list[SubjectFiles], people: int, seed: int) -> list[SubjectFiles]:
    """All that do not train, and so many with an MR and so many with a CT of those that do."""
    kept: set[str] = set()
    for kind in ("mr", "ct"):
        names = sorted({s.subject for s in subjects if s.split == "train" and getattr(s, kind)})
        if people > len(names):
            raise InputError(f"data.people is {people}, but {kind.upper()} of {len(names)} people are there to train")
        kept |= {names[k] for k in np.random.default_rng(seed).permutation(len(names))[:people]}
    return [s for s in subjects if s.split != "train" or s.subject in kept]


def store_subjects(data: SynthesisDataConfig, seed: int, show: Show = silent) -> list[StoredSubject]:
    """Those of train and validation, made where the cache lacks them.  Raises InputError for a file of no use."""
    subjects = [s for s in listed(data, seed) if s.split != "test"]
    stored = []
    for done, subject in enumerate(subjects, start=1):
        stored.append(_stored(subject, data))
        show(Progress("prepare", "volumes", done, len(subjects), float("nan")))
    return stored


def _stored(files: SubjectFiles, data: SynthesisDataConfig) -> StoredSubject:
    if files.transform:
        raise InputError(f"{files.ct}: it is to be moved by a transform; run deformgan prepare on the manifest first")
    key = _key(files, data)
    places = {
        kind: data.cache / f"{key}-{kind}{ENDING}" if getattr(files, kind) else None for kind in ("mr", "ct", "mask")
    }
    if not all(is_whole(place) for place in places.values() if place):
        grid: Geometry | None = None
        for kind, place in places.items():
            if place:
                grid = _store(kind, getattr(files, kind), data, place, grid)
    return StoredSubject(files.subject, files.split, places["mr"], places["ct"], places["mask"])


def _store(kind: str, path: str, data: SynthesisDataConfig, place: Path, grid: Geometry | None) -> Geometry:
    """Write one array; the grid of the file, which must be `grid` where one is given."""
    volume = read_volume(path, kind="mask" if kind == "mask" else "image")
    if grid is not None and not volume.geometry.almost_equal(grid, 0.1):
        raise InputError(f"{path}: not on the grid of the MR of this person; run deformgan prepare on the manifest")
    orientation = Orientation.of(volume.geometry, data)
    if kind == "mask":
        array: Tensor = (orientation.seen((volume.tensor > 0).float()) > 0.99).to(torch.uint8)
    else:
        window = window_of("ct" if kind == "ct" else "mr", volume.tensor, data, path)
        array = orientation.seen(window.scaled(volume.tensor)).half()
    write_array(place, array.numpy())
    return volume.geometry


def _key(files: SubjectFiles, data: SynthesisDataConfig) -> str:
    """Of all that the arrays depend on: the files' names, sizes and times, and how they are made."""
    seen = [(f, *stamp(f)) if f else ("",) for f in (files.mr, files.ct, files.mask)]
    how = [data.plane, data.spacing_mm, len(data.shape), data.ct_window, data.mr_window]
    return hashlib.sha256(json.dumps([FORMAT, seen, how]).encode()).hexdigest()[:20]
