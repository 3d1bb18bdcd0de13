"""Images as bytes, in every format that is read, so that any part of a file can be made wrong."""

from __future__ import annotations

import gzip
import struct
import tempfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from deformgan.io.volume import RAS_LPS

NIFTI, ITK = (".nii", ".nii.gz"), (".mha", ".mhd", ".nrrd", ".nhdr")
ENDINGS = (*NIFTI, ".mgz", *ITK, "")  # "" = a folder of DICOM slices
SIZE = (9, 10, 8)
Files = dict[str, bytes]

_META = {"u1": "UCHAR", "i1": "CHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "i8": "LONG_LONG", "f4": "FLOAT",
         "f8": "DOUBLE"}  # fmt: skip
_NRRD = {"u1": "uint8", "i1": "int8", "i2": "int16", "u2": "uint16", "i4": "int32", "i8": "int64", "f4": "float",
         "f8": "double"}  # fmt: skip


def grey(size: tuple[int, ...] = SIZE, dtype: str = "f4") -> np.ndarray:
    """(X, Y, Z, ...): a smooth blob with a little noise, 0 to 200."""
    rng = np.random.default_rng(3)
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[:3]], indexing="ij")
    blob = 150 * np.exp(-2 * sum((p - 0.1 * k) ** 2 for k, p in enumerate(places)))
    blob = blob.reshape(blob.shape + (1,) * (len(size) - 3))
    return (blob + 50 * rng.random(size)).astype(dtype)


def placed(spacing: tuple[float, float, float] = (2.0, 2.5, 3.0), turn: np.ndarray | None = None) -> np.ndarray:
    """Index -> LPS mm: a grid around the world's origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3) if turn is None else turn) * np.array(spacing)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SIZE) - 1) / 2)
    return matrix


@dataclass(frozen=True)
class Scan:
    """What an image file is to hold: array (X, Y, Z, ...), index -> LPS mm, and words of the header to be replaced.

    words: of MHA and NRRD, by their names there; of NIfTI and MGH (offset in bytes, format of struct, values).
    """

    array: np.ndarray = field(default_factory=grey)
    matrix: np.ndarray = field(default_factory=placed)
    words: tuple[tuple[object, ...], ...] = ()

    def with_words(self, *words: tuple[object, ...]) -> Scan:
        return replace(self, words=words)


def encode(scan: Scan, ending: str, name: str = "a") -> Files:
    """The files of the scan, `name` + `ending` first."""
    if ending in NIFTI:
        return {name + ending: packed(_nifti(scan), ending)}
    if ending == ".mgz":
        return {name + ending: gzip.compress(_mgh(scan), 1)}
    if ending == "":
        return {f"{name}/{slice_}": data for slice_, data in dicom(scan).items()}
    head, body = (_meta if ending.startswith(".m") else _nrrd)(
        scan, f"{name}.raw" if ending[-2:] in ("hd", "dr") else ""
    )
    if ending in (".mhd", ".nhdr"):
        return {name + ending: head, f"{name}.raw": body}
    return {name + ending: head + body}


def packed(data: bytes, ending: str) -> bytes:
    return gzip.compress(data, 1) if ending.endswith("z") else data


def patched(data: bytes, offset: int, form: str, *values: object) -> bytes:
    """The bytes with values written over those at `offset`."""
    new = struct.pack(form, *values)
    return data[:offset] + new + data[offset + len(new) :]


def _nifti(scan: Scan) -> bytes:
    image = nibabel.Nifti1Image(scan.array, None)
    header = image.header
    affine = RAS_LPS @ scan.matrix
    header["sform_code"], header["srow_x"], header["srow_y"], header["srow_z"] = 1, *affine[:3]
    with np.errstate(invalid="ignore"):
        header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    data: bytes = image.to_bytes()
    for word in scan.words:
        data = patched(data, *word)  # type: ignore[arg-type]
    return data


def _mgh(scan: Scan) -> bytes:
    image = nibabel.MGHImage(scan.array, RAS_LPS @ placed())
    data: bytes = image.to_bytes()
    spacing = np.linalg.norm(scan.matrix[:3, :3], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = RAS_LPS[:3, :3] @ scan.matrix[:3, :3] / spacing
    centre = (RAS_LPS @ scan.matrix @ [*(np.array(scan.array.shape[:3]) / 2), 1])[:3]
    data = patched(data, 30, ">15f", *spacing, *cosines.T.ravel(), *centre)
    for word in scan.words:
        data = patched(data, *word)  # type: ignore[arg-type]
    return data


def _axes(scan: Scan) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
    """Values a voxel, dimension, spacing, directions (a row an axis) and origin for ITK's formats."""
    count = len(scan.array.dtype) or 1
    dimension = scan.array.ndim
    matrix = np.eye(max(dimension, 3) + 1)
    matrix[:3, :3], matrix[:3, -1] = scan.matrix[:3, :3], scan.matrix[:3, 3]
    step = matrix[:dimension, :dimension]
    spacing = np.linalg.norm(step, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return count, dimension, spacing, (step / spacing).T, matrix[:dimension, -1]


def _text(values: object) -> str:
    return " ".join(f"{v:.10g}" for v in np.ravel(values))  # type: ignore[call-overload]


def _replaced(words: dict[str, str], scan: Scan) -> dict[str, str]:
    return {**words, **{str(key): str(value) for key, value in scan.words}}


def _meta(scan: Scan, raw: str) -> tuple[bytes, bytes]:
    count, dimension, spacing, axes, origin = _axes(scan)
    kind = scan.array.dtype if count == 1 else scan.array.dtype[0]
    words = {
        "ObjectType": "Image", "NDims": str(dimension), "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": _text(axes), "Offset": _text(origin),
        "ElementSpacing": _text(spacing), "DimSize": _text(scan.array.shape),
        "ElementNumberOfChannels": str(count), "ElementType": "MET_" + _META.get(kind.str[1:], "FLOAT"),
    }  # fmt: skip
    words = {**_replaced(words, scan), "ElementDataFile": dict(scan.words).get("ElementDataFile", raw or "LOCAL")}
    head = "".join(f"{key} = {value}\n" for key, value in words.items())
    return head.encode(), scan.array.tobytes(order="F")


def _nrrd(scan: Scan, raw: str) -> tuple[bytes, bytes]:
    count, dimension, spacing, axes, origin = _axes(scan)
    kind = scan.array.dtype if count == 1 else scan.array.dtype[0]
    along = [f"({','.join(f'{v:.10g}' for v in axis * s)})" for axis, s in zip(axes, spacing, strict=True)]
    words = {
        "type": _NRRD.get(kind.str[1:], "float"), "dimension": str(dimension + (count > 1)),
        "space": "left-posterior-superior" if dimension == 3 else None, "sizes": _text(scan.array.shape),
        "space directions": " ".join(along), "kinds": " ".join(["domain"] * dimension), "endian": "little",
        "encoding": "raw", "space origin": f"({','.join(f'{v:.10g}' for v in origin)})",
    }  # fmt: skip
    if words["space"] is None:
        words = {**words, "space dimension": str(dimension)}
    if count > 1:
        words |= {"sizes": f"{count} {words['sizes']}", "kinds": f"vector {words['kinds']}"}
        words["space directions"] = f"none {words['space directions']}"
    order = ("type", "dimension", "space", "space dimension")
    known = {key: value for key, value in words.items() if value is not None}
    known = {key: known[key] for key in sorted(known, key=lambda k: order.index(k) if k in order else len(order))}
    known = {**_replaced(known, scan), **({"data file": raw} if raw else {})}
    head = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in known.items()) + ("" if raw else "\n")
    return head.encode(), scan.array.tobytes(order="F")


def dicom(scan: Scan, gap: int | None = None) -> Files:
    """A series of axial slices; gap: the number of one that is left out."""
    return dict(_dicom(scan.array.astype("i2").tobytes(), scan.array.shape, tuple(scan.matrix.ravel()), gap))


@cache
def _dicom(
    data: bytes, shape: tuple[int, ...], numbers: tuple[float, ...], gap: int | None
) -> tuple[tuple[str, bytes], ...]:
    array, matrix = np.frombuffer(data, "i2").reshape(shape), np.reshape(numbers, (4, 4))
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = (matrix[:3, :3] / spacing).T
    writer, files = sitk.ImageFileWriter(), []
    writer.KeepOriginalImageUIDOn()
    with tempfile.TemporaryDirectory() as folder:
        for k in range(shape[2]):
            plane = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, k].T))
            plane.SetSpacing(spacing[:2].tolist())
            tags = {
                "0008|0060": "MR", "0008|0018": f"1.2.3.4.{k}", "0020|000d": "1.2.3", "0020|000e": "1.2.3.4",
                "0020|0013": str(k), "0020|0032": "\\".join(f"{v:.6f}" for v in (matrix @ [0, 0, k, 1])[:3]),
                "0020|0037": "\\".join(f"{v:.6f}" for v in axes[:2].ravel()),
            }  # fmt: skip
            for tag, value in tags.items():
                plane.SetMetaData(tag, value)
            place = Path(folder) / f"{k:03d}.dcm"
            writer.SetFileName(str(place))
            writer.Execute(plane)
            if k != gap:
                files.append((place.name, place.read_bytes()))
    return tuple(files)
