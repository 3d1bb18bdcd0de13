"""Two real DICOM series full of names: nothing that is written holds one of them."""

import base64
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

from deformgan.io.geometry import Geometry
from deformgan.registration.options import RegisterOptions
from deformgan.registration.pipeline import register_files

COMMAND = str(Path(sys.executable).with_name("deformgan"))
GRID = Geometry((20, 22, 16), (8.0, 8.0, 11.0), (-76.0, -84.0, -82.0))
SECRET = {
    "0010|0010": "Zyxomma^Petiolatum",
    "0010|0020": "PID7734091",
    "0010|0030": "19310607",
    "0010|1001": "Othername^Quirin",
    "0010|1040": "Wexstreet 17",
    "0010|4000": "Commentary Jxq",
    "0008|0050": "ACC5550123",
    "0008|0080": "Hospital Brunnwald",
    "0008|0081": "Addressplatz 4",
    "0008|0090": "Referrer^Ottokar",
    "0008|1010": "STATION77Q",
    "0008|1030": "Study of Zyxomma",
    "0008|103e": "Series of Zyxomma",
    "0008|1050": "Performer^Ulla",
    "0008|1070": "Operator^Vroni",
    "0020|4000": "Imagecomment Jxq",
    "0020|0010": "STUDYID88",
    "0008|0020": "19990203",
}
WORDS = sorted({word for value in SECRET.values() for word in re.split(r"[\^ ]", value) if len(word) > 5})


def write_series(folder, contrast, uid, modality):
    folder.mkdir(parents=True)
    values = phantoms.image(GRID, contrast).numpy().astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, plane in enumerate(values):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(GRID.spacing)
        tags = {
            **SECRET,
            "0008|0060": modality,
            "0020|000e": uid,
            "0020|000d": f"{uid}.9",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0032": "\\".join(f"{v:g}" for v in GRID.matrix[:3] @ [0, 0, k, 1]),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k + 1),
            "0018|0050": f"{GRID.spacing[2]:g}",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"Zyxomma_{k:03d}.dcm"))
        writer.Execute(image)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    home = tmp_path_factory.mktemp("archive")
    write_series(home / "Zyxomma_CT", phantoms.CT, "1.2.826.0.1.3680043.2.1125.77", "CT")
    write_series(home / "Zyxomma_MR", phantoms.T1, "1.2.826.0.1.3680043.2.1125.78", "MR")
    return home


def found(content, secrets):
    """Those of the secrets that bytes hold: plain, in UTF-16, packed, or in the pictures of a page."""
    pieces = [content]
    if content[:2] == b"\x1f\x8b":
        pieces.append(gzip.decompress(content))
    pieces += [base64.b64decode(code) for code in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content)]
    return {
        word
        for piece in pieces
        for word in secrets
        for kind in ("utf-8", "utf-16-le")
        if word.lower().encode(kind) in piece.lower()
    }


def written(folder, secrets):
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert files
    named = {
        word for p in folder.rglob("*") for word in secrets if word.lower() in p.relative_to(folder).as_posix().lower()
    }
    return named.union(*(found(p.read_bytes(), secrets) for p in files))


def call(folder, *words):
    done = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


def test_the_series_do_hold_the_words(series):
    assert written(series / "Zyxomma_CT", WORDS) == set(WORDS)


def test_a_registration_holds_none(series, tmp_path):
    """Not even in the name of the folder that it makes, nor in a note on a repaired voxel grid."""
    pair = ("--fixed", series / "Zyxomma_CT", "--moving", f"{series / 'Zyxomma_MR'}:1.2.826.0.1.3680043.2.1125.78")
    call(tmp_path, "register", *pair, "--preset", "fast")
    assert [p.name for p in tmp_path.iterdir()] == ["dicom_to_dicom"]
    folder = tmp_path / "dicom_to_dicom"
    assert written(tmp_path, [*WORDS, str(series), "1.2.826"]) == set()
    result = json.loads((folder / "result.json").read_text())
    assert result["fixed"]["path"] == result["moving"]["path"] == "DICOM folder"
    assert result["fixed"]["sha256"] != result["moving"]["sha256"] and len(result["fixed"]["sha256"]) == 64
    pair = ("--image", series / "Zyxomma_MR", "--reference", series / "Zyxomma_CT")
    (tmp_path / "warped").mkdir()
    for name in ("again.nii.gz", "again.nrrd"):
        call(tmp_path, "warp", "--transform", folder / "transform.h5", *pair, "--out", tmp_path / "warped" / name)
    assert written(tmp_path / "warped", WORDS) == set()


def test_the_paths_stand_there_if_asked_for(series, tmp_path):
    pair = str(series / "Zyxomma_CT"), str(series / "Zyxomma_MR")
    found = register_files(*pair, options=RegisterOptions(stage="rigid", preset="fast", search=False))
    found.save(tmp_path / "out", dicom_paths=True)
    assert json.loads((tmp_path / "out" / "result.json").read_text())["fixed"]["path"] == pair[0]
    assert "Zyxomma_MR" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert written(tmp_path, set(WORDS) - {"Zyxomma"}) == set()


def test_prepared_files_hold_none(series, tmp_path, refusal):
    rows = "mr,ct,subject,split\n{0}/Zyxomma_MR,{0}/Zyxomma_CT,{1},train\n"
    (tmp_path / "people.csv").write_text(rows.format(series, ""))
    assert "give one" in refusal("prepare", tmp_path / "people.csv", "--out", tmp_path / "out", "--no-n4")
    (tmp_path / "people.csv").write_text(rows.format(series, "p1"))
    call(tmp_path, "prepare", tmp_path / "people.csv", "--out", tmp_path / "out", "--no-n4")
    assert written(tmp_path / "out", [*WORDS, str(series)]) == set()
