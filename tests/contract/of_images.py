"""Bad images, masks and labels, in every format."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import nibabel
import numpy as np
from contract.case import GOOD, LABELS, OUT, REF, REGISTERED, Case, grid, register, warp
from contract.images import ENDINGS, ITK, NIFTI, SIZE, Files, Scan, dicom, encode, grey, placed

NAN = float("nan")
HUGE = (30000, 30000, 30000)
SHEAR = np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1.0]])
TURN = np.linalg.qr(np.array([[1.0, 0.3, -0.2], [-0.25, 1.0, 0.4], [0.1, -0.35, 1.0]]))[0]
NOISE = np.random.default_rng(1).bytes(3000)
LETTER = b"This is a letter, not an image.\n" * 100


def spoiled(value: float) -> np.ndarray:
    """A grey image with the value in two voxels."""
    array = grey()
    array[2, 3, 4] = array[5, 5, 5] = value
    return array


def labels() -> np.ndarray:
    array = np.zeros(SIZE, "i2")
    array[3:6, 3:7, 2:6], array[6:8, 2:4, 3:5] = 1, 2
    return array


def column(matrix: np.ndarray, values: object) -> np.ndarray:
    matrix[:3, 2] = values
    return matrix


# What every format can hold: (name, what the file holds, fragments of the answer).
REFUSED: list[tuple[str, Scan, tuple[str, ...]]] = [
    ("no finite voxel", Scan(np.full(SIZE, NAN, "f4")), ("no finite voxel",)),
    ("constant", Scan(np.full(SIZE, 7, "f4")), ("constant (7 everywhere)",)),
    ("one voxel thick", Scan(grey((9, 10, 1), "i2")), ("at least two",)),
    ("2-D", Scan(grey(dtype="i2")[:, :, 0]), ("3-D",)),
    ("4-D", Scan(grey((*SIZE, 3), "i2")), ("--volume K",)),
    ("two axes alike", Scan(matrix=column(placed(), placed()[:3, 1])), ("singular or not finite",)),
    ("an axis of no length", Scan(matrix=column(placed(), 0)), ("not finite",)),
    ("affine not finite", Scan(matrix=column(placed(), NAN)), ("not finite",)),
    ("colours", Scan(np.zeros(SIZE, [("R", "u1"), ("G", "u1"), ("B", "u1")])), ("colour",)),
    ("complex", Scan(grey().astype("c8")), ("complex",)),
]
ACCEPTED: list[tuple[str, Scan, tuple[str, ...]]] = [
    ("some voxels not finite", Scan(spoiled(NAN)), ("warning: ", "2 voxels were not finite")),
    ("infinite voxels", Scan(spoiled(-np.inf)), ("warning: ", "2 voxels were not finite")),
    ("sheared", Scan(matrix=placed(turn=SHEAR)), ("warning: ", "not at right angles")),
    ("negative", Scan(grey(dtype="i2") - np.int16(1000)), ()),
    ("left-handed", Scan(matrix=placed(turn=np.diag([1.0, -1, 1]))), ()),
    ("oblique", Scan(matrix=placed(turn=TURN)), ()),
    ("voxels 20 times as long as wide", Scan(matrix=placed((0.5, 0.5, 10))), ()),
    ("micrometres", Scan(matrix=placed((1e-3, 1e-3, 1e-3))), ()),
    ("beyond float32", Scan(np.where(np.arange(9)[:, None, None] == 4, 1e300, grey(dtype="f8"))), ("warning: ",)),
]


def holds(ending: str, scan: Scan) -> bool:
    """Whether the format can hold such a thing at all."""
    kind, finite = scan.array.dtype, np.isfinite(scan.matrix).all()
    if ending in ITK:
        return kind.kind != "c"
    if ending == ".mgz":
        return kind.kind not in "Vc" and kind.itemsize <= 4 and scan.array.ndim != 2
    sound = (
        finite and abs(np.linalg.det(scan.matrix[:3, :3])) > 0 and not np.array_equal(scan.matrix, placed(turn=SHEAR))
    )
    return ending in NIFTI or (sound and kind.kind in "iu" and scan.array.ndim == 3)


def written(scan: Scan, ending: str) -> Files:
    if ending == ".mgz" and scan.array.dtype.str[1:] == "f8":
        scan = Scan(scan.array.astype("f4"), scan.matrix)
    return encode(scan, ending)


def contents() -> Iterator[Case]:
    for name, scan, says in REFUSED:
        for ending in ENDINGS:
            if holds(ending, scan) and not (name == "4-D" and ending in NIFTI):
                said = ("the series has 1 slice",) if ending == "" and name == "one voxel thick" else says
                yield Case(
                    f"{name} {ending or 'DICOM'}", written(scan, ending), warp(f"a{ending}"), (f"a{ending}", *said)
                )
        yield Case(f"{name}, register", written(scan, ".nii.gz"), register(moving="a.nii.gz"), ("a.nii.gz", *says))
    for k, (name, scan, says) in enumerate(ACCEPTED):
        fitting = [ending for ending in ENDINGS if holds(ending, scan)]
        for ending in sorted({fitting[k % len(fitting)], fitting[(k + 3) % len(fitting)]}):
            yield Case(f"{name} {ending}", written(scan, ending), warp(f"a{ending}"), warns=says, writes=(OUT,))
    series = encode(Scan(grey((*SIZE, 3))), ".nii.gz")
    yield Case("a series is warped volume by volume", series, warp("a.nii.gz"), warns=(), writes=(OUT,))
    sheared = encode(Scan(matrix=placed(turn=SHEAR)), ".mha")
    yield Case("a sheared reference", sheared, grid("a.mha"), warns=("warning: ", "not at right angles"), writes=(OUT,))
    spoilt = encode(Scan(spoiled(NAN)), ".nii.gz")
    says = ("warning: ", "2 voxels were not finite")
    yield Case("register repairs and warns", spoilt, register(moving="a.nii.gz"), warns=says, writes=REGISTERED)


def damaged() -> Iterator[Case]:
    """Files cut off, empty, or something else altogether."""
    for ending in ENDINGS[:-1]:
        files, name = encode(Scan(), ending), f"a{ending}"
        whole = files[name]
        packed = ending.endswith("z")
        for what, data, says in (
            ("empty", b"", "0 bytes"),
            ("half of it", whole[: len(whole) // 2], "" if packed or len(files) > 1 else "promises 2880 bytes"),
            ("its first bytes", whole[:100], ""),
            ("noise", NOISE, "cannot be read as an image"),
            ("a letter", LETTER, "cannot be read as an image"),
        ):
            yield Case(f"{what} {ending}", {**files, name: data}, warp(name), (name, says))
        yield Case(f"empty, its grid {ending}", {**files, name: b""}, grid(name), (name, "0 bytes"))
        if len(files) > 1:
            alone = {name: whole}
            yield Case(f"no voxels beside it {ending}", alone, warp(name), (name, "a.raw, which is not there"))
            short = {**files, "a.raw": files["a.raw"][:900]}
            yield Case(f"voxels cut off {ending}", short, grid(name), (name, "2880 bytes", "the file has 900"))
    yield Case("another ending", {"a.txt": whole}, warp("a.txt"), ("a.txt: unknown ending",))
    yield Case("no file", {}, register(moving="a.nii.gz"), ("a.nii.gz: no such file",))
    crossed = {"a.nii.gz": nibabel.Nifti1Image(grey(), np.eye(4)).to_bytes()}
    yield Case("not packed though its name says so", crossed, warp("a.nii.gz"), ("a.nii.gz", "not a gzip file"))
    torn = bytearray(encode(Scan(), ".nii.gz")["a.nii.gz"])
    torn[-200] ^= 255
    yield Case("a flipped byte in a packed file", {"a.nii.gz": bytes(torn)}, warp("a.nii.gz"), ("a.nii.gz",))


def nifti_headers() -> Iterator[Case]:
    quiet = (256, "<6f", 0, 0, 0, 0, 0, 0)  # a qform that turns nothing
    rows: list[tuple[str, tuple[tuple[object, ...], ...], str]] = [
        ("terabytes", ((40, "<8h", 3, *HUGE, 1, 1, 1, 1),), "promises 108000000000000 bytes"),
        ("a series of terabytes", ((40, "<8h", 4, *HUGE, 3000, 1, 1, 1),), "promises"),
        ("a size below 0", ((40, "<8h", 3, -9, 10, 8, 1, 1, 1, 1),), "size (-9, 10, 8)"),
        ("a size of 0", ((40, "<8h", 3, 0, 10, 8, 1, 1, 1, 1),), "size (0, 10, 8)"),
        ("nine dimensions", ((40, "<h", 9),), "cannot be read"),
        ("another magic", ((344, "4s", b"abcd"),), "cannot be read"),
        ("voxels beyond the end", ((108, "<f", 1e9),), "cannot be read"),
        ("voxels at no place", ((108, "<f", NAN),), "cannot be read"),
        ("voxels before the file", ((108, "<f", -500),), "cannot be read"),
        ("a type that is none", ((70, "<h", 999),), "not recognized"),
        ("float128", ((70, "<hh", 1536, 128),), "a.nii"),
        ("spacing not finite", ((252, "<2h", 1, 0), (80, "<3f", NAN, 2, 3), quiet), "not finite"),
        ("a rotation that is none", ((252, "<2h", 1, 0), (256, "<6f", 5, 5, 5, 0, 0, 0)), "cannot be read"),
        ("vectors of 30000", ((40, "<8h", 5, *SIZE, 1, 30000, 1, 1),), "promises"),
    ]
    for k, (name, words, says) in enumerate(rows):
        ending = NIFTI[k % 2]
        yield Case(f"{name} {ending}", encode(Scan(words=words), ending), warp(f"a{ending}"), (f"a{ending}", says))
    for name, words, repair in (
        ("slope 0", ((112, "<2f", 0, 5),), ()),
        ("slope not finite", ((112, "<2f", NAN, 0),), ()),
        ("an intercept that drowns the values", ((112, "<2f", 1, 1e30),), ("intercept 1e+30", "left out")),
        ("spacing 0", ((252, "<2h", 1, 0), (80, "<3f", 0, 0, 0), quiet), ("should be non-zero",)),
        ("spacing below 0", ((252, "<2h", 1, 0), (80, "<3f", -1, -2, -3), quiet), ("should be positive",)),
        ("qform and sform disagree", ((252, "<2h", 1, 1), (256, "<6f", 0, 0, 0, 9, 9, 9)), ("the sform is used",)),
        ("neither qform nor sform", ((252, "<2h", 0, 0),), ("no orientation",)),
        ("another header size", ((0, "<i", 12345),), ("sizeof_hdr should be 348",)),
    ):
        says = ("warning: a.nii.gz: ", *repair) if repair else ()
        yield Case(name, encode(Scan(words=words), ".nii.gz"), warp("a.nii.gz"), warns=says, writes=(OUT,))


def itk_headers() -> Iterator[Case]:
    meta = [
        ("terabytes", ("DimSize", "30000 30000 30000"), "promises 108000000000000 bytes"),
        ("a size below 0", ("DimSize", "-9 10 8"), "size (-9, 10, 8)"),
        ("a size of 0", ("DimSize", "0 10 8"), "size (0, 10, 8)"),
        ("a size in words", ("DimSize", "nine ten eight"), "whole numbers under DimSize"),
        ("99 dimensions", ("NDims", "99"), "NDims = 99"),
        ("dimensions below 0", ("NDims", "-1"), "NDims = -1"),
        ("a type that is none", ("ElementType", "MET_BANANA"), "MET_BANANA"),
        ("text for bytes", ("BinaryData", "False"), "cut off"),
        ("not packed though it says so", ("CompressedData", "True"), "the file has 0"),
        ("a billion values a voxel", ("ElementNumberOfChannels", "1000000000"), "promises"),
        ("a list of files", ("ElementDataFile", "LIST"), "several files"),
        ("a spacing of 0", ("ElementSpacing", "0 2.5 3"), "singular or not finite"),
        ("a spacing in words", ("ElementSpacing", "x y z"), "singular or not finite"),
        ("a matrix of three", ("TransformMatrix", "1 0 0"), "9 numbers under TransformMatrix"),
        ("voxels beyond the end", ("HeaderSize", "1000000"), "the file has 0"),
        ("a name of a thousand letters", ("Comment", "x" * 1000), "characters under Comment"),
    ]
    nrrd = [
        ("terabytes", ("sizes", "30000 30000 30000"), "promises 108000000000000 bytes"),
        ("terabytes, packed", ("sizes", "30000 30000 30000\nencoding: gzip"), "promises"),
        ("a size below 0", ("sizes", "-9 10 8"), "size (-9, 10, 8)"),
        ("a size in words", ("sizes", "nine"), "whole numbers under sizes"),
        ("99 dimensions", ("dimension", "99"), "dimension 99"),
        ("a type that is none", ("type", "banana"), "banana"),
        ("an encoding that is none", ("encoding", "rot13"), "rot13"),
        ("not packed though it says so", ("encoding", "gzip"), "the file has 0"),
        ("voxels beyond the end", ("byte skip", "100000"), "the file has 0"),
        ("directions not finite", ("space directions", "(nan,nan,nan) (0,1,0) (0,0,1)"), "not finite"),
        ("directions alike", ("space directions", "(1,0,0) (1,0,0) (0,0,1)"), "singular or not finite"),
        ("a space that is none", ("space", "martian"), "martian"),
    ]
    for table, endings in ((meta, (".mha", ".mhd")), (nrrd, (".nrrd", ".nhdr"))):
        for k, (name, word, says) in enumerate(table):
            ending = endings[k % 2]
            files = encode(Scan().with_words(word), ending)
            yield Case(f"{name} {ending}", files, warp(f"a{ending}"), (f"a{ending}", says))


def folders() -> Iterator[Case]:
    """DICOM."""
    whole = dicom(Scan(grey(dtype="i2")))
    third = whole["003.dcm"]
    last = whole["007.dcm"]

    def tag(code: bytes, value: bytes) -> Files:
        return {name: _tagged(data, code, value) for name, data in whole.items()}

    for name, files, says in (
        ("constant", dicom(Scan(np.full(SIZE, 7))), "constant (7 everywhere)"),
        ("an empty folder", {"note.txt": b"no slices"}, "no DICOM series"),
        ("letters for slices", {"000.dcm": LETTER}, "no DICOM series"),
        ("a slice is missing", dicom(Scan(grey(dtype="i2")), gap=3), "1 slices seem to be missing"),
        ("a slice cut off", {**whole, "003.dcm": third[:-50]}, "003.dcm"),
        ("the last slice cut off", {**whole, "007.dcm": last[:300]}, "007.dcm"),
        ("an empty slice", {**whole, "007.dcm": b""}, "007.dcm"),
        ("65535 rows", tag(b"\x28\x00\x10\x00", b"\xff\xff"), "promises"),
        (
            "one slice of 5 rows",
            {**whole, "003.dcm": _tagged(third, b"\x28\x00\x10\x00", b"\x05\x00")},
            "differ in size",
        ),
        (
            "no position",
            {**whole, "003.dcm": third.replace(b"\x20\x00\x32\x00", b"\x21\x00\x32\x00")},
            "Image Position",
        ),
        (
            "no pixel spacing",
            {n: d.replace(b"\x28\x00\x30\x00", b"\x29\x00\x30\x00") for n, d in whole.items()},
            "Spacing",
        ),
    ):
        yield Case(f"DICOM: {name}", {f"a/{n}": d for n, d in files.items()}, warp("a"), ("a", says))


def _tagged(data: bytes, code: bytes, value: bytes) -> bytes:
    """The value of a tag, written over."""
    place = data.index(code) + 8
    return data[:place] + value + data[place + len(value) :]


def labels_and_masks() -> Iterator[Case]:
    judge = ("evaluate", "--fixed-labels", LABELS, "--moving-labels", "a.nii.gz", "-q")
    one = labels()
    for name, array, says in (
        ("fractions", one + 0.5, "whole-number labels"),
        ("not finite", np.where(one == 1, NAN, one), "whole-number labels"),
        ("beyond 32 bits", one * 1e20, "labels up to 2e+20"),
        ("complex", one.astype("c8"), "complex"),
        ("colours", np.zeros(SIZE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour"),
    ):
        yield Case(f"labels: {name}", encode(Scan(array), ".nii.gz"), judge, ("a.nii.gz", says))
    wide = nibabel.Nifti1Image(one.astype("u8") << 63, np.eye(4), dtype="uint64").to_bytes()
    yield Case("labels: beyond 63 bits", {"a.nii.gz": gzip.compress(wide)}, judge, ("a.nii.gz", "labels up to"))
    lost = ("warp", "--transform", IDENTITY_FAR, "--image", LABELS, "--labels", "--reference", REF, "--out", OUT, "-q")
    yield Case("labels: lost", {}, lost, warns=("warning: ", "labels lost", "1, 2"), writes=(OUT,))
    image = ("warp", "--transform", IDENTITY_FAR, "--image", REF, "--reference", REF, "--out", OUT, "-q")
    yield Case("an image that leaves the grid", {}, image, warns=("warning: ", "nothing of the image"), writes=(OUT,))
    far, small = placed(), placed()
    far[:3, 3] += 5000
    small[:3, 3] += 2
    mask = (one > 0).astype("u1")
    for name, scan, says in (
        ("empty", Scan(mask * 0), "a.nii.gz: the mask is empty"),
        ("of grey values", Scan(grey()), "whole-number"),
        ("elsewhere", Scan(mask, far), "the fixed mask is empty on the fixed image's grid"),
    ):
        yield Case(f"mask: {name}", encode(scan, ".nii.gz"), register("--fixed-mask", "a.nii.gz"), (says,))
        where = ("evaluate", "--fixed", REF, "--moving", REF, "--mask", "a.nii.gz", "-q")
        yield Case(
            f"mask of evaluate: {name}", encode(scan, ".nii.gz"), where, ("mask" if name == "elsewhere" else says,)
        )
    other = encode(Scan(np.maximum(mask, 1), small), ".nii.gz")
    says = ("warning: the fixed mask lies on another grid and is resampled",)
    yield Case("mask: on another grid", other, register("--fixed-mask", "a.nii.gz"), warns=says, writes=REGISTERED)
    apart = encode(Scan(matrix=far), ".nii.gz")
    says = ("warning: the headers put the images apart",)
    yield Case("no overlap", apart, register(moving="a.nii.gz"), warns=says, writes=REGISTERED)
    stay = register("--no-search", moving="a.nii.gz")
    yield Case("no overlap, and no search", apart, stay, ("the images hardly meet: 0 %",))


IDENTITY_FAR = f"{GOOD}/far.tfm"


def cases() -> Iterator[Case]:
    yield from contents()
    yield from damaged()
    yield from nifti_headers()
    yield from itk_headers()
    yield from folders()
    yield from labels_and_masks()
