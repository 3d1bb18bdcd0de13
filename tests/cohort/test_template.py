"""A template on two real worker processes: what it is, and that nothing is done twice."""

import json
import shutil
from contextlib import nullcontext

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch

from deformgan.cohort.mean import brightness
from deformgan.cohort.template import TemplateOptions, build_template
from deformgan.cohort.template_jobs import MeanOptions, read_group
from deformgan.errors import InputError, OutputError
from deformgan.io.formats import read_volume, write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.registration.options import RegisterOptions
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Transform

GRID = Geometry((22, 25, 23), (8.0, 8.0, 7.0), (-84.0, -96.0, -77.0))
OPTIONS = TemplateOptions(1, "", MeanOptions(7.0), RegisterOptions(preset="fast", search=False, threads=1))


def shape(k):
    """Of subject k: shifted, and bent by 7 mm in a way of its own."""

    def moved(points):
        waves = np.stack([np.sin(points[..., (a + 1) % 3] / 26 + 2.1 * k + a) for a in range(3)], -1)
        return points - np.array([6.0, -4.0, 3.0]) * (k - 1) - 7.0 * waves

    return moved


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    for k in range(3):
        image = phantoms.image(GRID, phantoms.T1, shape(k))
        write_volume(Volume((1 + k) * image.tensor, GRID), folder / f"s{k}.nii.gz")
        labels = phantoms.tissue(shape(k)(voxel_points(GRID))).astype(np.int16)
        write_volume(Volume(torch.from_numpy(labels), GRID), folder / f"s{k}_labels.nii.gz")
    rows = [f"s{k}.nii.gz,s{k}_labels.nii.gz" for k in range(3)]
    (folder / "group.csv").write_text("\n".join(["image,labels", *rows]) + "\n")
    return folder


def build(folder, out, opened, options=OPTIONS, **how):
    return build_template(read_group(folder / "group.csv"), out, opened, options, **how)


@pytest.fixture(scope="module")
def first(group, tmp_path_factory, pool):
    out = tmp_path_factory.mktemp("template") / "out"
    return out, build(group, out, lambda: nullcontext(pool))


def marks(out):
    """Inode and time of change of all that was computed."""
    files = (p for p in out.rglob("*") if p.suffix in (".gz", ".h5") and p.parent != out)
    return {p.relative_to(out).as_posix(): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def test_the_template_is_sharper_than_the_affine_mean_and_its_labels_meet_better(first):
    out, result = first
    _, affine, last = result["rounds"]
    assert last["gradient_energy"] > 1.02 * affine["gradient_energy"]
    assert last["dice"] > affine["dice"] + 0.03
    assert json.loads((out / "result.json").read_text()) == result and result["subjects"].keys() == {"s0", "s1", "s2"}
    template = read_volume(out / "template.nii.gz")
    assert template.geometry.spacing == (7.0, 7.0, 7.0)
    page = (out / "report.html").read_text()
    assert "http" not in page and "data:image/jpeg;base64,/9j/" in page and "3, deformable" in page


def test_the_template_is_the_mean_of_what_itk_brings_to_it(first, group):
    """ITK reads each subject's composite and resamples by it; the mean of these, of equal brightness, is the file."""
    out, _ = first
    template = sitk.ReadImage(str(out / "template.nii.gz"), sitk.sitkFloat32)
    brought = []
    for k in range(3):
        volume = read_volume(group / f"s{k}.nii.gz")
        image = volume.to_simpleitk()
        transform = sitk.ReadTransform(str(out / "subjects" / f"s{k}" / "transform.h5"))
        brought.append(
            sitk.GetArrayFromImage(sitk.Resample(image, template, transform, sitk.sitkLinear)) / brightness(volume)
        )
    expected, found = np.mean(brought, axis=0), sitk.GetArrayFromImage(template)
    inside = np.s_[4:-4, 4:-4, 4:-4]
    assert np.corrcoef(expected[inside].ravel(), found[inside].ravel())[0, 1] > 0.9999
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "labels.nii.gz")))
    assert labels.shape == found.shape and set(np.unique(labels)) <= set(range(6))


def test_the_shape_is_in_the_middle_of_the_group_and_the_inverse_leads_back(first):
    out, _ = first
    points = voxel_points(GRID)[5:-5:3, 5:-5:3, 5:-5:3].reshape(-1, 3)
    maps = [Transform.load(out / "subjects" / f"s{k}" / "transform.h5") for k in range(3)]
    away = [m.apply(points) - points for m in maps]
    mean, each = np.linalg.norm(np.mean(away, axis=0), axis=1).mean(), np.linalg.norm(away, axis=2).mean()
    assert mean < 0.25 * each and each < 20
    inverse = Transform.load(out / "subjects" / "s0" / "inverse.h5")
    assert np.linalg.norm(inverse.apply(maps[0].apply(points)) - points, axis=1).max() < 1.0


@pytest.fixture
def again(first, tmp_path):
    """A copy of the first template's folder, as it stood at its end, its notes leading into the copy."""
    out = tmp_path / "out"
    shutil.copytree(first[0], out)
    for note in out.rglob("*.json"):
        note.write_text(note.read_text().replace(str(first[0]), str(out)))
    return out


def test_nothing_is_done_twice(again, group):
    before = marks(again)
    assert len(before) == 24
    build(group, again, lambda: pytest.fail("there was something to do"))
    assert marks(again) == before


def test_what_is_lost_alone_is_made_again(again, group, pool):
    """An alignment and a mean that were cut off; the rest stands, since the same is made of the same."""
    before = marks(again)
    (again / "rounds/3/subjects/s1/pair.json").unlink()
    (again / "rounds/2/mean.json").unlink()
    build(group, again, lambda: nullcontext(pool))
    after = marks(again)
    assert {name for name in before if before[name] != after[name]} == {
        "rounds/3/subjects/s1/transform.h5",
        "rounds/2/template.nii.gz", "rounds/2/labels.nii.gz", "rounds/2/mean.h5",
    }  # fmt: skip


def test_a_subject_that_fails_is_named_and_the_rest_stays(group, tmp_path, pool):
    shutil.copytree(group, tmp_path / "group")
    (tmp_path / "group" / "s1.nii.gz").write_bytes(b"")
    out, affine = tmp_path / "out", TemplateOptions(0, "", MeanOptions(7.0), OPTIONS.registration)
    with pytest.raises(InputError, match=r"s1: .*empty \(0 bytes\); 1 of 3 failed"):
        build(tmp_path / "group", out, lambda: nullcontext(pool), affine)
    assert not (out / "template.nii.gz").exists()
    before = marks(out)
    assert before.keys() == {f"rounds/1/subjects/s{k}/transform.h5" for k in (0, 2)}
    shutil.copy(group / "s1.nii.gz", tmp_path / "group" / "s1.nii.gz")
    result = build(tmp_path / "group", out, lambda: nullcontext(pool), affine)
    after = marks(out)
    assert {name: after[name] for name in before} == before
    assert [one["stage"] for one in result["rounds"]] == ["affine", "affine"] and (out / "template.nii.gz").exists()


def test_a_folder_of_something_else_is_refused(group, tmp_path, pool):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        build(group, tmp_path, lambda: nullcontext(pool))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image\ns0.nii.gz\n", "two subjects at least"),
        ("image\ns0.nii.gz\nnowhere.nii\n", "row 3: image: no such file"),
        ("image,labels\ns0.nii.gz,s0_labels.nii.gz\ns1.nii.gz,\n", "give all of them or none"),
        ("image,name\ns0.nii.gz,a\ns1.nii.gz,A\n", "a name of its own"),
        ("image,name\ns0.nii.gz,../a\ns1.nii.gz,b\n", "cannot be the name of a folder"),
        ("images\ns0.nii.gz\n", "did you mean image"),
    ],
)
def test_mistakes_in_the_table_are_named(group, text, words):
    (group / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_group(group / "bad.csv")
