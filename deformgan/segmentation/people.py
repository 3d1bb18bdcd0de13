"""Labelled people ready to draw slices from: their channels and codes, made once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deformgan.config import SegmentationConfig, SegmentationDataConfig
from deformgan.errors import InputError
from deformgan.io.array_files import ENDING, is_whole, map_array, write_array
from deformgan.io.formats import file_hash, read_volume
from deformgan.io.found import stamp
from deformgan.io.subjects import SubjectFiles, read_subjects
from deformgan.registration.progress import Progress, Show, silent
from deformgan.segmentation.channels import channels_of, codes_of, seen_codes, view_of
from deformgan.synthesis.intensity import Kind
from deformgan.synthesis.models import SynthesisModel

FORMAT = "deformgan-segments-1"  # part of every cache key: a change of what is stored makes new files
SAME_MM = 0.1  # grids whose corners are no further apart are one


@dataclass(frozen=True)
class StoredPerson:
    """Arrays of one person's image of one kind, on one grid (slices, rows, columns).

    image: float16 (channels, ...) in [-1, 1].  codes: uint8, 1, 2, ... in the order of the structures.
    """

    subject: str
    split: str
    kind: Kind
    image: Path
    codes: Path


def listed(data: SegmentationDataConfig, seed: int) -> list[SubjectFiles]:
    """Everyone in the manifest, each with a split; with `folds`, the fold's people are its validation.

    Raises InputError.
    """
    if not data.manifest.exists():
        raise InputError(f"{data.manifest}: no such manifest; deformgan prepare writes one (docs/segmentation.md)")
    people = read_subjects(data.manifest)
    if not data.folds:
        return people
    names = sorted({p.subject for p in people if usable(p, data.trained_on)})
    if len(names) < data.folds:
        raise InputError(f"{data.manifest}: {len(names)} labelled people cannot be shared out into {data.folds} folds")
    order = np.random.default_rng(seed).permutation(len(names))
    held_out = {names[k] for k in order[data.fold :: data.folds]}
    return [replace(p, split="validation" if p.subject in held_out else "train") for p in people]


def usable(files: SubjectFiles, kind: Kind) -> bool:
    """Whether there is an image of that kind, with labels."""
    return bool(files.labels and getattr(files, kind))


def store_people(
    config: SegmentationConfig, synthesis: SynthesisModel | None, *, device: str = "cpu", show: Show = silent
) -> list[StoredPerson]:
    """Those of train and validation, made where the cache lacks them.

    Who trains has the kind of image that is trained on; of those held out, every kind that the model takes counts.
    Raises InputError for a file of no use, and for a structure that nobody who trains has.
    """
    data = config.data
    wanted = [
        (files, kind)
        for files in listed(data, config.seed)
        for kind in data.channels
        if usable(files, kind) and (files.split == "validation" or (files.split != "test" and kind == data.trained_on))
    ]
    model_hash = "" if synthesis is None else file_hash(synthesis.name)
    stored = []
    for done, (files, kind) in enumerate(wanted, start=1):
        stored.append(_stored(files, kind, config, synthesis, model_hash, device))
        show(Progress("prepare", "volumes", done, len(wanted), float("nan")))
    _check_structures(config, [p for p in stored if p.split != "validation"])
    return stored


def _stored(
    files: SubjectFiles, kind: Kind, config: SegmentationConfig, synthesis: SynthesisModel | None, model_hash: str,
    device: str,
) -> StoredPerson:  # fmt: skip
    path = getattr(files, kind)
    if files.transform:
        raise InputError(f"{path}: it is to be moved by a transform; run deformgan prepare on the manifest first")
    view = view_of(config, synthesis).model_dump_json(include={"plane", "spacing_mm", "ct_window", "mr_window"})
    seen = [(f, *stamp(f)) for f in (path, files.labels)]
    how = [FORMAT, seen, kind, config.data.channels, view, config.structures, model_hash]
    key = hashlib.sha256(json.dumps(how).encode()).hexdigest()[:20]
    image, codes = (config.data.cache / f"{key}-{name}{ENDING}" for name in ("image", "codes"))
    if not (is_whole(image) and is_whole(codes)):
        volume, labels = read_volume(path), read_volume(files.labels, kind="labels")
        if not volume.geometry.almost_equal(labels.geometry, SAME_MM):
            raise InputError(f"{files.labels}: not on the grid of {path}; run deformgan prepare on the manifest")
        channels, orientation = channels_of(config, synthesis, volume, kind, name=path, device=device)
        write_array(image, channels.half().numpy())
        write_array(codes, seen_codes(codes_of(labels.numpy(), config.structures), orientation).numpy())
    return StoredPerson(files.subject, files.split or "train", kind, image, codes)


def _check_structures(config: SegmentationConfig, train: list[StoredPerson]) -> None:
    data = config.data
    if not train:
        raise InputError(
            f"{data.manifest}: nobody is left to train on; a row needs {data.trained_on} and labels, and `split` train"
        )
    there = set().union(*(np.unique(map_array(p.codes)).tolist() for p in train))
    for code, (name, values) in enumerate(config.structures.items(), start=1):
        if code not in there:
            raise InputError(
                f"structures: {name}: the labels {', '.join(map(str, values))} are in nobody's image who trains "
                f"({len(train)} people of {data.manifest}); see which values their labels have"
            )
