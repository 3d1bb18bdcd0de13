"""elastix's TransformParameters.*.txt: translation, Euler, similarity, affine and B-spline, and their chains.

Points are LPS mm, fixed -> moving.  A file names the transform that is applied before it.  Directions are written
column by column.  Source: elastix 5.0, its manual and the files it writes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.transforms.parts import Affine, DisplacementField, Part
from deformgan.io.transforms.splines import sampled_spline

Settings = dict[str, list[str]]

_LINE = re.compile(r"^\s*\(\s*(\w+)\s+(.*?)\s*\)\s*(?://.*)?$")
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_NAMES_OF_FIRST = ("InitialTransformParametersFileName", "InitialTransformParameterFileName")
_ORDER = "BSplineTransformSplineOrder"


def read_elastix(path: Path) -> tuple[Part, ...]:
    """The transform of a file and those it names, first to be applied first.

    A file named with a folder that is not there is looked for beside `path`.  Raises InputError for another transform,
    another dimension, `Add` in place of `Compose`, and for parameters that are not in the file.
    """
    parts: list[Part] = []
    seen: set[Path] = set()
    here: Path | None = path
    while here is not None:
        if here.resolve() in seen:
            raise InputError(f"{here.name} names itself, or one that names it, as the transform before it")
        seen.add(here.resolve())
        settings = _settings(here)
        parts.insert(0, _part(settings, here.name))
        here = _before(settings, here)
    return tuple(parts)


def write_elastix(matrix: NDArray[np.float64], path: Path, fixed: Geometry) -> None:
    """The (4, 4) of LPS points as an AffineTransform that transformix takes; its result lies on the grid `fixed`."""
    numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
    rows = {
        "Transform": '"AffineTransform"',
        "NumberOfParameters": "12",
        "TransformParameters": _text(numbers),
        "InitialTransformParametersFileName": '"NoInitialTransform"',
        "HowToCombineTransforms": '"Compose"',
        "FixedImageDimension": "3",
        "MovingImageDimension": "3",
        "FixedInternalImagePixelType": '"float"',
        "MovingInternalImagePixelType": '"float"',
        "Size": " ".join(str(n) for n in fixed.size),
        "Index": "0 0 0",
        "Spacing": _text(fixed.spacing),
        "Origin": _text(fixed.origin),
        "Direction": _text(np.reshape(fixed.direction, (3, 3)).T.ravel()),
        "UseDirectionCosines": '"true"',
        "CenterOfRotationPoint": "0 0 0",
        "ResampleInterpolator": '"FinalBSplineInterpolator"',
        "FinalBSplineInterpolationOrder": "1",
        "Resampler": '"DefaultResampler"',
        "DefaultPixelValue": "0",
        "ResultImageFormat": '"nii.gz"',
        "ResultImagePixelType": '"float"',
    }
    path.write_text("".join(f"({name} {value})\n" for name, value in rows.items()), encoding="utf-8")


def _text(numbers: Any) -> str:
    return " ".join(repr(float(v)) for v in numbers)


def _settings(path: Path) -> Settings:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path.name}: {error}") from error
    found = [match for line in lines if (match := _LINE.match(line))]
    settings = {m[1]: [quoted or plain for quoted, plain in _WORD.findall(m[2])] for m in found}
    if not settings.get("Transform"):
        raise InputError(f"{path.name} names no (Transform ...), expected a TransformParameters file of elastix")
    return settings


def _before(settings: Settings, path: Path) -> Path | None:
    """The file of the transform that is applied before this one."""
    name = next((settings[key][0] for key in _NAMES_OF_FIRST if settings.get(key)), "NoInitialTransform")
    if name == "NoInitialTransform":
        return None
    if _word(settings, "HowToCombineTransforms", "Compose") != "Compose":
        raise InputError(f"{path.name} adds its displacement to another's (HowToCombineTransforms Add); use Compose")
    for place in (path.parent / name, Path(name), path.parent / Path(name.replace("\\", "/")).name):
        if place.is_file():
            return place
    raise InputError(f"{path.name} comes after {name}, which is not there; put it beside {path.name}")


def _part(settings: Settings, name: str) -> Part:
    kind = settings["Transform"][0]
    if (dimension := _word(settings, "FixedImageDimension", "3")) != "3":
        raise InputError(f"{name} is {dimension}-D; expected 3-D")
    if _word(settings, "UseBinaryFormatForTransformationParameters", "false") == "true":
        raise InputError(f"{name} keeps its parameters in another file; have elastix write them as text")
    if _word(settings, "UseDirectionCosines", "true") != "true":
        raise InputError(
            f"{name} leaves the images' directions out (UseDirectionCosines false); its points have no place"
        )
    p = _numbers(settings, "TransformParameters", name)
    if kind in ("BSplineTransform", "RecursiveBSplineTransform"):
        return _spline(settings, p, name)
    if kind == "TranslationTransform" and p.size == 3:
        return Affine(_about(np.eye(3), p, np.zeros(3)))
    centre = _numbers(settings, "CenterOfRotationPoint", name, 3)
    if kind == "EulerTransform" and p.size == 6:
        return Affine(_about(_euler(p[:3], _word(settings, "ComputeZYX", "false") == "true"), p[3:], centre))
    if kind == "SimilarityTransform" and p.size == 7:
        return Affine(_about(p[6] * _versor(p[:3]), p[3:6], centre))
    if kind == "AffineTransform" and p.size == 12:
        return Affine(_about(p[:9].reshape(3, 3), p[9:], centre))
    raise InputError(
        f"{name} holds a {kind} of {p.size} parameters, which is not supported; `transformix -def all -tp {name}` "
        "makes a displacement image of it"
    )


def _word(settings: Settings, key: str, usual: str) -> str:
    return next(iter(settings.get(key, ())), usual)


def _numbers(settings: Settings, key: str, name: str, count: int | None = None) -> NDArray[np.float64]:
    """Those under `key`: `count` of them, or any number; all finite."""
    try:
        numbers = np.array(settings[key], dtype=np.float64)
    except (KeyError, ValueError) as error:
        raise InputError(f"{name} has no numbers under {key}") from error
    if not np.isfinite(numbers).all() or numbers.size != (numbers.size if count is None else count):
        raise InputError(f"{name}: expected {count or 'finite'} numbers under {key}, found {settings[key][:4]}")
    return numbers


def _about(linear: NDArray[np.float64], translation: Any, centre: Any) -> NDArray[np.float64]:
    """x -> L (x - c) + c + t."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + translation - linear @ centre
    return matrix


def _euler(angles: NDArray[np.float64], zyx: bool) -> NDArray[np.float64]:
    """Rz Rx Ry, or Rz Ry Rx, of angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turn: NDArray[np.float64] = rz @ ry @ rx if zyx else rz @ rx @ ry
    return turn


def _versor(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation of the unit quaternion (v, sqrt(1 - v v))."""
    w = np.sqrt(max(0.0, 1 - float(v @ v)))
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    turn: NDArray[np.float64] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    return turn


def _spline(settings: Settings, p: NDArray[np.float64], name: str) -> DisplacementField:
    if _word(settings, "UseCyclicTransform", "false") == "true":
        raise InputError(f"{name} is a cyclic B-spline, which is not supported")
    keys = {"GridSize": 3, "GridSpacing": 3, "GridOrigin": 3, "GridIndex": 3, "GridDirection": 9}
    size, spacing, origin, index, direction = (_numbers(settings, key, name, n) for key, n in keys.items())
    if p.size != 3 * size.prod() or (size != np.rint(size)).any():
        raise InputError(f"{name}: {p.size} parameters do not fill a grid of {size.astype(int).tolist()} nodes")
    cosines = direction.reshape(3, 3).T
    start = origin + cosines @ (spacing * index)
    lattice = Geometry(tuple(size.astype(int)), tuple(spacing), tuple(start), tuple(cosines.ravel()))
    coefficients = np.moveaxis(p.reshape(3, *lattice.shape), 0, -1)
    order = int(_numbers(settings, _ORDER, name, 1)[0]) if _ORDER in settings else 3
    return sampled_spline(coefficients, lattice, order=order)
