"""Names from manifests stay inside the output; names of files and texts of headers stay text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import phantoms
import pytest

from deformgan.errors import InputError
from deformgan.io.folder_names import fault_of_folder_name
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry

COMMAND = str(Path(sys.executable).with_name("deformgan"))
SMALL = Geometry((14, 16, 12), (11.0, 11.0, 14.0), (-75.0, -80.0, -80.0))
ESCAPES = [
    *("../out", "..", ".", "/etc/x", "a/b", "a\\b", "C:evil", "a\nb", "a\x1b[2J", "a\x00b", ".hidden", "", " "),
    *("CON", "nul.txt", "lpt1", "ends.", "ends ", "=cmd()", "@sum", "+1", "-rf", "x" * 101, "\u202egnp"),
]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    write_volume(phantoms.image(SMALL, phantoms.T1), folder / "mr.nii.gz")
    return folder


def manifest(people, *subjects):
    path = people / "people.json"
    path.write_text(json.dumps([{"mr": "mr.nii.gz", "subject": name, "split": "train"} for name in subjects]))
    return path


@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_of_a_manifest_leads_out_of_the_output(people, tmp_path, refusal, name):
    out = tmp_path / "inner" / "out"
    assert fault_of_folder_name(name)
    if name.strip() == name and name:  # an empty cell is the file's own name, and cells are stripped
        assert "cannot be the name of a folder" in refusal("prepare", manifest(people, name), "--out", out, "--no-n4")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_names_that_one_file_system_in_three_takes_for_one(people, tmp_path, refusal):
    assert "two rows" in refusal("prepare", manifest(people, "Anna", "anna"), "--out", tmp_path / "out", "--no-n4")
    words = ("prepare", manifest(people, "manifest.csv"), "--out", tmp_path / "out", "--no-n4")
    assert "a file has that name" in refusal(*words)


def test_plain_names_are_taken():
    assert [fault_of_folder_name(n) for n in ("a", "sub-01", "Müller 3", "STS_001.v2", "名前", "console")] == [None] * 6


def test_a_link_in_the_output_is_not_followed(people, tmp_path, refusal):
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (elsewhere / "precious.nii.gz").write_text("kept")
    (out / "anna").symlink_to(elsewhere)
    assert "leads out of" in refusal("prepare", manifest(people, "anna"), "--out", out, "--no-n4")
    assert [p.name for p in elsewhere.iterdir()] == ["precious.nii.gz"]


def test_a_link_among_the_files_is_replaced_not_written_through(tmp_path):
    precious = tmp_path / "precious.nii.gz"
    precious.write_text("kept")
    (tmp_path / "out.nii.gz").symlink_to(precious)
    write_volume(phantoms.image(SMALL, phantoms.T1), tmp_path / "out.nii.gz")
    assert precious.read_text() == "kept" and not (tmp_path / "out.nii.gz").is_symlink()


def test_a_note_of_another_kind_is_not_believed(people, tmp_path):
    from deformgan.synthesis.prepare import NOTE, PrepareOptions, prepare

    options = PrepareOptions(n4=False)
    prepare(manifest(people, "anna"), tmp_path / "out", options)
    note = tmp_path / "out" / "anna" / NOTE
    true = json.loads(note.read_text())
    for lie in ([], {"key": true["key"]}, {**true, "files": ["../../precious.nii.gz"]}):
        note.write_text(json.dumps(lie))
        prepare(manifest(people, "anna"), tmp_path / "out", options)
        assert json.loads(note.read_text())["files"] == ["mr.nii.gz"]


def test_a_message_is_one_line_without_control_characters(tmp_path, refusal):
    line = refusal("register", "--fixed", "no\n\x1b[31msuch\x07.nii", "--moving", "x", "--out", tmp_path / "out")
    assert line.isprintable() and r"no\n\x1b[31msuch\x07.nii" in line
    assert str(InputError("a\nb")) == r"a\nb"


def test_the_report_of_hostile_files_is_text(tmp_path):
    """Tags in the name of a file, in its header, and a name that is no Unicode."""
    image = phantoms.image(SMALL, phantoms.T1).to_nibabel()
    image.header["descrip"] = b"<script>alert(1)</script>"
    image.header["aux_file"] = b"<img src=//x.org>"
    evil = "<img src=x onerror=alert(1)>&\"'{{7*7}}"
    nibabel.save(image, tmp_path / "plain.nii")
    os.rename(tmp_path / "plain.nii", tmp_path / f"{evil}.nii")
    other = os.fsencode(tmp_path) + b"/caf\xe9.nii"
    write_volume(phantoms.image(SMALL, phantoms.T2), tmp_path / "other.nii")
    os.rename(tmp_path / "other.nii", other)
    words = ["register", "--fixed", f"{evil}.nii", "--moving", b"caf\xe9.nii", "--out", "out", "--affine-only", "-q"]
    done = subprocess.run([COMMAND, *words], capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text and "<script" not in text and "x.org" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;&#34;&#39;{{7*7}}" in text
    assert json.loads((tmp_path / "out" / "result.json").read_text())["fixed"]["path"] == f"{evil}.nii"
    header = nibabel.load(tmp_path / "out" / "warped.nii.gz").header
    assert not bytes(header["descrip"]).strip(b"\0") and not bytes(header["aux_file"]).strip(b"\0")
    assert np.isfinite(nibabel.load(tmp_path / "out" / "warped.nii.gz").get_fdata()).all()
