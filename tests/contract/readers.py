"""Every reader of a user's file as a function of bytes: it returns, or raises a DeformganError, whatever they are."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from contract import of_images, of_models, of_texts, of_transforms
from contract.images import Scan, dicom, grey

from deformgan.config import load_config
from deformgan.errors import DeformganError
from deformgan.evaluation.cases import read_cases
from deformgan.evaluation.cohort import read_rows
from deformgan.io.components import read_components
from deformgan.io.formats import read_volume
from deformgan.io.grids import read_grid
from deformgan.io.headers import read_contents
from deformgan.io.learn2reg_files import read_voxel_displacement
from deformgan.io.meshes import read_mesh
from deformgan.io.pairs import read_manifest
from deformgan.io.points import Landmarks, read_landmarks, write_landmarks
from deformgan.io.series import open_series
from deformgan.io.subjects import read_subjects
from deformgan.registration.models import load_model
from deformgan.spatial.transform import Transform

PAIRS = b'[{"fixed": "a.nii", "moving": "a.nii"}]'
FOUND = Path(__file__).with_name("found")  # inputs that once broke a reader, TARGET-anything
Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Target:
    """The name of the file, what reads it, whole and damaged examples, and what lies beside it."""

    file: str
    reads: tuple[Read, ...]
    seeds: tuple[bytes, ...]
    beside: Mapping[str, bytes] = field(default_factory=dict)

    def refused(self, data: bytes, folder: Path) -> int:
        """How many of the readers refuse the bytes, as they may; anything else that they raise is a finding."""
        path, count = folder / self.file, 0
        path.write_bytes(data)
        for read in self.reads:
            try:
                read(path)
            except DeformganError:
                count += 1
        return count

    def lay(self, folder: Path) -> None:
        """Write what lies beside the file."""
        for name, data in self.beside.items():
            (folder / name).write_bytes(data)


def _volumes(path: Path) -> None:
    for _ in open_series(path).volumes():
        pass


def _image(path: Path) -> None:
    read_volume(path)


def _labels(path: Path) -> None:
    read_volume(path, volume=0, kind="labels")


def _transform(**told: Any) -> Read:
    return lambda path: Transform.load(path, **told)


def _model_of(path: Path) -> None:
    """The bytes are the configuration that a model file carries, with a hash that fits."""
    whole = path.with_name("w.safetensors")
    text = path.read_bytes().decode("utf-8", errors="replace")
    whole.write_bytes(of_models.stored(of_models.weights(), of_models.metadata(config=text)))
    load_model(str(whole)).network()


def _seeds(*endings: str) -> tuple[bytes, ...]:
    """All files of the corpus with these endings, and whole ones."""
    cases = chain.from_iterable(part.cases() for part in (of_images, of_transforms, of_texts, of_models))
    files = [data for case in cases for name, data in case.files.items() if name.endswith(endings)]
    return tuple(sorted({data for data in files if len(data) < 1 << 16}, key=lambda d: (len(d), d)))


def _points(ending: str) -> bytes:
    """A whole file of two landmarks."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"p{ending}"
        write_landmarks(Landmarks(np.array([[1.0, 2.0, 3.0], [-4.5, 0.0, 60.0]]), ("a", "b")), path)
        return path.read_bytes()


@cache
def targets() -> dict[str, Target]:
    """By name."""
    grids: tuple[Read, ...] = (_image, _labels, read_contents, read_grid)
    fsl, niftyreg = _transform(format="fsl", moving=of_transforms.GRID), _transform(format="niftyreg")
    whole = dicom(Scan(grey(dtype="i2")))
    slices = {name: whole[name] for name in ("001.dcm", "002.dcm", "003.dcm")}
    text = (_transform(), _transform(format="elastix"), _transform(format="greedy"))
    vectors = (_transform(), _transform(format="itk"), fsl, niftyreg, read_components)
    return {
        "nifti": Target("a.nii", (*grids, _volumes, read_voxel_displacement), _seeds(".nii")),
        "nifti_packed": Target("a.nii.gz", (*grids, _volumes), _seeds(".nii.gz")),
        "mgh": Target("a.mgz", grids, _seeds(".mgz")),
        "meta": Target("a.mha", (*grids, read_components), _seeds(".mha")),
        "nrrd": Target("a.nrrd", (*grids, read_components), _seeds(".nrrd")),
        "dicom": Target("000.dcm", (lambda path: read_volume(path.parent),), (whole["000.dcm"],), slices),
        "vectors": Target("u.nii", vectors, _seeds(".nii")),
        "vectors_meta": Target("u.mha", (_transform(),), _seeds(".mha")),
        "hdf5": Target("t.h5", (_transform(),), _seeds(".h5")),
        "x5": Target("t.x5", (_transform(), _transform(format="x5")), _seeds(".x5")),
        "text": Target("t.txt", text, _seeds(".txt", ".tfm")),
        "matlab": Target("t.mat", (_transform(format="itk"),), _seeds(".mat")),
        "lta": Target("t.lta", (_transform(),), _seeds(".lta")),
        "manifest": Target("m.csv", (read_manifest, read_subjects, read_cases, read_rows), _seeds(".csv")),
        "manifest_json": Target("m.json", (read_manifest, read_subjects), (PAIRS, *_seeds(".json")), {"a.nii": b""}),
        "yaml": Target("c.yaml", (load_config,), _seeds(".yaml")),
        "landmarks": Target("p.csv", (read_landmarks,), (_points(".csv"), *_seeds(".csv"))),
        "fcsv": Target("p.fcsv", (read_landmarks,), (_points(".fcsv"), *_seeds(".fcsv"))),
        "markups": Target("p.mrk.json", (read_landmarks,), (_points(".mrk.json"), *_seeds(".json"))),
        "vtk": Target("m.vtk", (read_mesh,), (*_seeds(".vtk"), of_texts.VTK.encode())),
        "ply": Target("m.ply", (read_mesh,), (*_seeds(".ply"), of_texts.PLY.encode())),
        "stl": Target("m.stl", (read_mesh,), (*_seeds(".stl"), of_texts.STL, of_texts.BINARY_STL)),
        "gifti": Target("m.gii", (read_mesh,), (*_seeds(".gii"), of_texts.gifti())),
        "weights": Target("w.safetensors", (lambda path: load_model(str(path)),), _seeds(".safetensors")),
        "model": Target("config.json", (_model_of,), (of_models.TINY.model_dump_json().encode(),)),
    }


ODD = (b"\0", b"\xff", b"-1", b"nan", b"1e400", b"9" * 30, b"\n", b"\n\n", b" ", b"=", b"%s", b"\xc3\xa9", b"0")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes: flipped, cut, doubled, overwritten by odd numbers or words."""
    new = bytearray(data or b"\0")
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(min(len(new), 600) if rng.random() < 0.7 else len(new))  # headers come first
        length = rng.randint(1, 16)
        change = rng.randrange(6)
        if change == 0:
            new[place] ^= 1 << rng.randrange(8)
        elif change == 1:
            new[place : place + length] = rng.randbytes(length)
        elif change == 2:
            number = struct.pack(rng.choice("<>") + rng.choice("hifdq"), rng.choice((0, -1, 1, 2, 127, 30000)))
            new[place : place + len(number)] = number
        elif change == 3:
            new[place:place] = rng.choice(ODD)
        elif change == 4:
            del new[place : place + length]
        else:
            new = new[:place] if rng.random() < 0.2 else new + new[place : place + 200]
        new = new or bytearray(b"\0")
    return bytes(new)
