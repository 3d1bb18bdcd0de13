"""A CT made of the MR stands in for it: right for a good one, harmless for a bad one, refused for a wrong one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import phantoms
import pytest
import torch
from experiments import on_one_thread

import deformgan
from deformgan.errors import InputError
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import DisplacementField
from deformgan.io.volume import Volume
from deformgan.registration.appearance import Appearance
from deformgan.registration.bridge import bridge_of, parted, role_of_mr
from deformgan.registration.deformable import deform
from deformgan.registration.options import RegisterOptions
from deformgan.registration.pipeline import register_files
from deformgan.registration.recipe import TWO_MODALITIES
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform

FAST = RegisterOptions(preset="fast", threads=1)  # the threads of small images wait for each other on a busy machine
MR_GRID = phantoms.OBLIQUE.padded(4)
DULL = (0.0, 70.0, 10.0, 70.0, 75.0, 70.0)  # of an MR in which soft tissue hardly differs
STS = Path(__file__).parents[2] / "data/sts"
STILL = np.eye(4)
CPU = torch.device("cpu")


def bend(points: np.ndarray) -> np.ndarray:
    """A smooth diffeomorphism of at most 8 mm."""
    x, y, z = points.transpose(3, 0, 1, 2) / 60
    return points + 5.0 * np.stack([np.sin(2 * y + z), np.cos(1.7 * x - z), np.sin(1.5 * x + y)], -1)


def coarse(volume: Volume) -> Volume:
    """On voxels of about 3 mm."""
    size = [round(n * min(1.0, s / 3)) for n, s in zip(volume.geometry.size, volume.geometry.spacing, strict=True)]
    return resample(volume, Transform.identity(), volume.geometry.resized(tuple(size)))


def errors_mm(points: np.ndarray, transform: Transform, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(transform.apply(points) - truth, axis=1)


def phantom_error(transform: Transform) -> float:
    """Median distance to `bend` in the phantom's soft tissue."""
    points = voxel_points(phantoms.GRID)
    inside = np.linalg.norm(points / [62, 74, 66], axis=-1) < 0.7
    return float(np.median(errors_mm(points[inside], transform, bend(points)[inside])))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with on_one_thread():
        yield


@pytest.fixture(scope="module")
def pair():
    """(fixed CT, bent; moving MR; the CT that a perfect model would make of the MR)."""
    fixed = phantoms.image(phantoms.GRID, phantoms.CT, bend)
    return fixed, phantoms.image(MR_GRID, DULL, noise=0.06), phantoms.image(MR_GRID, phantoms.CT)


@pytest.fixture(scope="module")
def bridged(pair):
    fixed, moving, made = pair
    return deformgan.register(fixed, moving, bridge=made, options=FAST)


def test_a_perfect_bridge_is_better_than_none_on_a_real_patient():
    """The CT, moved as the MR was, stands in for the MR."""
    fixed, mr = (coarse(deformgan.read_volume(STS / f"STS_015_{name}.nii.gz")) for name in ("CT", "MR_T1"))
    points = voxel_points(fixed.geometry)
    phase = (points - mr.geometry.centre).transpose(3, 0, 1, 2) / 45
    u = 6 * np.stack([np.sin(phase[1] + phase[2]), np.cos(phase[0] - phase[2]), np.sin(phase[0] + phase[1])], -1)
    truth = Transform((DisplacementField(fixed.geometry, u.astype(np.float32)),))
    back = truth.inverse()
    moving = resample(mr, back, mr.geometry)
    made = resample(fixed, back, mr.geometry, outside=-1000.0)
    inside = points[(fixed.numpy() > -200) & (resample(mr, Transform.identity(), fixed.geometry).numpy() > 10)]
    trusting = replace(FAST, similarity="mi=0.3,bridge=0.7")
    found = {
        name: deformgan.register(fixed, moving, bridge=bridge, options=options)
        for name, bridge, options in (("direct", None, FAST), ("default", made, FAST), ("bridged", made, trusting))
    }
    error = {n: np.median(errors_mm(inside, r.transform, truth.apply(inside))) for n, r in found.items()}
    assert found["direct"].bridge is None and found["bridged"].bridge.stands_for == "moving"
    assert found["bridged"].verdict.kept == "deformable"
    assert error["bridged"] < 0.9 * error["direct"] and error["default"] < 0.97 * error["direct"], error
    assert found["bridged"].metrics["regularity"]["folding_percent"] == 0
    assert float(found["bridged"].warped.tensor.max()) <= float(moving.tensor.max())  # the real MR, not the CT


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_the_made_ct_alone_finds_a_bend_in_either_place(role):
    mr = [phantoms.image(g, DULL, m) for g, m in ((phantoms.GRID, bend), (MR_GRID, lambda p: p))]
    ct = [phantoms.image(g, phantoms.CT, m) for g, m in ((phantoms.GRID, bend), (MR_GRID, lambda p: p))]
    images = (mr[0], ct[1]) if role == "fixed" else (ct[0], mr[1])
    bridge = bridge_of(ct[role == "moving"], *images)
    assert bridge.stands_for == role
    f, m = (Appearance.of(v, None, CPU) for v in images)
    beside = bridge.beside(f, m, 1.0)
    found = deform(f, m, STILL, {}, TWO_MODALITIES.settings, [(6.0, 40), (4.0, 40)], beside=beside).then(STILL)
    assert phantom_error(Transform.identity()) > 5
    assert phantom_error(found) < 1.5


@pytest.mark.parametrize("kind", ["noise", "another phantom"])
def test_a_meaningless_bridge_does_little_harm(pair, kind):
    fixed, moving, made = pair
    if kind == "noise":
        values = torch.rand(made.tensor.shape, generator=torch.Generator().manual_seed(0)) * 500 - 150
    else:
        values = phantoms.image(MR_GRID, phantoms.CT, lambda p: p[..., [1, 2, 0]] + 15).tensor
    found = deformgan.register(fixed, moving, bridge=Volume(values, made.geometry), options=FAST)
    affine = Transform(found.transform.parts[-1:])
    assert found.verdict.scores[found.verdict.kept] >= found.verdict.scores["affine"]
    assert phantom_error(found.transform) <= phantom_error(affine) + 0.5
    assert found.metrics["regularity"]["folding_percent"] == 0


def test_same_seed_same_bytes(pair, bridged):
    fixed, moving, made = pair
    again = deformgan.register(fixed, moving, bridge=made, options=FAST)
    assert torch.equal(again.warped.tensor, bridged.warped.tensor)


def test_a_mask_of_the_mr_covers_the_made_ct_too(pair):
    fixed, moving, made = pair
    spoiled = Volume(made.tensor.clone(), made.geometry)
    spoiled.tensor[:, :, :20] = 300
    mask = torch.ones(made.tensor.shape, dtype=torch.uint8)
    mask[:, :, :24] = 0

    def moved_by_the_spoil(mask: Volume | None) -> float:
        f, m = Appearance.of(fixed, None, CPU), Appearance.of(moving, mask, CPU)
        sides = [bridge_of(image, fixed, moving).beside(f, m, 1.0) for image in (made, spoiled)]
        one, other = (deform(f, m, STILL, {}, TWO_MODALITIES.settings, [(3.0, 10)], beside=s) for s in sides)
        return float((one.displacement - other.displacement).abs().mean())

    assert moved_by_the_spoil(Volume(mask, made.geometry)) < 0.2 * moved_by_the_spoil(None)


def test_a_bridge_that_does_not_belong_to_the_pair_is_refused(pair):
    fixed, moving, made = pair
    with pytest.raises(InputError, match="both look like CT"):
        deformgan.register(fixed, made, bridge=made)
    with pytest.raises(InputError, match="neither the fixed image nor the moving"):
        deformgan.register(moving, moving, bridge=made)
    shifted = Geometry(made.geometry.size, made.geometry.spacing, (0.0, 0.0, 0.0), made.geometry.direction)
    with pytest.raises(InputError, match="another grid than the moving image"):
        deformgan.register(fixed, moving, bridge=Volume(made.tensor, shifted))
    with pytest.raises(InputError, match="no contrast"):
        deformgan.register(fixed, moving, bridge=Volume(torch.full_like(made.tensor, 40.0), made.geometry))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"similarity": "gc=1"}, "leaves the bridge out"),
        ({"stage": "affine"}, "deformable stage"),
        ({"model": "any", "refine": False}, "deformable stage"),
    ],
)
def test_options_without_use_for_a_bridge_are_refused(pair, options, says):
    fixed, moving, made = pair
    with pytest.raises(InputError, match=says):
        deformgan.register(fixed, moving, bridge=made, options=RegisterOptions(**options))


def test_a_similarity_with_a_bridge_wants_one(pair):
    with pytest.raises(InputError, match="there is none"):
        deformgan.register(*pair[:2], options=RegisterOptions(similarity="bridge=1"))
    for wrong, says in (("bridge=-1", "above 0"), ("bridge=1,bridge=2", "twice"), ("bridge=1,lcx=1", "did you mean")):
        with pytest.raises(InputError, match=says):
            RegisterOptions(similarity=wrong)


def test_the_bridge_is_parted_from_the_real_pairs_terms():
    assert parted("bridge=0.5, gc=2,LG") == ({"gc": 2.0, "lg": 1.0}, 0.5)
    assert parted("Bridge") == ({}, 1.0)
    assert parted("lg=1") == ({"lg": 1.0}, 0.0)


def test_files_say_what_stood_in(pair, tmp_path):
    fixed, moving, made = pair
    files = [str(tmp_path / "ct.nii.gz"), str(tmp_path / "mr.nii.gz")]
    for path, volume in zip(files, (fixed, moving), strict=True):
        write_volume(volume, path)
    (tmp_path / "model").write_text("weights")
    asked = []

    def make(mr: Volume) -> Volume:
        asked.append(mr)
        return Volume(made.tensor, made.geometry, ("of a perfect model",))

    options = RegisterOptions(preset="fast", similarity="bridge=1,mi=0.3", threads=1)
    found = register_files(*files, bridge=make, bridge_source=str(tmp_path / "model"), options=options)
    [mr] = asked
    np.testing.assert_allclose(mr.numpy(), moving.numpy(), atol=1e-3)
    found.save(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "result.json").read_text())
    said = saved["bridge"]
    assert said["path"].endswith("model") and len(said["sha256"]) == 64
    assert said["stands_for"] == "moving" and said["notes"] == ["of a perfect model"]
    assert saved["deformable"]["similarity"] == "bridge=1,mi=0.3" and "bridge" in saved["timings_s"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>Bridge</b>" in page and said["sha256"] in page


def test_the_role_names_the_files():
    ct = phantoms.image(phantoms.GRID, phantoms.CT)
    with pytest.raises(InputError, match="one and two both"):
        role_of_mr(ct, ct, ("one", "two"))
