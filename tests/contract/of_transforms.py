"""Bad transforms, in every format that `Transform.load` takes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from contract.case import REF, Case, info
from contract.images import SIZE, Files, encode, patched, placed
from contract.images import Scan as Image

from deformgan.io.geometry import Geometry
from deformgan.spatial.transform import Affine, DisplacementField, Transform

GRID = Geometry(SIZE, (2.0, 2.5, 3.0), tuple(placed()[:3, 3]))
MATRIX = np.eye(4)
MATRIX[0, 3] = 2.0
NOT_READ = "cannot read a transform from"
PARAMETERS, FIXED, TYPE = (f"TransformGroup/1/Transform{n}" for n in ("Parameters", "FixedParameters", "Type"))
NEEDS_IMAGES = {"warp.nii.gz": ("--moving", REF), "flirt.mat": ("--from", "fsl", "--fixed", REF, "--moving", REF),
                "niftyreg.txt": ("--from", "niftyreg")}  # fmt: skip


@cache
def sound() -> dict[str, bytes]:
    """A whole file of every format."""
    u = np.zeros((*GRID.shape, 3), np.float32)
    u[..., 0] = np.linspace(-1, 1, SIZE[0])
    field, matrix = Transform((DisplacementField(GRID, u),)), Transform((Affine(MATRIX),))
    wanted: list[tuple[Transform, str, str | None]] = [(field, f"field{e}", None) for e in (".h5", ".nii", ".nii.gz")]
    wanted += [(field, f"field{e}", None) for e in (".mha", ".nrrd", ".x5")]
    wanted += [(field, "warp.nii.gz", "fsl"), (field, "niftyreg.nii.gz", "niftyreg")]
    wanted += [(matrix, f"affine{e}", None) for e in (".h5", ".tfm", ".mat", ".txt", ".lta", ".x5")]
    wanted += [(matrix, "elastix.txt", "elastix"), (matrix, "niftyreg.txt", "niftyreg"), (matrix, "flirt.mat", "fsl")]
    with tempfile.TemporaryDirectory() as folder:
        for transform, name, format in wanted:
            transform.save(Path(folder) / name, format=format, fixed=GRID, moving=GRID)
        return {name: (Path(folder) / name).read_bytes() for _, name, _ in wanted}


def damaged() -> Iterator[Case]:
    for name, whole in sound().items():
        yield Case(f"a sound {name}", {name: whole}, info(name, *NEEDS_IMAGES.get(name, ())), warns=())
        for what, data in (
            ("empty", b""),
            ("half", whole[: len(whole) // 2]),
            ("noise", np.random.default_rng(1).bytes(len(whole))),
            (
                "zeros in its middle",
                whole[: len(whole) // 3] + b"\0" * (len(whole) // 3) + whole[2 * len(whole) // 3 :],
            ),
        ):
            passes = what.startswith("zeros") and name in (
                "field.nii",
                "elastix.txt",
            )  # what is lost there is not asked
            if not passes:
                yield Case(f"{name}: {what}", {name: data}, info(name, *NEEDS_IMAGES.get(name, ())), (name,))


def hdf5(name: str, change: Callable[[Any], None]) -> bytes:
    """A sound file of the name, changed."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / name
        place.write_bytes(sound()[name])
        with h5py.File(place, "a") as file:
            change(file)
        return place.read_bytes()


def instead(path: str, value: Any, **kind: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[path]
        file.create_dataset(path, data=value, **kind)

    return change


def lying(path: str) -> Callable[[Any], None]:
    """Values of terabytes, none of which are there."""

    def change(file: Any) -> None:
        kind = file[path].dtype
        del file[path]
        file.create_dataset(path, shape=(10**13,), dtype=kind, chunks=(1024,))

    return change


def fixed(places: Any, value: float) -> Callable[[Any], None]:
    numbers = np.array([*GRID.size, *GRID.origin, *GRID.spacing, *GRID.direction])
    numbers[places] = value
    return instead(FIXED, numbers)


def of_hdf5() -> Iterator[Case]:
    text = {"dtype": h5py.string_dtype("ascii")}

    def linked(file: Any) -> None:
        file["TransformGroup/2"] = h5py.ExternalLink("other.h5", "/TransformGroup/1")

    def headless(file: Any) -> None:
        del file["TransformGroup/0"]

    rows: list[tuple[str, Callable[[Any], None], str]] = [
        ("terabytes", lying(PARAMETERS), "promises"),
        ("a grid of terabytes", fixed([0, 1, 2], 1e5), "does not fill its grid"),
        ("a size below 0", fixed(0, -9), "does not fill"),
        ("half a voxel", fixed(0, 9.5), "does not fill"),
        ("a spacing of 0", fixed(6, 0), "spacing must be positive"),
        ("a spacing not finite", fixed(6, np.nan), "not finite"),
        ("a direction of 0", fixed([9, 10, 11], 0), "singular"),
        ("too few numbers", instead(PARAMETERS, np.zeros(5)), "does not fill"),
        ("numbers not finite", instead(PARAMETERS, np.full(3 * GRID.shape[0] * 90, np.nan)), "not finite"),
        ("a kind that is none", instead(TYPE, ["Banana_double_3_3"], **text), "a Banana is not supported"),
        ("no kind", instead(TYPE, [], **text), "not as ITK writes them"),
        ("of a plane", instead(TYPE, ["DisplacementFieldTransform_double_2_2"], **text), "2-D"),
        ("a link to another file", linked, "in another place"),
        ("no head", headless, "not as ITK writes them"),
    ]
    for name, change, says in rows:
        yield Case(f"HDF5: {name}", {"t.h5": hdf5("field.h5", change)}, info("t.h5"), ("t.h5", says))
    node = "TransformGroup/0"
    rows = [
        ("terabytes", lying(f"{node}/Transform"), "promises"),
        ("a chain of what is not there", instead("TransformChain/0", "9"), "chain '9'"),
        ("a chain of words", instead("TransformChain/0", "x/y"), "chain 'x/y'"),
        ("a chain of numbers", instead("TransformChain/0", np.zeros(3)), "chain"),
        ("numbers not finite", instead(f"{node}/Transform", np.full((*SIZE, 3), np.nan)), "not finite"),
        ("words for numbers", instead(f"{node}/Transform", "hello"), "not supported"),
        ("another size", instead(f"{node}/Domain/Size", np.array([10**6] * 3)), "not supported"),
        ("a place of three numbers", instead(f"{node}/Domain/Mapping", np.zeros(3)), "where its vectors lie"),
        ("a place that is none", instead(f"{node}/Domain/Mapping", np.zeros((4, 4))), "zero column"),
    ]
    for name, change, says in rows:
        yield Case(f"X5: {name}", {"t.x5": hdf5("field.x5", change)}, info("t.x5"), ("t.x5", says))


def of_text() -> Iterator[Case]:
    def changed(name: str, pattern: str, by: str) -> Files:
        new, count = re.subn(pattern, by, sound()[name].decode(), count=1)
        assert count == 1, (name, pattern)
        return {name: new.encode()}

    grid = f"FixedParameters: {10**5} {10**5} {10**5} 0 0 0 1 1 1 1 0 0 0 1 0 0 0 1\n"
    head = "#Insight Transform File V1.0\n#Transform 0\nTransform: {}_double_3_3\nParameters: 0 0 0\n"

    def itk(kind: str) -> Files:
        return {"t.tfm": (head.format(kind) + grid).encode()}

    def spline(parameters: str = " ".join(["0.5"] * 192), size: str = "4 4 4", spacing: str = "1 1 1") -> Files:
        text = f"""(Transform "BSplineTransform")\n(TransformParameters {parameters})\n(GridSize {size})
(GridSpacing {spacing})\n(GridOrigin 0 0 0)\n(GridIndex 0 0 0)\n(GridDirection 1 0 0 0 1 0 0 0 1)\n"""
        return {"e.txt": text.encode()}

    twice = sound()["affine.tfm"] + sound()["affine.tfm"].split(b"\n", 1)[1]
    itself = (
        b'(Transform "TranslationTransform")\n(TransformParameters 1 2 3)\n(InitialTransformParametersFileName "e.txt")'
    )
    voxels = changed("affine.lta", r"type\s*= 1", "type = 0")["affine.lta"].decode()
    flat = {"affine.lta": re.sub("voxelsize.*", "voxelsize = 0 0 0", voxels).encode()}
    rows: list[tuple[str, Files, str]] = [
        ("numbers not finite", changed("affine.tfm", "Parameters: 1 0", "Parameters: nan 0"), "not finite"),
        ("beyond float64", changed("affine.tfm", "Parameters: 1 0", "Parameters: 1e400 0"), "not finite"),
        ("singular", changed("affine.tfm", "Parameters: 1 0", "Parameters: 0 0"), "singular"),
        ("in words", changed("affine.tfm", "Parameters: 1 0", "Parameters: one 0"), "not numbers"),
        ("too few", changed("affine.tfm", "Parameters: 1 0", "Parameters: 1"), "has 12 parameters, found 11"),
        ("too many", changed("affine.tfm", "Parameters: 1 0", "Parameters: 1 0 0"), "has 12 parameters, found 13"),
        ("of a plane", changed("affine.tfm", "_3_3", "_2_2"), "2-D"),
        ("a kind that is none", changed("affine.tfm", "AffineT", "BananaT"), "a BananaTransform is not supported"),
        ("a B-spline that lies", itk("BSplineTransform"), "fill"),
        ("a field that lies", itk("DisplacementFieldTransform"), "fill"),
        ("two and no composite", {"t.tfm": twice}, "2 transforms"),
        ("elastix: in words", changed("elastix.txt", r"rmParameters \S+", "rmParameters x"), "no numbers"),
        ("elastix: none", changed("elastix.txt", r"\(TransformParameters .*\)", ""), "no numbers"),
        ("elastix: a centre of one", changed("elastix.txt", r"RotationPoint .*\)", "RotationPoint 1)"), "expected 3"),
        ("elastix: no kind", {"e.txt": b"(Transform )\n"}, "names no (Transform"),
        ("elastix: terabytes", spline(size="99999 99999 99999"), "do not fill"),
        ("elastix: below 0", spline(size="-4 -4 4"), "positive"),
        ("elastix: a light year", spline(" ".join(["1e30"] * 96 + ["-1e30"] * 96)), "1e+06 mm"),
        ("elastix: no spacing", spline(spacing="0 1 1"), "spacing must be positive"),
        ("elastix: spacing of two", spline(spacing="1 1"), "expected 3 numbers"),
        ("elastix: names itself", {"e.txt": itself}, "names itself"),
        ("FreeSurfer: none", changed("affine.lta", r"nxforms\s*= 1", "nxforms = -1"), "damaged"),
        ("FreeSurfer: a billion", changed("affine.lta", r"nxforms\s*= 1", "nxforms = 1000000000"), "damaged"),
        ("FreeSurfer: not finite", changed("affine.lta", "1 4 4\n.*", "1 4 4\nnan 0 0 0"), "finite"),
        ("FreeSurfer: flat voxels", flat, "singular"),
        ("sixteen numbers", {"t.mat": b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"}, "do not say whose they are"),
    ]  # fmt: skip
    for name, files, says in rows:
        path = next(iter(files))
        yield Case(f"text: {name}", files, info(path), (path, says))
    five = {"m.txt": b"1 0 0 0 0\n" * 4}
    yield Case("text: five columns", five, info("m.txt", "--from", "greedy"), ("m.txt", "four lines of four"))
    mat = sound()["affine.mat"]
    for name, data, says in (
        ("terabytes", patched(mat, 4, "<2i", 2**30, 2**30), "level 4"),
        ("rows below 0", patched(mat, 4, "<i", -12), "level 4"),
        ("a name of 2 GB", patched(mat, 16, "<i", 2**31 - 1), "level 4"),
        ("no second list", mat[: 20 + 29 + 12 * 8], "a.mat"),
    ):
        yield Case(f"MATLAB: {name}", {"a.mat": data}, info("a.mat"), ("a.mat", says))


def of_vectors() -> Iterator[Case]:
    nan = float("nan")
    rows: list[tuple[str, tuple[Any, ...], str]] = [
        ("terabytes", (40, "<8h", 5, 30000, 30000, 30000, 1, 3, 1, 1), "promises"),
        ("of one value", (40, "<8h", 3, *SIZE, 3, 1, 1, 1), "3 components"),
        ("a size below 0", (40, "<8h", 5, 9, 10, -8, 1, 3, 1, 1), "promises"),
        ("no place", (280, "<12f", *[nan] * 12), "finite"),
        ("flat", (280, "<12f", *[0] * 12), "zero column"),
        ("colours", (70, "<h", 128), "colour"),
        ("beyond the end", (108, "<f", 1e9), "cannot be read"),
        ("not finite", (352 + 400, "<4f", *[nan] * 4), "not finite"),
    ]
    for name, words, says in rows:
        data = patched(sound()["field.nii"], *words)
        for tool in ("itk", "niftyreg") if name == "colours" else ("itk",):
            yield Case(f"vectors: {name}, {tool}", {"t.nii": data}, info("t.nii", "--from", tool), ("t.nii", says))
    unsaid = patched(sound()["field.nii"], 40, "<8h", 4, *SIZE, 3, 1, 1, 1)
    yield Case("vectors: of no tool", {"t.nii": unsaid}, info("t.nii"), ("t.nii", "--from"))
    grey = encode(Image(), ".nrrd")
    yield Case("an image for a transform", grey, info("a.nrrd"), ("a.nrrd", "3 components"))
    yield Case("no transform", {}, info("t.h5"), ("no transform file at t.h5",))


def cases() -> Iterator[Case]:
    yield from damaged()
    yield from of_hdf5()
    yield from of_text()
    yield from of_vectors()
