"""Images ready to train on: scaled to [0, 1], affinely aligned, on a working grid; made once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.config import DataConfig
from deformgan.errors import InputError
from deformgan.io.formats import read_volume
from deformgan.io.found import found_files, stamp
from deformgan.io.geometry import Geometry
from deformgan.io.pairs import PairFiles, read_manifest
from deformgan.io.tensor_files import ENDING, read_tensors, write_tensors
from deformgan.io.transform_files import Affine
from deformgan.registration.appearance import Appearance
from deformgan.registration.options import RegisterOptions
from deformgan.registration.pipeline import mask_on, register
from deformgan.registration.progress import Progress, Show, silent
from deformgan.registration.working_grid import on_grid, working_grid
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform
from deformgan.training.draws import drawn_splits

FORMAT = "deformgan-picture-1"  # part of every cache key: a change of what is stored makes new files


@dataclass(frozen=True)
class Picture:
    """One image on a working grid, all (1, 1, Z, Y, X).

    image: in [0, 1].  valid: 1 where it has a value, float.  labels: int64, or None.
    """

    image: Tensor
    valid: Tensor
    labels: Tensor | None = None

    def to_shape(self, shape: Sequence[int], place: Sequence[float]) -> Picture:
        """Cut or padded by nothing to `shape`; place, of each axis in 0..1, says which part is kept."""
        labels = None if self.labels is None else _to_shape(self.labels, shape, place)
        return Picture(_to_shape(self.image, shape, place), _to_shape(self.valid, shape, place), labels)


@dataclass(frozen=True)
class StoredPair:
    """Files of two pictures on one grid.  known: they lie on each other, so a planted warp is the truth."""

    fixed: Path
    moving: Path
    subject: str
    split: str
    known: bool
    name: str

    def load(self) -> tuple[Picture, Picture]:
        """Both pictures."""
        return load_picture(self.fixed), load_picture(self.moving)


def prepare_pairs(data: DataConfig, seed: int, show: Show = silent) -> list[StoredPair]:
    """All pairs that the configuration names, made where the cache lacks them, with their split.

    Raises InputError for a file that cannot be used.
    """
    if data.manifest is not None:
        files = read_manifest(data.manifest)
        pairs = []
        for done, pair in enumerate(files, start=1):
            pairs.append(_pair(pair, data))
            show(Progress("prepare", "pairs", done, len(files), float("nan")))
    else:
        pairs = _all_to_all(data, show) if data.fixed_images else []
    return _split(pairs, data.validation, seed)


def load_picture(path: Path) -> Picture:
    """One picture of the cache."""
    stored, _ = read_tensors(path)
    labels = stored.get("labels")
    return Picture(stored["image"].float(), stored["valid"].float(), None if labels is None else labels.to(torch.int64))


def _pair(files: PairFiles, data: DataConfig) -> StoredPair:
    used = (files.fixed, files.moving, files.fixed_mask, files.moving_mask, files.fixed_labels, files.moving_labels)
    key = _key(data, used)
    places = [data.cache / f"{key}-{side}{ENDING}" for side in ("fixed", "moving")]
    if not all(_whole(p) for p in places):
        fixed, moving = (_appearance(*side) for side in ((used[0], used[2]), (used[1], used[3])))
        matrix = _affine(files.fixed, files.moving) if data.affine else np.eye(4)
        grid = working_grid(fixed.geometry, moving.geometry, matrix, data.spacing_mm)
        _store(places[0], on_grid(fixed, grid), _labels(files.fixed_labels, grid, np.eye(4)))
        _store(places[1], on_grid(moving, grid, matrix), _labels(files.moving_labels, grid, matrix))
    return StoredPair(
        places[0], places[1], files.subject, files.split, data.same_subject, f"{files.fixed} + {files.moving}"
    )


def _all_to_all(data: DataConfig, show: Show) -> list[StoredPair]:
    """Every fixed with every moving image, all aligned to the first fixed one."""
    lists = [found_files(patterns) for patterns in (data.fixed_images, data.moving_images)]
    reference = _appearance(lists[0][0], "")
    grid = working_grid(reference.geometry, reference.geometry, np.eye(4), data.spacing_mm)
    stored: list[dict[str, Path]] = [{}, {}]
    total = sum(len(names) for names in lists)
    for side, names in enumerate(lists):
        for name in names:
            place = data.cache / f"{_key(data, (lists[0][0], name))}-image{ENDING}"
            if not _whole(place):
                matrix = np.eye(4) if name == lists[0][0] or not data.affine else _affine(lists[0][0], name)
                _store(place, on_grid(_appearance(name, ""), grid, matrix), None)
            stored[side][name] = place
            show(Progress("prepare", "images", len(stored[0]) + len(stored[1]), total, float("nan")))
    return [
        StoredPair(a, b, fixed, "", False, f"{fixed} + {moving}")
        for fixed, a in stored[0].items()
        for moving, b in stored[1].items()
        if fixed != moving
    ]


def _split(pairs: list[StoredPair], share: float, seed: int) -> list[StoredPair]:
    """Every pair in train or validation; those without a split go by subject, drawn with the seed."""
    drawn = drawn_splits([p.subject for p in pairs if not p.split], {"validation": share}, seed)
    return [p if p.split else replace(p, split=drawn[p.subject]) for p in pairs]


def _appearance(path: str, mask: str) -> Appearance:
    volume = read_volume(path)
    return Appearance.of(volume, mask_on(mask or None, volume, path), torch.device("cpu"))


def _affine(fixed: str, moving: str) -> NDArray[np.float64]:
    options = RegisterOptions(stage="affine", threads=torch.get_num_threads())  # it sets them for the whole process
    found = register(fixed, moving, options=options)
    affines = [part.matrix for part in found.transform.parts if isinstance(part, Affine)]
    return affines[0] if affines else np.eye(4)


def _labels(path: str, grid: Geometry, matrix: NDArray[np.float64]) -> Tensor | None:
    if not path:
        return None
    labels = read_volume(path, kind="labels")
    moved = resample(labels, Transform((Affine(matrix),)), grid, interpolation="nearest")
    return moved.tensor[None, None].to(torch.int32)


def _store(place: Path, picture: tuple[Tensor, Tensor], labels: Tensor | None) -> None:
    tensors = {"image": picture[0].half(), "valid": picture[1].to(torch.uint8)}
    write_tensors(place, tensors if labels is None else tensors | {"labels": labels}, {"format": FORMAT})


def _whole(place: Path) -> bool:
    try:
        read_tensors(place)
    except InputError:
        return False
    return True


def _key(data: DataConfig, files: Sequence[str]) -> str:
    """Of all that the stored pictures depend on: the files' names, sizes and times, and how they are made."""
    seen = [(f, *stamp(f)) if f else ("",) for f in files]
    text = json.dumps([FORMAT, seen, data.spacing_mm, data.affine])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _to_shape(x: Tensor, shape: Sequence[int], place: Sequence[float]) -> Tensor:
    for axis, (size, share) in enumerate(zip(shape, place, strict=True), start=2):
        spare = x.shape[axis] - size
        if spare > 0:
            x = x.narrow(axis, round(share * spare), size)
        elif spare < 0:
            pads = [0] * (2 * (x.ndim - 1 - axis)) + [-spare // 2, -spare - (-spare // 2)]
            x = torch.nn.functional.pad(x, pads)
    return x
