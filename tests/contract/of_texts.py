"""Bad manifests, configurations, landmarks and meshes."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from contract.case import IDENTITY, Case
from nibabel.gifti import GiftiDataArray, GiftiImage

NOISE = np.random.default_rng(1).bytes(2000)
DEEP = b"[" * 100000
TOO_LONG = "a" * 300


def manifests() -> Iterator[Case]:
    pairs = ("train", "c.yaml", "--check")
    subjects = ("prepare", "m.csv", "--out", "prepared", "-q", "--no-n4")
    table = ("evaluate", "--pairs", "m.csv", "--out", "o.csv", "-q")
    config = {"c.yaml": b"name: x\ndata: {manifest: m.csv}\n"}
    for name, data, says in (
        ("empty", b"", "m.csv: no"),
        ("noise", NOISE, "UTF-8"),
        ("UTF-16", "fixed,moving\na,b\n".encode("utf-16"), "UTF-8"),
        ("a cell of 200 kB", b"case\n" + b"a" * 200000 + b"\n", "not a CSV table"),
        ("a quote that never ends", b'case\n"' + b"a,\n" * 100000, "not a CSV table"),
        ("unknown columns", b",,\na,b,c\n", "unknown column"),
        ("too many cells", b"case\na,b,c\n", "unknown column"),
    ):
        for words in (pairs, subjects, table):
            yield Case(f"manifest of {words[0]}: {name}", {**config, "m.csv": data}, words, ("m.csv", says))
    for name, data, says in (
        ("no such file", b"mr,ct\na.nii,b.nii\n", "a.nii"),
        ("a name that is too long", f"mr,ct\n{TOO_LONG}.nii,b\n".encode(), "no such file"),
        ("a name that cannot be", b"mr,ct\na\0b.nii,c\n", "no such file"),
        ("neither MR nor CT", b"subject\nx\n", "mr and ct are both empty"),
    ):
        yield Case(f"manifest of prepare: {name}", {"m.csv": data}, subjects, ("m.csv: row 2", says))
    for name, data, says in (
        ("not whole", b'[{"mr":"x"', "m.json:1: not JSON"),
        ("very deep", DEEP, "beyond all use"),
        ("a number without end", b'[{"mr":' + b"9" * 5000 + b"}]", "beyond all use"),
        ("half a letter", b'[{"mr":"\\ud800","ct":"a"}]', "no such file"),
        ("not a list", b"5", "expected a list"),
        ("lists for files", b'[{"mr":[1],"ct":{}}]', "no such file"),
    ):
        words = ("prepare", "m.json", "--out", "prepared", "-q")
        yield Case(f"manifest in JSON: {name}", {"m.json": data}, words, ("m.json", says))
    earlier = {"m.csv": b"case,label,dice\na,all,good\n", "p.csv": b"case,fixed,moving\na,x.nii,y.nii\n"}
    words = ("evaluate", "--pairs", "p.csv", "--compare", "m.csv", "-q")
    yield Case("an earlier table in words", earlier, words, ("m.csv: cannot be read as a table of measures",))


def configurations() -> Iterator[Case]:
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n".encode() for i in range(9)
    )
    random = b"generated: {share: 1}\n"
    for name, data, says in (
        ("empty", b"", "expected keys and values"),
        ("noise", NOISE, "UTF-8"),
        ("a zero byte", b"name: a\0b", "not YAML"),
        ("a billion laughs", bomb, "is missing"),
        ("very deep", DEEP, "beyond all use"),
        (
            "Python to be run",
            b"name: !!python/object/apply:os.system ['touch run']\n",
            "could not determine a constructor",
        ),
        ("two documents", b"name: a\n---\nname: b\n", "another document"),
        ("a list for a key", b"? [a]\n: b\n", "unhashable"),
        ("no such task", b"task: [1]\n", "no such task"),
        ("an unknown key", b"name: x\ngenerated: {shares: 1}\n", "did you mean share?"),
        ("a number without end", b"name: x\nseed: " + b"9" * 5000 + b"\n" + random, "beyond all use"),
        ("infinite", b"name: x\ndata: {spacing_mm: .inf}\n" + random, "less than inf"),
        ("a name that climbs", b"name: ../../x\n" + random, "pattern"),
        ("a manifest that cannot be", b'name: x\ndata: {manifest: "a\\0b"}\n', "cannot be read"),
        ("a manifest that is a folder", b"name: x\ndata: {manifest: .}\n", "Is a directory"),
        ("a pattern of nothing", b"name: x\ndata: {fixed_images: ['no*'], moving_images: ['[']}\n", "no file matches"),
    ):
        words = ("train", "c.yaml", "--check")
        refuses = (says,) if name.startswith(("a manifest", "a pattern")) else ("c.yaml", says)
        yield Case(f"configuration: {name}", {"c.yaml": data}, words, refuses)


def landmarks() -> Iterator[Case]:
    csv, fcsv = b"x_lps,y_lps,z_lps\n", b"# CoordinateSystem = LPS\n"
    point = {"label": "a", "position": [1, 2, 3]}

    def markup(**changes: Any) -> bytes:
        one = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [point]}
        return json.dumps({"markups": [{**one, **changes}]}).encode()

    for ending, name, data, says in (
        (".csv", "empty", b"", "empty"),
        (".csv", "no header", b"1,2,3\n", "expected columns"),
        (".csv", "not finite", csv + b"nan,1,2\n", "not finite"),
        (".csv", "in words", csv + b"a,b,c\n", "three numbers"),
        (".csv", "a comma for a point", b'x_lps;y_lps;z_lps\n"1,5";2;3\n', "decimal point"),
        (".csv", "two of three", csv + b"1,2\n", "2 of 3 columns"),
        (".csv", "noise", NOISE, "UTF-8"),
        (".csv", "a cell of 200 kB", csv + b"9" * 200000 + b",1,2\n", "not a table"),
        (".csv", "of no space", b"x,y,z\n1,2,3\n", "--space LPS"),
        (".fcsv", "of no space", b"1,1,2,3,0,0,0,1,1,1,0,F,,\n", "--space LPS"),
        (".fcsv", "of another space", b"# CoordinateSystem = 9\n1,1,2,3\n", "CoordinateSystem = 9"),
        (".fcsv", "two columns", fcsv + b"1,2\n", "columns"),
        (".mrk.json", "empty", b"", "not JSON"),
        (".mrk.json", "very deep", DEEP, "beyond all use"),
        (".mrk.json", "a number for a markup", b'{"markups":[5]}', "controlPoints"),
        (".mrk.json", "words for points", markup(controlPoints=["x"]), "controlPoints"),
        (".mrk.json", "a number for points", markup(controlPoints=5), "controlPoints"),
        (".mrk.json", "words for a place", markup(controlPoints=[{"position": "abc"}]), "three numbers"),
        (".mrk.json", "nothing for a place", markup(controlPoints=[{"position": [1, 2, None]}]), "three numbers"),
        (".mrk.json", "beyond float64", markup(controlPoints=[{"position": [10**400, 2, 3]}]), "three numbers"),
        (".mrk.json", "of another kind", markup(type=["x"]), "not a set of points"),
    ):
        path = f"p{ending}"
        words = ("warp", "--transform", IDENTITY, "--points", path, "--out", f"o{ending}")
        yield Case(f"landmarks {ending}: {name}", {path: data}, words, (path, says))


VTK = (
    "# vtk DataFile Version 3.0\nt\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n0 0 0 1 0 0 0 1 0\nPOLYGONS 1 4\n3 0 1 2\n"
)
PLY = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nelement face 1\n"
    "property list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)
CORNERS = b"vertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\n"
STL = b"solid a\nfacet normal 0 0 1\nouter loop\n" + CORNERS + b"endloop\nendfacet\nendsolid a\n"
BINARY_STL = b"\0" * 80 + struct.pack("<I", 1) + struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)


@cache
def gifti(points: tuple[tuple[float, ...], ...] = ((0, 0, 0), (1, 0, 0), (0, 1, 0))) -> bytes:
    surface = [GiftiDataArray(np.array(points, np.float32), intent=1008)]
    data: bytes = GiftiImage(
        darrays=[*surface, GiftiDataArray(np.array([[0, 1, 2]], np.int32), intent=1009)]
    ).to_bytes()
    return data


def meshes() -> Iterator[Case]:
    g = gifti()
    rows: list[tuple[str, str, bytes | str, str]] = [
        (".vtk", "empty", "", "ends too early"),
        (".vtk", "half", VTK[:60], "damaged"),
        (".vtk", "terabytes", VTK.replace("POINTS 3", "POINTS 3000000000000"), "ends too early"),
        (
            ".vtk",
            "terabytes of bytes",
            VTK.replace("ASCII", "BINARY").replace("S 3 ", "S 300000000000 "),
            "ends too early",
        ),
        (".vtk", "below 0", VTK.replace("POINTS 3", "POINTS -3"), "damaged"),
        (".vtk", "not finite", VTK.replace("0 0 0 1", "nan 0 0 1"), "not finite"),
        (".vtk", "in words", VTK.replace("0 0 0 1", "a 0 0 1"), "damaged"),
        (".vtk", "of no version", VTK.replace("3.0", "..."), "damaged"),
        (".vtk", "a grid", VTK.replace("POLYDATA", "UNSTRUCTURED_GRID"), "expected DATASET POLYDATA"),
        (".vtk", "noise", NOISE, "expected a legacy VTK"),
        (".ply", "empty", "", "expected a PLY"),
        (".ply", "terabytes", PLY.replace("vertex 3", "vertex 3000000000000"), "ends amid"),
        (".ply", "a count in words", PLY.replace("vertex 3", "vertex x"), "damaged"),
        (".ply", "no count", PLY.replace("vertex 3", "vertex"), "damaged"),
        (".ply", "in words", PLY.replace("0 0 0\n", "a 0 0\n"), "damaged"),
        (".ply", "x twice", PLY.replace("property float z", "property float z\nproperty float x"), "damaged"),
        (".ply", "of no format", PLY.replace("format ascii 1.0", "format"), "expected a format"),
        (".stl", "empty", "", "neither"),
        (".stl", "in words", STL.replace(b"vertex 0 0 0", b"vertex a b c"), "damaged"),
        (".stl", "cut off", BINARY_STL[:-9], "neither"),
        (".stl", "terabytes", BINARY_STL[:80] + struct.pack("<I", 2**32 - 1) + BINARY_STL[84:], "neither"),
        (".stl", "not finite", BINARY_STL[:96] + struct.pack("<f", float("nan")) + BINARY_STL[100:], "not finite"),
        (".gii", "empty", "", "GIFTI"),
        (".gii", "half", g[: len(g) // 2], "GIFTI"),
        (".gii", "terabytes", g.replace(b'Dim0="3"', b'Dim0="3000000000"'), "GIFTI"),
        (".gii", "a type that is none", g.replace(b"NIFTI_TYPE_FLOAT32", b"X"), "GIFTI"),
        (".gii", "an encoding that is none", g.replace(b"GZipBase64Binary", b"Banana"), "GIFTI"),
        (".gii", "not packed though it says so", re.sub(rb"<Data>[^<]{4}", b"<Data>!!!!", g), "GIFTI"),
        (".gii", "no data", re.sub(rb"<Data>[^<]*</Data>", b"", g), "points"),
        (".gii", "of two coordinates", gifti(((0, 0), (1, 0), (0, 1))), "three coordinates"),
        (".gii", "another surface", b"<a/>", "found 0"),
    ]
    for ending, name, data, says in rows:
        path = f"m{ending}"
        words = ("warp", "--transform", IDENTITY, "--mesh", path, "--out", f"o{ending}")
        content = data.encode() if isinstance(data, str) else data
        yield Case(f"mesh {ending}: {name}", {path: content}, words, (path, says))


def cases() -> Iterator[Case]:
    yield from manifests()
    yield from configurations()
    yield from landmarks()
    yield from meshes()
