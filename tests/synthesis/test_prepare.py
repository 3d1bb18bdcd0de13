"""prepare: files by SimpleITK's own resampling, the bias field planted, restarts by content."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from phantoms import GRID, OBLIQUE, T1, image

from deformgan.cli.main import app
from deformgan.errors import InputError
from deformgan.io.bias_field import without_bias
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.subjects import read_subjects
from deformgan.io.transform_files import Affine
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Transform
from deformgan.synthesis.prepare import PrepareOptions, prepare

SMALL = Geometry((20, 18, 14), (4.0, 4.5, 5.0), (-38.0, -40.0, -33.0))  # inside OBLIQUE's field of view but for a rim
PLAIN = PrepareOptions(n4=False)


def noise(grid, seed):
    return Volume(torch.rand(grid.shape, generator=torch.Generator().manual_seed(seed)) * 1500 - 1000, grid)  # HU


@pytest.fixture
def raw(tmp_path):
    """One pair with a transform, one MR and one CT alone."""
    write_volume(noise(SMALL, 0), tmp_path / "p_mr.nii.gz")
    write_volume(noise(OBLIQUE, 1), tmp_path / "p_ct.mha")
    write_volume(noise(SMALL, 2), tmp_path / "q_mr.nii.gz")
    write_volume(noise(SMALL, 3), tmp_path / "r_ct.nii.gz")
    matrix = np.eye(4)
    matrix[:3, 3] = 20, -35, 50
    Transform((Affine(matrix),)).save(tmp_path / "p.tfm")
    rows = [
        "mr,ct,transform,subject,split",
        "p_mr.nii.gz,p_ct.mha,p.tfm,p,train",
        "q_mr.nii.gz,,,q,",
        ",r_ct.nii.gz,,r,",
    ]
    (tmp_path / "people.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_ct_lies_on_the_mrs_grid_as_simpleitk_would_put_it(raw):
    found = {s.subject: s for s in read_subjects(prepare(raw / "people.csv", raw / "out", PLAIN))}
    mr, ct = (sitk.ReadImage(str(raw / name)) for name in ("p_mr.nii.gz", "p_ct.mha"))
    moved = sitk.Resample(ct, mr, sitk.TranslationTransform(3, (20.0, -35.0, 50.0)), sitk.sitkLinear, -1024.0)
    made = sitk.ReadImage(found["p"].ct)
    assert made.GetSize() == mr.GetSize() and made.GetPixelID() == sitk.sitkInt16
    np.testing.assert_allclose(made.GetOrigin(), mr.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(moved), atol=0.51)
    outside = sitk.GetArrayFromImage(moved) == -1024
    assert 0.02 < outside.mean() < 0.9
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(found["p"].mask)) == 0, outside)
    assert found["q"].ct == "" and found["r"].mr == "" and found["q"].mask == ""


def test_what_is_whole_and_up_to_date_is_left_as_it_is(raw):
    out = raw / "out"
    prepare(raw / "people.csv", out, PLAIN)
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    (out / "q" / "mr.nii.gz").unlink()  # as after a crash
    write_volume(noise(SMALL, 9), raw / "r_ct.nii.gz")  # another content
    prepare(raw / "people.csv", out, PLAIN)
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    assert after.keys() == times.keys()
    assert {p.parent.name for p in times if after[p] != times[p]} == {"q", "r"}


def test_people_are_split_whole_and_a_given_split_stands(tmp_path):
    write_volume(noise(SMALL, 0), tmp_path / "x.nii.gz")
    rows = [f"x.nii.gz,{k:02d},{'test' if k == 0 else ''}" for k in range(21)]
    (tmp_path / "m.csv").write_text("\n".join(["mr,subject,split", *rows]) + "\n")
    options = PrepareOptions(n4=False, validation=0.1, test=0.2, seed=3)
    splits = [s.split for s in read_subjects(prepare(tmp_path / "m.csv", tmp_path / "a", options))]
    assert splits[0] == "test" and [splits[1:].count(s) for s in ("train", "validation", "test")] == [14, 2, 4]
    again = [s.split for s in read_subjects(prepare(tmp_path / "m.csv", tmp_path / "a", options))]
    assert again == splits


def test_two_processes_write_what_one_does(raw, capsys):
    prepare(raw / "people.csv", raw / "one", PLAIN)
    app(
        ["prepare", str(raw / "people.csv"), "--out", str(raw / "two"), "--no-n4", "--jobs", "2"], standalone_mode=False
    )
    assert capsys.readouterr().out.strip() == str(raw / "two" / "manifest.csv")
    names = [{p.relative_to(raw / k): p for p in (raw / k).rglob("*.nii.gz")} for k in ("one", "two")]
    assert names[0].keys() == names[1].keys() and len(names[0]) == 5
    for name, path in names[0].items():
        one, two = (sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in (path, names[1][name]))
        np.testing.assert_array_equal(one, two)
    texts = [list(csv.DictReader((raw / k / "manifest.csv").open())) for k in ("one", "two")]
    assert texts[0] == texts[1]


def test_on_workers_one_who_fails_is_recorded_and_the_others_get_done(raw, capsys):
    (raw / "q_mr.nii.gz").write_bytes(b"")
    words = ["prepare", str(raw / "people.csv"), "--out", str(raw / "out"), "--no-n4", "--workers", "2", "--quiet"]
    with pytest.raises(InputError, match=r"1 of 3 people failed, see .*status.csv"):
        app(words, standalone_mode=False)
    rows = {row["pair"]: row for row in csv.DictReader((raw / "out" / "status.csv").open())}
    assert {name: row["status"] for name, row in rows.items()} == {"p": "done", "q": "failed", "r": "done"}
    assert "empty (0 bytes)" in rows["q"]["reason"] and not (raw / "out" / "manifest.csv").exists()
    times = {p: p.stat().st_mtime_ns for p in (raw / "out").rglob("*.nii.gz")}
    assert {p.parent.name for p in times} == {"p", "r"}
    write_volume(noise(SMALL, 2), raw / "q_mr.nii.gz")
    app(words, standalone_mode=False)
    assert {p: p.stat().st_mtime_ns for p in times} == times and (raw / "out" / "q" / "mr.nii.gz").exists()
    assert [s.subject for s in read_subjects(raw / "out" / "manifest.csv")] == ["p", "q", "r"]


def test_a_planted_bias_field_is_taken_out():
    clean = image(GRID, T1, noise=0.01)
    x, y, _ = voxel_points(GRID).transpose(3, 0, 1, 2)
    bias = torch.from_numpy(np.exp(0.4 * x / 80 - 0.3 * (y / 80) ** 2)).float()
    corrected = without_bias(Volume(clean.tensor * bias, GRID))
    assert corrected.geometry == GRID
    tissue = clean.tensor > 40
    spread = [float((v[tissue] / clean.tensor[tissue]).log().std()) for v in (clean.tensor * bias, corrected.tensor)]
    assert spread[0] > 0.14 and spread[1] < 0.4 * spread[0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["mr,ct", ","], ["row 2", "both empty"]),
        (["mr,split", "p_mr.nii.gz,none"], ["row 2", "split", "'none'"]),
        (["mri", "p_mr.nii.gz"], ["unknown column", "did you mean mr?"]),
        (["mr,subject", "p_mr.nii.gz,s", "q_mr.nii.gz,s"], ["'s' has two rows"]),
        (["mr,subject", "p_mr.nii.gz,../s"], ["cannot be the name of a folder"]),
        (["mr,ct", "q_mr.nii.gz,far.nii.gz"], ["far.nii.gz", "does not overlap"]),
    ],
)
def test_a_mistake_in_the_manifest_is_named(raw, rows, words):
    far = Geometry(SMALL.size, SMALL.spacing, (900.0, 0, 0))
    write_volume(noise(far, 5), raw / "far.nii.gz")
    (raw / "bad.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError) as caught:
        prepare(raw / "bad.csv", raw / "out", PLAIN)
    for word in words:
        assert word in str(caught.value)
    assert not (raw / "out" / "manifest.csv").exists()
