"""The pipeline finds planted motions between contrasts, on any grid, and says what it found."""

import json

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch

import deformgan
import deformgan.spatial.grid
from deformgan.errors import InputError, OutputError
from deformgan.io.volume import Volume
from deformgan.registration.options import RegisterOptions
from deformgan.registration.progress import Progress
from deformgan.spatial.affine import from_parameters, to_parameters

CENTRE = np.zeros(3)


def bump(points: np.ndarray) -> np.ndarray:
    """A smooth diffeomorphism of at most 7 mm."""
    x, y, z = points.transpose(3, 0, 1, 2) / 60
    u = np.stack([np.sin(2 * y + z), np.cos(1.7 * x - z), np.sin(1.5 * x + y)], -1)
    return points + 4.0 * u


def body_points(volume: Volume) -> np.ndarray:
    """Points of the phantom's inside on the grid of `volume`, LPS mm."""
    points = deformgan.spatial.grid.voxel_points(volume.geometry)
    return points[np.linalg.norm(points / [62, 74, 66], axis=-1) < 0.75]


def moved_by(matrix: np.ndarray):
    """Grid point -> phantom point of an image of the phantom moved by `matrix`."""
    back = np.linalg.inv(matrix)
    return lambda points: points @ back[:3, :3].T + back[:3, 3]


@pytest.mark.parametrize(
    ("degrees", "shift"),
    [((30, 0, 0), (0, 0, 0)), ((0, 0, -30), (5, 5, 5)), ((0, 0, 0), (60, 0, 0)), ((10, -12, 8), (-20, 15, 40))],
)
@pytest.mark.parametrize("search", [True, False])
def test_large_rigid_motion_is_found_between_contrasts_and_grids(degrees, shift, search):
    motion = from_parameters(np.array([*np.deg2rad(degrees), *shift], float), CENTRE, "rigid")
    fixed = phantoms.image(phantoms.GRID, phantoms.T1)
    moving = phantoms.image(phantoms.OBLIQUE.padded(12), phantoms.T2, moved_by(motion))
    found = deformgan.register(fixed, moving, options=RegisterOptions(stage="rigid", search=search))
    points = body_points(fixed)
    truth = points @ motion[:3, :3].T + motion[:3, 3]
    assert np.linalg.norm(found.transform.apply(points) - truth, axis=1).max() < 1.0


@pytest.fixture(scope="module")
def deformed():
    """(fixed CT, moving T1, truth of fixed points): a scaled, turned and bent phantom."""
    motion = from_parameters(np.array([0.1, -0.08, 0.12, 8, -6, 5, 0.06, -0.05, 0.04, 0, 0, 0]), CENTRE, "affine")
    fixed = phantoms.image(phantoms.GRID, phantoms.T2, bump)
    moving = phantoms.image(phantoms.OBLIQUE.padded(4), phantoms.T1, moved_by(motion))
    return fixed, moving, lambda points: bump(points[None, None])[0, 0] @ motion[:3, :3].T + motion[:3, 3]


@pytest.fixture(scope="module")
def result(deformed):
    return deformgan.register(*deformed[:2])


def test_deformation_is_found_without_folding(deformed, result):
    fixed, _, truth = deformed
    points = body_points(fixed)
    before = np.linalg.norm(truth(points) - points, axis=1)
    after = np.linalg.norm(result.transform.apply(points) - truth(points), axis=1)
    assert np.median(before) > 8
    assert np.median(after) < 1.5 and np.percentile(after, 95) < 5  # voxels are 3 mm
    regularity = result.metrics["regularity"]
    assert regularity["folding_percent"] == 0 and regularity["min_jacobian"] > 0.2
    assert result.verdict.kept == "deformable"


def test_scores_rise_from_stage_to_stage(result):
    scores = result.verdict.scores
    assert scores["start"] < scores["affine"] < scores["deformable"]


def test_the_inverse_leads_back(deformed, result):
    points = body_points(deformed[0])
    back = result.inverse.apply(result.transform.apply(points))
    assert np.linalg.norm(back - points, axis=1).mean() < 0.1


def test_same_seed_same_bytes(deformed, result):
    again = deformgan.register(*deformed[:2])
    assert torch.equal(again.warped.tensor, result.warped.tensor)


def test_one_thread_gives_the_same_bytes(deformed, result):
    alone = deformgan.register(*deformed[:2], options=RegisterOptions(threads=1))
    assert torch.equal(alone.warped.tensor, result.warped.tensor)


def test_saved_files_are_read_by_simpleitk_alone(deformed, result, tmp_path):
    result.save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        ["warped.nii.gz", "transform.h5", "inverse.h5", "result.json", "report.html"]
    )
    fixed, moving, _ = deformed
    transform = sitk.ReadTransform(str(tmp_path / "out" / "transform.h5"))
    outside = float(moving.tensor.min())
    referee = sitk.Resample(moving.to_simpleitk(), fixed.to_simpleitk(), transform, sitk.sitkLinear, outside)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "warped.nii.gz")))
    spread = float(moving.tensor.max() - moving.tensor.min())
    assert np.abs(sitk.GetArrayFromImage(referee) - ours).mean() < 1e-3 * spread
    inverse = sitk.ReadTransform(str(tmp_path / "out" / "inverse.h5"))
    points = body_points(fixed)[::50]
    back = np.array([inverse.TransformPoint(transform.TransformPoint(p)) for p in points])
    assert np.linalg.norm(back - points, axis=1).mean() < 0.1
    saved = json.loads((tmp_path / "out" / "result.json").read_text())
    assert saved["kept"] == "deformable" and saved["seed"] == 0 and saved["regularity"]["folding_percent"] == 0
    with pytest.raises(OutputError, match="--overwrite"):
        result.save(tmp_path / "out")
    result.save(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("permutation", [(2, 0, 1), (1, 2, 0)])
def test_axis_order_does_not_matter(deformed, permutation):
    """The same moving image stored in another axis order, with flips, is aligned as well."""
    fixed, moving, truth = deformed
    array = np.flip(moving.numpy().transpose(permutation), 0).copy()
    matrix = moving.geometry.matrix
    order = [2 - permutation[2 - k] for k in range(3)]
    turned = matrix.copy()
    turned[:3, :3] = matrix[:3, order]
    turned[:3, 3] += turned[:3, 2] * (array.shape[0] - 1)
    turned[:3, 2] *= -1
    volume = Volume(torch.from_numpy(array), deformgan.Geometry.from_matrix(turned, array.shape[::-1]))
    found = deformgan.register(fixed, volume, options=RegisterOptions(stage="affine"))
    points = body_points(fixed)
    assert np.median(np.linalg.norm(found.transform.apply(points) - truth(points), axis=1)) < 5


def test_autograd_finds_what_the_analytic_engine_finds(deformed):
    fixed, moving, _ = deformed
    points = body_points(fixed)
    found = [
        deformgan.register(fixed, moving, options=RegisterOptions(stage="affine", engine=engine)).transform.apply(
            points
        )
        for engine in ("analytic", "autograd")
    ]
    assert np.linalg.norm(found[0] - found[1], axis=1).max() < 0.3


def test_ranges_hold_the_affine_stage_back(deformed):
    fixed, moving, _ = deformed
    free = deformgan.register(fixed, moving, options=RegisterOptions(stage="affine")).transform.parts[0].matrix
    limits = RegisterOptions(stage="affine", max_rotation=3.0, max_shift=4.0, max_scale=1.02)
    held = deformgan.register(fixed, moving, options=limits).transform.parts[0].matrix
    turns, scales = (
        [to_parameters(m, body_points(fixed).mean(0), "affine")[k] for m in (free, held)]
        for k in (slice(3), slice(6, 9))
    )
    assert np.abs(np.rad2deg(turns[0])).max() > 5 > 3.5 > np.abs(np.rad2deg(turns[1])).max()
    assert np.exp(np.abs(scales[0])).max() > 1.04 > 1.025 > np.exp(np.abs(scales[1])).max()


@pytest.mark.parametrize(
    "wrong", [{"engine": "magic"}, {"max_rotation": -1.0}, {"max_scale": 0.9}, {"max_shift": np.nan}]
)
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RegisterOptions(**wrong)


def test_small_field_of_view_with_padding_in_a_ct():
    motion = from_parameters(np.array([0.15, 0, -0.1, 12, -8, 10], float), CENTRE, "rigid")
    fixed = phantoms.image(phantoms.GRID, phantoms.CT)
    fixed.tensor[:, -3:, :] = 150.0  # a table
    small = deformgan.Geometry((30, 28, 26), (3, 3, 3.5), (-30.0, -35.0, -30.0))
    moving = phantoms.image(small, phantoms.T1, moved_by(motion))
    found = deformgan.register(fixed, moving, options=RegisterOptions(stage="affine"))
    points = body_points(fixed)
    truth = points @ motion[:3, :3].T + motion[:3, 3]
    inside = np.abs((truth - small.centre) / (small.extent_mm / 2)).max(1) < 1
    assert np.median(np.linalg.norm(found.transform.apply(points) - truth, axis=1)[inside]) < 3


def test_masks_keep_a_disturbance_out():
    motion = from_parameters(np.array([0.1, 0.05, -0.1, 6, -8, 4], float), CENTRE, "rigid")
    fixed, moving = (
        phantoms.image(phantoms.GRID, phantoms.T1),
        phantoms.image(phantoms.GRID, phantoms.T2, moved_by(motion)),
    )
    spoiled = moving.tensor.clone()
    spoiled[:, :, :22] = torch.rand(spoiled[:, :, :22].shape) * 200
    mask = torch.ones(spoiled.shape, dtype=torch.uint8)
    mask[:, :, :24] = 0
    options = RegisterOptions(stage="rigid")
    found = deformgan.register(
        fixed, Volume(spoiled, moving.geometry), moving_mask=Volume(mask, moving.geometry), options=options
    )
    points = body_points(fixed)
    truth = points @ motion[:3, :3].T + motion[:3, 3]
    assert np.linalg.norm(found.transform.apply(points) - truth, axis=1).max() < 1.5


def test_progress_names_the_stages(deformed):
    seen: list[Progress] = []
    deformgan.register(*deformed[:2], options=RegisterOptions(preset="fast"), progress=seen.append)
    assert {step.stage for step in seen} == {"start", "affine", "rigid", "deformable"}
    assert all(0 <= step.done <= step.total for step in seen)


def test_any_named_similarity_runs(deformed):
    for text in ("lg=1,gc=0.5", "mind=1", "nmi=1", "ncc=1"):
        found = deformgan.register(*deformed[:2], options=RegisterOptions(preset="fast", similarity=text))
        assert found.metrics["regularity"]["folding_percent"] == 0


def test_bad_wishes_are_refused():
    with pytest.raises(InputError, match="did you mean lcc"):
        deformgan.register("a", "b", options=RegisterOptions(similarity="lccc=1"))
    with pytest.raises(InputError, match="preset"):
        RegisterOptions(preset="quick")
    with pytest.raises(InputError, match="device"):
        deformgan.register("a", "b", options=RegisterOptions(device="nonsense"))


def test_images_that_cannot_meet_are_refused():
    fixed = phantoms.image(phantoms.GRID, phantoms.T1)
    mask = torch.zeros(fixed.geometry.shape, dtype=torch.uint8)
    with pytest.raises(InputError, match="mask is empty"):
        deformgan.register(fixed, fixed, fixed_mask=Volume(mask, fixed.geometry))
    far = Volume(fixed.tensor, deformgan.Geometry(fixed.geometry.size, fixed.geometry.spacing, (5000.0, 0, 0)))
    found = deformgan.register(fixed, far, options=RegisterOptions(stage="rigid"))
    shift = found.transform.apply(np.zeros((1, 3)))[0] - (5082.0, 88.0, 90.0)
    assert np.abs(shift).max() < 1.0  # centres meet although the headers lie metres apart
