"""One case by its files: the right grid, the right direction, planted answers on oblique grids."""

import json

import nibabel
import numpy as np
import phantoms
import pytest
import torch

from deformgan.errors import InputError
from deformgan.evaluation.cases import Case
from deformgan.evaluation.pair import EvaluateOptions, evaluate_case
from deformgan.io.formats import write_volume
from deformgan.io.points import Landmarks, write_landmarks
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, Transform

SHIFT = np.array([8.0, -6.0, 5.0])


def labels(geometry, moved=lambda p: p):
    return Volume(torch.from_numpy(phantoms.tissue(moved(voxel_points(geometry))).astype(np.int16)), geometry)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Fixed on an upright grid; moving, shifted, on an oblique one with other voxels; the exact transform."""
    folder = tmp_path_factory.mktemp("pair")
    write_volume(phantoms.image(phantoms.GRID, phantoms.T1, noise=0), folder / "fixed.nii.gz")
    write_volume(phantoms.image(phantoms.OBLIQUE, phantoms.T1, lambda p: p - SHIFT, noise=0), folder / "moving.nii.gz")
    write_volume(labels(phantoms.GRID), folder / "fixed_labels.nii.gz")
    write_volume(labels(phantoms.OBLIQUE, lambda p: p - SHIFT), folder / "moving_labels.nii.gz")
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    Transform((Affine(matrix),)).save(folder / "transform.h5")
    Transform((Affine(matrix),)).inverse().save(folder / "inverse.h5")
    points = np.random.default_rng(0).normal(size=(20, 3)) * 30
    write_landmarks(Landmarks(points, tuple(f"p{n}" for n in range(20))), folder / "fixed.csv")
    write_landmarks(Landmarks((points + SHIFT)[::-1], tuple(f"p{n}" for n in range(20))[::-1]), folder / "moving.fcsv")
    mask = labels(phantoms.OBLIQUE)
    write_volume(Volume((mask.tensor > 0).byte(), mask.geometry), folder / "mask.nii.gz")
    return folder


def case(folder, *names, **more):
    known = {
        "fixed": "fixed.nii.gz", "moving": "moving.nii.gz", "fixed_labels": "fixed_labels.nii.gz",
        "moving_labels": "moving_labels.nii.gz", "fixed_points": "fixed.csv", "moving_points": "moving.fcsv",
        "transform": "transform.h5", "inverse": "inverse.h5", "mask": "mask.nii.gz",
    }  # fmt: skip
    return Case(**{name: str(folder / known[name]) for name in names}, **more)


EVERYTHING = (
    "fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points", "transform", "inverse"
)  # fmt: skip


def test_the_exact_transform_is_seen_to_be_exact(files):
    found = evaluate_case(case(files, *EVERYTHING)).measures
    assert found["dice"] > 0.85 and found["labels"] == 5 and found["labels_unmatched"] == 0
    assert found["hd95_mm"] < 4.5 and found["assd_mm"] < 1  # voxels are 3 to 4 mm
    assert found["tre_mm"]["max"] < 1e-4 and found["tre_before_mm"]["mean"] == pytest.approx(np.linalg.norm(SHIFT))
    assert found["inverse_error_mm"]["max"] < 1e-6 and found["folding_percent"] == 0
    assert found["ncc"] > 0.95 and found["ssim"] > 0.8


def test_without_transform_the_headers_speak(files):
    names = [name for name in EVERYTHING if name not in ("transform", "inverse")]
    found = evaluate_case(case(files, *names)).measures
    assert found["dice"] < 0.6 and found["ncc"] < 0.9 and "folding_percent" not in found
    assert found["tre_mm"] == found["tre_before_mm"]


def test_two_label_images_on_one_grid(files):
    one = str(files / "fixed_labels.nii.gz")
    scores = evaluate_case(Case(fixed_labels=one, moving_labels=one))
    assert scores.measures["dice"] == 1 and scores.measures["assd_mm"] == 0
    counts = np.bincount(labels(phantoms.GRID).numpy().ravel())
    assert [row["label"] for row in scores.labels] == [1, 2, 3, 4, 5]
    assert [row["fixed_ml"] for row in scores.labels] == pytest.approx((counts[1:] * 31.5 / 1000).tolist())


def test_only_the_labels_asked_for(files):
    scores = evaluate_case(case(files, "fixed_labels", "moving_labels", "transform"), EvaluateOptions(only=(5, 9)))
    assert [row["label"] for row in scores.labels] == [5, 9]
    assert np.isnan(scores.labels[1]["dice"]) and scores.measures["labels"] == 1
    assert scores.measures["dice"] == scores.labels[0]["dice"]


def test_a_mask_on_another_grid_is_resampled_and_said(files):
    scores = evaluate_case(case(files, *EVERYTHING, "mask"))
    assert scores.notes == ["the mask lies on another grid and is resampled"]
    whole = evaluate_case(case(files, *EVERYTHING)).measures
    assert scores.measures["mae"] > whole["mae"]  # the air around the head agreed


def test_the_moving_image_counts_where_it_is(files, tmp_path):
    """A warped file fills what the moving image does not cover; warped here, it is left out."""
    moving = nibabel.load(files / "moving.nii.gz")
    cut = moving.slicer[:, : moving.shape[1] // 2]
    nibabel.save(cut, tmp_path / "cut.nii.gz")
    found = evaluate_case(Case(**{**vars(case(files, "fixed", "transform")), "moving": str(tmp_path / "cut.nii.gz")}))
    whole = evaluate_case(case(files, "fixed", "moving", "transform"))
    assert found.measures["mae"] < 2 * whole.measures["mae"] and found.measures["ncc"] > 0.9


def test_a_result_folder_fills_in_its_files(files, tmp_path):
    for name in ("transform.h5", "inverse.h5"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    (tmp_path / "warped.nii.gz").write_bytes((files / "fixed.nii.gz").read_bytes())
    found = evaluate_case(case(files, "fixed", result=str(tmp_path))).measures
    assert found["mae"] == 0 and found["inverse_error_mm"]["max"] < 1e-6 and found["folding_percent"] == 0
    alone = evaluate_case(Case(result=str(tmp_path))).measures
    assert alone["min_jacobian"] == 1 and "mae" not in alone
    with pytest.raises(InputError, match=r"no transform\.h5"):
        evaluate_case(Case(result=str(files.parent)))


def test_learn2reg_reads_the_same_from_a_transform_and_from_the_challenges_own_file(files, tmp_path):
    names = ("fixed_labels", "moving_labels", "fixed_points", "moving_points", "transform")
    options = EvaluateOptions("learn2reg")
    points = {}
    for side, geometry, moved in (("fixed", phantoms.GRID, 0), ("moving", phantoms.OBLIQUE, SHIFT)):
        world = np.array([[0.0, 0, 0], [20, 10, -5], [-30, 4, 9]]) + moved
        voxels = world @ geometry.inverse[:3, :3].T + geometry.inverse[:3, 3]
        np.savetxt(tmp_path / f"{side}.csv", voxels, delimiter=",")
        points[f"{side}_points"] = str(tmp_path / f"{side}.csv")
    here = evaluate_case(Case(**{**vars(case(files, *names)), **points}), options)
    index = np.stack(np.meshgrid(*map(np.arange, phantoms.GRID.size), indexing="ij"), -1)
    world = index @ phantoms.GRID.matrix[:3, :3].T + phantoms.GRID.matrix[:3, 3] + SHIFT
    u = world @ phantoms.OBLIQUE.inverse[:3, :3].T + phantoms.OBLIQUE.inverse[:3, 3] - index
    nibabel.save(nibabel.Nifti1Image(u.astype(np.float32), np.eye(4)), tmp_path / "disp.nii.gz")
    theirs = {**vars(case(files, *names)), **points, "transform": str(tmp_path / "disp.nii.gz")}
    there = evaluate_case(Case(**theirs), options)
    assert set(here.measures) == {"dice", "hd95_voxels", "tre_mm", "sdlogj"}
    assert here.measures["dice"] > 0.85 and here.measures["tre_mm"] < 1e-2 and here.measures["hd95_voxels"] < 2
    for name, value in here.measures.items():
        assert there.measures[name] == pytest.approx(value, abs=2e-3)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("fixed",), "nothing to judge"),
        (("fixed_labels",), "needs --moving-labels"),
        (("moving_points",), "needs --fixed-points"),
        (("fixed", "inverse"), "give both"),
        (("transform",), "nothing to judge"),
    ],
)
def test_too_few_files_are_refused(files, names, says):
    with pytest.raises(InputError, match=says):
        evaluate_case(case(files, *names))


def test_files_that_do_not_fit_are_refused(files, tmp_path):
    with pytest.raises(InputError, match="not on the grid"):
        evaluate_case(case(files, "fixed", warped=str(files / "moving.nii.gz")))
    with pytest.raises(InputError, match=r"none\.nii: no such file"):
        evaluate_case(case(files, "fixed", warped=str(tmp_path / "none.nii")))
    np.savez(tmp_path / "small.npz", np.zeros((3, 4, 5, 3), np.float32))
    wrong = case(files, "fixed", "moving", transform=str(tmp_path / "small.npz"))
    with pytest.raises(InputError, match="its size is"):
        evaluate_case(wrong, EvaluateOptions("learn2reg"))
    with pytest.raises(InputError, match="background"):
        EvaluateOptions(only=(0, 1))
    with pytest.raises(InputError, match="physical, learn2reg"):
        EvaluateOptions("l2r")
    json.dumps(evaluate_case(case(files, *EVERYTHING)).labels)  # plain numbers, not numpy's
