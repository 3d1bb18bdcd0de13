"""Pairs of a BIDS dataset, chosen by entities, and the names that BIDS gives to what is made of them; home of pybids.

Names follow BIDS Derivatives as fMRIPrep uses them: `from-T1w_to-CT_mode-image_xfm.h5` brings the T1w image onto the
CT, so it maps points of the CT to points of the T1w image, as ITK's transforms do.
"""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformgan.errors import InputError
from deformgan.io.pairs import PairFiles

DESCRIPTION = "dataset_description.json"
LINK = "raw"  # what derivatives call the dataset that they were made of
IMAGES = (".nii.gz", ".nii")
_NOT_RAW = ("derivatives", "code", "stimuli", "sourcedata", "models")
_SHORT = {"session": "ses", "acquisition": "acq", "reconstruction": "rec", "ceagent": "ce", "direction": "dir"}


@dataclass(frozen=True)
class BidsPair:
    """files: of one pair, all of one person, in the dataset `root`.

    folder, prefix: of the moving image, such as sub-01/ses-1/anat and sub-01_ses-1_acq-3d.  suffix: its own.  fixed,
    moving: what each image is called in from-..._to-...
    """

    root: str
    files: PairFiles
    folder: str
    prefix: str
    fixed: str
    moving: str
    suffix: str

    @property
    def name(self) -> str:
        """Of the pair, unique in the dataset."""
        return f"{self.prefix}_from-{self.moving}_to-{self.fixed}"

    def uri(self, path: str) -> str:
        """A file of the dataset as derivatives name it."""
        return f"bids:{LINK}:{Path(path).relative_to(self.root).as_posix()}"

    @property
    def warped(self) -> str:
        """Name, without its ending, of the moving image on the fixed grid."""
        return f"{self.prefix}_space-{self.fixed}_{self.suffix}"

    @property
    def transform(self) -> str:
        """Name, without its ending, of the transform that brings the moving image onto the fixed one."""
        return f"{self.name}_mode-image_xfm"

    @property
    def inverse(self) -> str:
        """Name, without its ending, of the transform that brings the fixed image onto the moving one."""
        return f"{self.prefix}_from-{self.fixed}_to-{self.moving}_mode-image_xfm"


def is_bids(path: str | os.PathLike[str]) -> bool:
    """Whether a folder says that it is a BIDS dataset."""
    return (Path(path) / DESCRIPTION).is_file()


def entity_filter(text: str) -> dict[str, str]:
    """ "suffix=T1w,session=01" -> its entities by name.  Raises InputError."""
    words = [word.partition("=") for word in text.split(",") if word.strip()]
    if not words or not all(name.strip() and equals and value.strip() for name, equals, value in words):
        raise InputError(f"a filter is written as suffix=T1w or suffix=T1w,session=01; got {text!r}")
    return {name.strip(): value.strip() for name, _, value in words}


def read_bids(
    root: str | os.PathLike[str], fixed: Mapping[str, str], moving: Mapping[str, str]
) -> tuple[list[BidsPair], list[str]]:
    """(pairs, what had to be left out and why): each person's one fixed image with each of the moving ones.

    fixed, moving: entities, by pybids' names, that the images have.  Images of different sessions are paired only where
    a filter names a session.  Raises InputError, also where a person has several fixed images.
    """
    layout = _layout(root)
    by_session = "session" not in fixed and "session" not in moving
    found = [_by_person(_images(layout, chosen, root), by_session) for chosen in (fixed, moving)]
    pairs, left_out = [], []
    for person in sorted(found[0].keys() | found[1].keys()):
        ones = found[0].get(person, [])
        others = [image for image in found[1].get(person, []) if image.path not in {one.path for one in ones}]
        if len(ones) > 1:
            names = ", ".join(Path(one.path).name for one in ones[:3])
            raise InputError(f"{root}: {person} has {len(ones)} fixed images ({names}); narrow --fixed")
        if ones and others:
            pairs += [_pair(ones[0], other, root) for other in others]
        else:
            left_out.append(f"{person}: no {'moving' if ones else 'fixed'} image")
    if not pairs:
        raise InputError(f"{root}: no person has both a fixed and a moving image; look at --fixed and --moving")
    return pairs, left_out


def _layout(root: str | os.PathLike[str]) -> Any:
    try:
        from bids import BIDSLayout, BIDSLayoutIndexer
        from bids.exceptions import BIDSValidationError
    except ImportError as error:
        raise InputError("a BIDS dataset needs pybids; install it by: pip install 'deformgan[bids]'") from error
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=list(_NOT_RAW))
    try:
        return BIDSLayout(str(root), validate=False, indexer=indexer)
    except (BIDSValidationError, ValueError, OSError) as error:
        raise InputError(f"{root}: cannot be read as a BIDS dataset: {' '.join(str(error).split())[:160]}") from error


def _images(layout: Any, chosen: Mapping[str, str], root: str | os.PathLike[str]) -> list[Any]:
    known = layout.get_entities()
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "see pybids for those there are"
            raise InputError(f"{root}: no entity {name!r}; {hint}")
    images: list[Any] = layout.get(**{"extension": list(IMAGES), **chosen})
    return images


def _by_person(images: Sequence[Any], by_session: bool) -> dict[str, list[Any]]:
    people = defaultdict(list)
    for image in images:
        entities = image.get_entities()
        if "subject" in entities:
            session = f" ses-{entities['session']}" if by_session and "session" in entities else ""
            people[f"sub-{entities['subject']}{session}"].append(image)
    return people


def _pair(fixed: Any, moving: Any, root: str | os.PathLike[str]) -> BidsPair:
    path, entities = Path(moving.path), moving.get_entities()
    names = [_called(image.get_entities(), other.get_entities()) for image, other in ((fixed, moving), (moving, fixed))]
    return BidsPair(
        str(Path(root).resolve()),
        PairFiles(str(fixed.path), str(moving.path), subject=str(entities["subject"])),
        folder=path.parent.relative_to(Path(root).resolve()).as_posix(),
        prefix=path.name.split(".")[0].rpartition("_")[0],
        fixed=names[0],
        moving=names[1],
        suffix=str(entities["suffix"]),
    )


def _called(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The suffix, or where both have the same: with the entities that differ, as in ses2T1w."""
    suffix = str(one["suffix"])
    if suffix != other["suffix"]:
        return suffix
    kept = (e for e in one if e not in ("subject", "suffix", "extension", "datatype") and one[e] != other.get(e))
    return "".join(f"{_SHORT.get(e, e)}{one[e]}" for e in kept) + suffix
