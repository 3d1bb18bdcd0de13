"""Whole volumes by the command: geometry by SimpleITK, labels, tables, folds; what is wrong with the input."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deformgan.cli.main import app
from deformgan.errors import InputError, OutputError
from deformgan.io.formats import read_volume
from deformgan.segmentation.models import load_model
from deformgan.segmentation.predict import segment


def run(*words):
    app([*map(str, words), "--quiet", "--threads", "1"], standalone_mode=False)


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.mark.parametrize("subject", ["c", "d"])  # left-handed; oblique
def test_labels_lie_on_the_images_grid_where_the_structures_are(of_mr, folder, tmp_path, subject):
    image = folder / "prepared" / subject / "mr.nii.gz"
    table = tmp_path / "names.txt"
    run("segment", "--model", of_mr[1].folder, "--image", image, "--out", tmp_path / "s.mha", "--label-table", table,
        "--probabilities", tmp_path / "p")  # fmt: skip
    mr, made = sitk.ReadImage(str(image)), sitk.ReadImage(str(tmp_path / "s.mha"))
    assert made.GetSize() == mr.GetSize() and made.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_allclose(made.GetDirection(), mr.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(made.GetOrigin(), mr.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(made.GetSpacing(), mr.GetSpacing(), atol=1e-5)
    found = sitk.GetArrayFromImage(made)
    truth = read_volume(image.with_name("labels.nii.gz"), kind="labels").numpy()
    assert set(np.unique(found)) == {0, 2, 3}  # each structure's first label value
    assert dice(found == 3, truth > 2) > 0.8 and dice(found == 2, (truth == 1) | (truth == 2)) > 0.6
    shares = {name: sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p" / f"{name}.nii.gz")))
              for name in ("shell", "inside")}  # fmt: skip
    assert shares["inside"][found == 3].min() >= 0.33 and shares["shell"].max() <= 1.001
    assert shares["inside"][found == 0].max() <= 0.5
    assert [line.split()[0] for line in table.read_text().splitlines()] == ["0", "2", "3"]
    assert '"inside"' in table.read_text()


def test_one_model_takes_real_mr_and_real_ct(of_both, folder, tmp_path, monkeypatch):
    """The generators lie in the file itself: nothing else of the run or of the CycleGAN is there."""
    model = tmp_path / "alone.safetensors"
    model.write_bytes((of_both[1].folder / "model.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    truth = read_volume(folder / "prepared" / "d" / "labels.nii.gz", kind="labels").numpy()
    for kind, least in (("ct", 0.7), ("mr", 0.5)):
        run("segment", "--model", model, "--image", folder / "prepared" / "d" / f"{kind}.nii.gz", "--modality", kind,
            "--out", f"{kind}.nii.gz")  # fmt: skip
        found = read_volume(tmp_path / f"{kind}.nii.gz", kind="labels").numpy()
        assert dice(found == 3, truth > 2) > least, kind


def test_a_volume_larger_than_the_slices_has_no_seams(of_mr, folder):
    """The same slices within a wider, empty field of view: the same answer."""
    model = load_model(str(of_mr[1].folder))
    image = read_volume(folder / "prepared" / "c" / "mr.nii.gz")
    wide = torch.nn.functional.pad(image.tensor, (9, 9, 9, 9), value=float(image.tensor.min()))
    from deformgan.io.volume import Volume

    found = segment(model, Volume(wide, image.geometry.padded((9, 9, 0)))).labels.tensor
    same = (found[:, 9:-9, 9:-9] == segment(model, image).labels.tensor).float().mean()
    assert float(same) > 0.9


def test_people_are_judged_by_structure_and_compared(of_mr, of_both, folder, tmp_path, capsys):
    manifest, one, two = folder / "prepared" / "manifest.csv", tmp_path / "one", tmp_path / "two"
    run("segment", "--model", of_mr[1].folder, "--people", manifest, "--split", "all", "--out", one)
    app(["segment", "--model", str(of_both[1].folder), "--people", str(manifest), "--split", "all", "--out", str(two),
         "--compare", str(one / "dice.csv"), "--threads", "1"], standalone_mode=False)  # fmt: skip
    text = capsys.readouterr().out
    assert "of_mr" in text and "of_both - of_mr, inside:" in text and "n 4" in text
    rows = list(csv.DictReader((one / "dice.csv").open()))
    row = next(r for r in rows if r["case"] == "c" and r["structure"] == "inside")
    truth = read_volume(folder / "prepared" / "c" / "labels.nii.gz", kind="labels").numpy()
    found = read_volume(one / "c.nii.gz", kind="labels").numpy()
    assert float(row["dice"]) == pytest.approx(dice(found == 3, truth > 2)) and float(row["hd95_mm"]) > 0
    assert (two / "dice.png").stat().st_size > 10_000
    reference = read_volume(one / "references" / "c.nii.gz", kind="labels").numpy()
    np.testing.assert_array_equal(reference == 3, truth > 2)


def test_folds_are_trained_judged_and_gone_on_with(experiment, folder, tmp_path, capsys):
    experiment(folder / "by_folds", data={"channels": ["mr"], "spacing_mm": 7, "mr_window": None})
    words = ["cross-validate", folder / "by_folds.yaml", "--folds", "2", "--out", tmp_path / "cv"]
    run(*words)
    rows = list(csv.DictReader((tmp_path / "cv" / "dice.csv").open()))
    inside = {r["case"]: float(r["dice"]) for r in rows if r["structure"] == "inside"}
    assert sorted(inside) == ["a", "b", "c", "d"] and min(inside.values()) > 0.6
    with pytest.raises(OutputError, match=r"dice\.csv exists already"):
        run(*words)
    (tmp_path / "cv" / "dice.csv").unlink()  # as if it had been stopped before the end
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "cv").glob("fold-*/model.safetensors")}
    run(*words)
    assert len(times) == 2 and all(p.stat().st_mtime_ns == t for p, t in times.items())
    assert list(csv.DictReader((tmp_path / "cv" / "dice.csv").open())) == rows


def test_a_folder_goes_image_by_image(of_mr, folder, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "c.nii.gz").write_bytes((folder / "prepared" / "c" / "mr.nii.gz").read_bytes())
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="1 of 2 images could not be used"):
        run("segment", "--model", of_mr[1].folder, "--image", tmp_path / "in", "--out", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["c.nii.gz"]
    assert "broken.nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--image", "{c}/mr.nii.gz", "--modality", "ct"], r"knows mr only, not ct"),
        (["--image", "{c}/mr.nii.gz", "--modality", "pet"], r"--modality must be one of mr, ct; got 'pet'"),
        (["--image", "{c}/none.nii.gz"], r"no such file"),
        ([], r"give --image or --people"),
        (["--image", "{c}/mr.nii.gz", "--compare", "x.csv"], r"--compare needs --people"),
        (["--people", "{c}/../manifest.csv", "--split", "some"], r"--split must be one of train, validation"),
        (["--people", "{c}/../manifest.csv", "--compare", "x.csv"], r"x\.csv: not a dice\.csv"),
        (["--image", "{c}/mr.nii.gz", "--model", "{c}/.."], r"no such model"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(of_mr, folder, tmp_path, words, says):
    words = [w.format(c=folder / "prepared" / "c") for w in words]
    model = [] if "--model" in words else ["--model", of_mr[1].folder]
    out = tmp_path / ("out" if "--people" in words else "out.nii.gz")
    with pytest.raises(InputError, match=says) as caught:
        run("segment", *model, *words, "--out", out)
    assert "\n" not in str(caught.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_cross_validation_is_of_segmentations_only(folder, cyclegan, tmp_path):
    with pytest.raises(InputError, match="of task segmentation, this is cyclegan"):
        run("cross-validate", folder / "cyclegan.yaml", "--out", tmp_path / "cv")


def test_a_dry_run_tells_every_image_and_writes_nothing(of_both, of_mr, folder, tmp_path, capsys):
    words = ("--people", folder / "prepared" / "manifest.csv", "--split", "all", "--out", tmp_path / "o", "--dry-run")
    run("segment", "--model", of_both[1].folder, *words)
    said = capsys.readouterr().out
    assert f"{tmp_path / 'o' / 'c.nii.gz'}" in said and "expected: about" in said and "nothing was written" in said
    with pytest.raises(InputError, match="knows mr only, not ct"):
        run("segment", "--model", of_mr[1].folder, "--modality", "ct", *words)
    assert list(tmp_path.iterdir()) == []
