"""Files of people -> files to train on: MR without its bias field, CT and labels on its grid, a split by person.

Each person has a folder of its own with a note of what it was made from; what is whole and up to date is left as it is,
so an interrupted run goes on where it stood.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deformgan.cost import Plan, of_preparation
from deformgan.errors import InputError
from deformgan.io.folder_names import check_not_elsewhere, fault_of_folder_name
from deformgan.io.formats import file_hash, read_volume, write_volume
from deformgan.io.grids import read_grid
from deformgan.io.recorded import recorded_name
from deformgan.io.subjects import KINDS, SubjectFiles, read_subjects, write_subjects
from deformgan.io.whole_file import whole_file
from deformgan.io.workplace import HALF, check_space, workplace
from deformgan.registration.progress import Progress, Show, silent
from deformgan.spatial.resample import resample
from deformgan.training.draws import drawn_splits

if TYPE_CHECKING:
    from deformgan.io.volume import Volume
    from deformgan.spatial.transform import Transform

FORMAT = "deformgan-prepared-1"  # part of the note: a change of what is written makes everything anew
MANIFEST, NOTE = "manifest.csv", "prepared.json"
STATUS = "status.csv"  # of a batch over several workers
WRITTEN = ("mr.nii.gz", "ct.nii.gz", "mask.nii.gz", "labels.nii.gz")
AIR = -1024.0  # HU outside the CT's field of view
SAME_MM = 0.1  # grids whose corners are no further apart are one


@dataclass(frozen=True)
class PrepareOptions:
    """n4: correct the bias field of the MR.  validation, test: shares of the people without a split, by the seed."""

    n4: bool = True
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0


Everyone = Callable[[Sequence[SubjectFiles], Path, PrepareOptions], Iterator[SubjectFiles]]


def prepare(
    manifest: str | os.PathLike[str],
    folder: Path,
    options: PrepareOptions,
    *,
    everyone: Everyone | None = None,
    show: Show = silent,
) -> Path:
    """Write FOLDER/SUBJECT/{mr,ct,mask,labels}.nii.gz for all people of a manifest, and FOLDER/manifest.csv; its path.

    All of one person lie on one grid, the MR's if there is one.  mask: where the CT has a value, written only if that
    is not everywhere.  An image in the CT's role that holds no HU keeps its values.  everyone: goes through the people
    in another way than one after the other.  Raises InputError and OutputError for the first file that cannot be used
    or written; the people done until then stay.
    """
    subjects = _with_splits(read_subjects(manifest), options)
    _check_names(subjects, manifest)
    for subject in subjects:
        check_not_elsewhere(folder, subject.subject)
    done: dict[str, SubjectFiles] = {}
    with workplace(folder, alone=True):
        _clear(folder)
        check_space(folder, sum(_bytes(s) for s in subjects if _note(folder / s.subject) is None))
        try:
            for count, result in enumerate((everyone or _one_by_one)(subjects, folder, options), start=1):
                done[result.subject] = result
                show(Progress("prepare", "people", count, len(subjects), float("nan")))
        finally:
            _clear(folder)
        write_subjects(folder / MANIFEST, [done[s.subject] for s in subjects])
    return folder / MANIFEST


def plan(manifest: str | os.PathLike[str], folder: Path, options: PrepareOptions) -> Plan:
    """What `prepare` would do; of the images the headers are read.  Raises what that would raise for them."""
    subjects = _with_splits(read_subjects(manifest), options)
    _check_names(subjects, manifest)
    for subject in subjects:
        check_not_elsewhere(folder, subject.subject)
    homes = {s.subject: folder / s.subject for s in subjects}
    to_make = [s for s in subjects if not (_note(h := homes[s.subject]) and _up_to_date(h, _key(s, options)))]
    check_space(folder, sum(_bytes(s) for s in subjects if _note(homes[s.subject]) is None))
    steps, voxels, corrected = [], 0, 0
    for files in to_make:
        kinds = [kind for kind in KINDS if getattr(files, kind)]
        voxels += sum(math.prod(read_grid(getattr(files, kind)).size) for kind in kinds)
        if files.labels:
            _labelled(files)
        n4 = options.n4 and bool(files.mr)
        corrected += n4
        named = " and ".join([kind.upper() for kind in kinds] + ["labels"] * bool(files.labels))
        steps.append(f"{files.subject} ({files.split}): {'N4 of the MR; ' * n4}{named} on one grid")
    if kept := len(subjects) - len(to_make):
        steps.append(f"keep what is there of {kept} more, whole and up to date")
    return Plan(tuple(steps), of_preparation(voxels, len(to_make), corrected))


def _clear(folder: Path) -> None:
    """Remove what killed processes left half-written; to be called while no other works in the folder."""
    for half in folder.glob(f"*/.*{HALF}"):
        shutil.rmtree(half, ignore_errors=True)


def _bytes(files: SubjectFiles) -> int:
    """What one person's files take at most: two float32 images, mask, int32 labels on the first image's grid."""
    with suppress(InputError):  # whoever reads the image says what is wrong with it
        if Path(first := files.mr or files.ct).is_file():
            return (13 if files.labels else 9) * math.prod(read_grid(first).size)
    return 0


def _one_by_one(subjects: Sequence[SubjectFiles], folder: Path, options: PrepareOptions) -> Iterator[SubjectFiles]:
    yield from (prepare_subject(s, folder, options) for s in subjects)


def prepare_subject(files: SubjectFiles, folder: Path, options: PrepareOptions) -> SubjectFiles:
    """One person's files, made where they are not there yet; where they are."""
    home = folder / files.subject
    home.mkdir(parents=True, exist_ok=True)
    note: dict[str, Any] = {"key": _key(files, options)}
    if old := _up_to_date(home, note["key"]):
        return _prepared(replace(files, labels_on=old["made_from"].get("labels_on", "")), home, old["files"])
    for path in home.glob("*.nii.gz"):  # of another time; a mask may not be written again
        path.unlink()
    files = replace(files, labels_on=_labelled(files)) if files.labels else files
    names, warnings = _write(files, home, options)
    note |= {"files": names, "warnings": warnings}
    made_from = {key: recorded_name(value) for key, value in asdict(files).items()}
    with whole_file(home / NOTE) as scratch:
        scratch.write_text(json.dumps(note | {"made_from": made_from, "options": asdict(options)}, indent=1))
    return _prepared(files, home, names)


def _up_to_date(home: Path, key: str) -> dict[str, Any] | None:
    """The note of a person whose files are all there, and made as `key` says."""
    old = _note(home)
    whole = old and old["key"] == key and all((home / n).exists() for n in old["files"])
    return old if whole else None


def _write(files: SubjectFiles, home: Path, options: PrepareOptions) -> tuple[list[str], list[str]]:
    """Names of the files written, and what is to be said of them."""
    from deformgan.spatial.transform import Transform
    from deformgan.warping.labels import lost_labels

    transform = Transform.load(files.transform) if files.transform else Transform.identity()
    made, hu = _images(files, transform, options)
    warnings: list[str] = []
    grid = (made.get("mr") or made["ct"]).geometry
    if files.labels:
        labels = read_volume(files.labels, kind="labels")
        moved = transform if files.mr and files.labels_on == "ct" else Transform.identity()
        same = not moved.parts and grid.almost_equal(labels.geometry, SAME_MM)  # then a vote would but smooth them
        made["labels"] = resample(labels, moved, grid, interpolation="nearest" if same else "vote")
        if sentence := lost_labels(labels.numpy(), made["labels"].numpy()):
            warnings.append(f"{files.labels}: {sentence.removeprefix('warning: ')}")
    for name, volume in made.items():
        dtype = {"mr": "float32", "ct": "float32", "mask": "uint8", "labels": label_type(volume)}[name]
        if name == "ct" and hu:
            volume, dtype = replace(volume, tensor=volume.tensor.round()), "int16"
        write_volume(volume, home / f"{name}.nii.gz", dtype=dtype)
    return [f"{name}.nii.gz" for name in made], warnings


def _images(files: SubjectFiles, transform: Transform, options: PrepareOptions) -> tuple[dict[str, Volume], bool]:
    """MR, CT and mask, as far as there are such, on one grid; and whether the CT holds HU."""
    from deformgan.io.bias_field import without_bias
    from deformgan.registration.appearance import looks_like_ct

    made: dict[str, Volume] = {}
    hu = False
    if files.mr:
        mr = read_volume(files.mr)
        made["mr"] = without_bias(mr) if options.n4 else mr
    if files.ct:
        made["ct"] = read_volume(files.ct)
        hu = looks_like_ct(made["ct"].tensor)  # before it is cropped: what is left may show no air
    if files.mr and files.ct:
        grid, ct = made["mr"].geometry, made["ct"]
        covered = resample(replace(ct, tensor=ct.tensor.new_ones(ct.tensor.shape)), transform, grid).tensor > 0.5
        if not covered.any():
            raise InputError(f"{files.ct}: it does not overlap {files.mr}; register them and name the transform")
        made["ct"] = resample(ct, transform, grid, outside=AIR if hu else float(ct.tensor.min()))
        if files.mask:
            covered &= read_volume(files.mask, kind="mask").tensor > 0
        if not covered.all():
            made["mask"] = replace(ct, tensor=covered.byte(), geometry=grid)
    return made, hu


def _labelled(files: SubjectFiles) -> str:
    """Which image the labels belong to: what the manifest says, else the one on whose grid they lie."""
    if files.labels_on:
        return files.labels_on
    grid = read_grid(files.labels)
    there = [k for k in KINDS if getattr(files, k) and grid.almost_equal(read_grid(getattr(files, k)), SAME_MM)]
    if not there or (len(there) == 2 and files.transform):
        what = "both images" if there else "neither image"
        raise InputError(f"{files.labels}: on the grid of {what} of {files.subject!r}; say mr or ct in labels_on")
    return there[0]


def label_type(volume: Volume) -> str:
    """The smallest integer type that holds the labels and that every tool reads."""
    low, high = int(volume.tensor.min()), int(volume.tensor.max())
    for name, least, most in (("uint8", 0, 255), ("int16", -32768, 32767)):
        if least <= low and high <= most:
            return name
    return "int32"


def prepared_subject(files: SubjectFiles, folder: Path) -> SubjectFiles:
    """What `prepare_subject` made of someone.  Raises InputError where it is not there."""
    home = folder / files.subject
    note = _note(home)
    if note is None:
        raise InputError(f"{home}: {NOTE} is not there; was someone removing it?")
    return _prepared(replace(files, labels_on=note["made_from"].get("labels_on", "")), home, note["files"])


def warnings_of(folder: Path) -> list[str]:
    """What was said when the files of a prepared folder were made."""
    notes = (_note(home.parent) or {} for home in sorted(folder.glob(f"*/{NOTE}")))
    return [line for note in notes for line in note.get("warnings", ())]


def _prepared(files: SubjectFiles, home: Path, names: Sequence[str]) -> SubjectFiles:
    there = {Path(n).name.split(".")[0]: str((home / n).resolve()) for n in names}
    return SubjectFiles(**there, labels_on=files.labels_on, subject=files.subject, split=files.split)


def _with_splits(subjects: list[SubjectFiles], options: PrepareOptions) -> list[SubjectFiles]:
    shares = {"validation": options.validation, "test": options.test}
    splits = drawn_splits([s.subject for s in subjects if not s.split], shares, options.seed)
    return [s if s.split else replace(s, split=splits[s.subject]) for s in subjects]


def _check_names(subjects: Sequence[SubjectFiles], manifest: str | os.PathLike[str]) -> None:
    """Each names a folder of its own."""
    seen: set[str] = set()
    for name in (s.subject for s in subjects):
        if name.casefold() in seen:
            raise InputError(f"{manifest}: subject {name!r} has two rows; give each image of a person another name")
        if fault := fault_of_folder_name(name) or (name.casefold() in (MANIFEST, STATUS) and "a file has that name"):
            raise InputError(f"{manifest}: subject {name[:80]!r} cannot be the name of a folder: {fault}")
        seen.add(name.casefold())


def _key(files: SubjectFiles, options: PrepareOptions) -> str:
    """Of the content of the files and of how they are treated; names, splits and the seed do not matter."""
    hashes = [file_hash(f) if f else "" for f in (files.mr, files.ct, files.transform, files.mask)]
    if files.labels:
        hashes += [file_hash(files.labels), files.labels_on]
    return hashlib.sha256(json.dumps([FORMAT, hashes, options.n4]).encode()).hexdigest()


def _note(home: Path) -> dict[str, Any] | None:
    try:
        note: Any = json.loads((home / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    sound = isinstance(note, dict) and isinstance(note.get("files"), list) and "key" in note
    return note if sound and all(name in WRITTEN for name in note["files"]) else None
