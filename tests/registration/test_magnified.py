"""Small objects: what is found does not depend on the unit of length, and everything is told in the images' own mm."""

import numpy as np
import phantoms
import pytest
from phantoms import MOTION

import deformgan
from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import Affine, DisplacementField
from deformgan.registration.magnified import SMALL_MM, TYPICAL_MM, brought_back, magnification, magnified
from deformgan.registration.options import RegisterOptions
from deformgan.registration.plan import plan_files
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Transform

MOUSE = 0.06  # of a human head


@pytest.fixture(scope="module")
def pair():
    return phantoms.moved_pair()


def cube(edge_mm):
    return Geometry((10, 20, 40), (edge_mm / 10, edge_mm / 20, edge_mm / 20))  # edges: one, one and two times edge_mm


def error_in_head_mm(found, times):
    points, truth = phantoms.inner_points()
    return np.linalg.norm(found.transform.apply(points * times) / times - truth, axis=1)


def test_a_body_is_seen_as_it_is_and_what_is_small_as_large_as_a_head():
    assert magnification(cube(SMALL_MM), cube(500)) == 1 == magnification(cube(1000), cube(200))
    for edge in (1e-3, 1.0, 10.0, 44.9):
        assert magnification(cube(300), cube(edge)) * edge == pytest.approx(TYPICAL_MM)
    edges = np.geomspace(20, 120, 400)
    seen = np.array([magnification(cube(e), cube(e)) * e for e in edges])
    assert np.abs(np.diff(seen)).max() < 3 and seen.max() <= TYPICAL_MM + 1e-9  # no jump on the way
    slab = Geometry((250, 250, 3), (1.0, 1.0, 5.0))
    assert magnification(slab, slab) == 1  # thin is not small


def test_what_is_found_between_magnified_images_is_brought_back():
    rng = np.random.default_rng(2)
    grid = Geometry((7, 6, 5), (4.0, 5.0, 6.0), (-9.0, 4.0, 30.0))
    field = DisplacementField(grid, rng.standard_normal((5, 6, 7, 3)).astype(np.float32))
    found, times = Transform((field, Affine(MOTION))), 7.0
    points = rng.uniform([-9, 4, 30], [15, 29, 54], (50, 3))
    small = brought_back(found, times)
    np.testing.assert_allclose(small.apply(points / times), found.apply(points) / times, rtol=0, atol=1e-6)
    image = phantoms.image(grid, phantoms.T1)
    assert magnified(magnified(image, times), 1 / times).geometry.almost_equal(grid)


def test_a_mouse_is_registered_as_a_head_is(pair, tmp_path):
    shown = []
    heads = deformgan.register(*pair, options=RegisterOptions(preset="fast"))
    small = [magnified(image, MOUSE) for image in pair]
    found = deformgan.register(*small, options=RegisterOptions(preset="fast"), progress=shown.append)
    one, other = error_in_head_mm(heads, 1.0), error_in_head_mm(found, MOUSE)
    assert np.median(other) < 1.1 * np.median(one) + 0.2 < 2 < 20 < np.linalg.norm(MOTION[:3, 3])
    assert not found.suspect and found.warped.geometry == small[0].geometry
    assert found.metrics["inverse_error_mm"]["p95"] < 0.05 * MOUSE * 3  # of a voxel
    times = magnification(*(image.geometry for image in small))
    names = [f"{mm / times:.3g} mm" for mm in (6, 4, 2)]
    assert [level for _, level in found.losses] == names[: len(found.losses)] and len(found.losses) > 1
    assert {step.level for step in shown if step.stage == "deformable"} == set(list(zip(*found.losses, strict=True))[1])
    found.save(tmp_path / "out")
    read = Transform.load(tmp_path / "out/transform.h5")
    points = voxel_points(small[0].geometry).reshape(-1, 3)[::501]
    np.testing.assert_allclose(read.apply(points), found.transform.apply(points), rtol=0, atol=1e-4 * MOUSE)


def test_the_unit_of_length_changes_nothing(pair):
    options = RegisterOptions(preset="fast", stage="affine")
    points = voxel_points(phantoms.GRID).reshape(-1, 3)[::501]
    ends = []
    for times in (0.1, 1e-4):  # centimetres, micrometres
        found = deformgan.register(*(magnified(image, times) for image in pair), options=options)
        ends.append(found.transform.apply(points * times) / times)
    np.testing.assert_allclose(*ends, rtol=0, atol=0.3)  # mm, in a head: a tenth of a voxel


def test_limits_are_in_the_images_own_mm(pair):
    small = [magnified(image, MOUSE) for image in pair]
    held = RegisterOptions(stage="rigid", max_shift=0.5, max_rotation=1)
    found = deformgan.register(*small, options=held)
    centre = small[0].geometry.centre
    moved = np.abs(found.transform.apply(centre[None]) - centre)
    assert 0.1 < moved.max() < 0.6 < np.abs(MOTION[:3, 3]).max() * MOUSE


def test_the_plan_names_the_levels_that_are_run(pair, tmp_path):
    for name, image in zip(("fixed", "moving"), pair, strict=True):
        magnified(image, MOUSE).to_nibabel().to_filename(tmp_path / f"{name}.nii.gz")
    plan = plan_files(*(str(tmp_path / f"{name}.nii.gz") for name in ("fixed", "moving")))
    times = magnification(*(magnified(image, MOUSE).geometry for image in pair))
    assert any(f"{6 / times:.3g} mm (40)" in step for step in plan.steps)
