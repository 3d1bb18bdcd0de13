"""The challenge's measures, held against its formulae written out in plain numpy, and MONAI's surface areas."""

import numpy as np
import phantoms
import pytest
import torch
from monai.metrics.utils import get_code_to_measure_table, get_edge_surface_distance
from scipy import ndimage

from deformgan.errors import InputError
from deformgan.evaluation import learn2reg
from deformgan.evaluation.overlap import coded_labels
from deformgan.spatial.transform import Affine, DisplacementField, Transform

SHAPE = (15, 18, 21)  # X, Y, Z


def field(seed, size=1.0, shape=SHAPE):
    noise = np.random.default_rng(seed).normal(size=(*shape, 3))
    return (size * ndimage.gaussian_filter(noise, (1, 1, 1, 0)) * 4).astype(np.float32)


def blobs(seed, labels=4, shape=SHAPE):
    noise = np.random.default_rng(seed).normal(size=(labels, *shape))
    return np.argmax([ndimage.gaussian_filter(n, 2) for n in noise], axis=0).astype(np.int16)


def jacobian_plus_three(u):
    """J[i][j] = d(x_i + u_i) / dx_j by the kernel (-1/2, 0, 1/2), at all but two voxels at every border."""
    x, y, z = SHAPE
    inner = u.astype(np.float64)
    slopes = np.empty((x - 4, y - 4, z - 4, 3, 3))
    for axis in range(3):
        ahead, behind = [slice(2, -2)] * 3, [slice(2, -2)] * 3
        ahead[axis], behind[axis] = slice(3, SHAPE[axis] - 1), slice(1, SHAPE[axis] - 3)
        slopes[..., axis] = (inner[tuple(ahead)] - inner[tuple(behind)]) / 2
    return np.linalg.det(slopes + np.eye(3)) + 3


@pytest.mark.parametrize(("seed", "size"), [(0, 0.3), (1, 1.0), (2, 6.0)])
def test_sdlogj_is_that_of_the_published_formula(seed, size):
    u = field(seed, size)
    logs = np.log(np.clip(jacobian_plus_three(u), 0.000000001, 1000000000))
    assert learn2reg.sd_log_jacobian(u) == pytest.approx(logs.std(), abs=1e-6, rel=1e-6)
    mask = np.random.default_rng(seed).random(SHAPE) < 0.4
    inside = np.ma.MaskedArray(logs, ~mask[2:-2, 2:-2, 2:-2]).std()
    assert learn2reg.sd_log_jacobian(u, mask) == pytest.approx(inside, abs=1e-6, rel=1e-6)


def test_clipping_is_reached_by_a_wild_field():
    assert (jacobian_plus_three(field(2, 6.0)) < 0).any()


def test_labels_are_read_at_the_nearest_voxel_and_lost_beyond_the_last_centre():
    moving, u = blobs(3), field(4, 3.0)
    at = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) + u.astype(np.float64)
    inside = ((at >= 0) & (at <= np.array(SHAPE) - 1)).all(-1)
    index = np.floor(at + 0.5).astype(int).clip(0, np.array(SHAPE) - 1)
    expected = np.where(inside, moving[tuple(np.moveaxis(index, -1, 0))], 0)
    assert 0.1 < inside.mean() < 0.95
    np.testing.assert_array_equal(learn2reg.warped_labels(moving, u), expected)


def test_tre_interpolates_by_cubic_splines_and_counts_by_the_moving_spacing():
    u, rng, spacing = field(5), np.random.default_rng(6), (1.5, 2.0, 0.7)
    fixed, moving = rng.uniform(1, 13, (9, 3)), rng.uniform(1, 13, (9, 3))
    way = np.stack(
        [ndimage.map_coordinates(u[..., c].astype(float), fixed.T, order=3, mode="constant") for c in range(3)]
    )
    expected = np.sqrt((((fixed + way.T - moving) * spacing) ** 2).sum(1))
    np.testing.assert_allclose(learn2reg.target_registration_error(fixed, moving, u, spacing), expected, atol=1e-6)
    at_nodes = np.array([[3.0, 4.0, 5.0]])
    exact = np.linalg.norm(u[3, 4, 5] * spacing)
    assert learn2reg.target_registration_error(at_nodes, at_nodes, u, spacing)[0] == pytest.approx(exact, rel=1e-5)


def test_areas_of_surface_elements_are_those_of_the_published_table():
    table, kernel = get_code_to_measure_table((1, 1, 1), device="cpu")
    weights = kernel.numpy().reshape(2, 2, 2).astype(int)
    theirs = np.empty(256)
    for code in range(256):
        bits = [int(weights[c]) for n, c in enumerate(np.ndindex(2, 2, 2)) if code >> n & 1]
        theirs[code] = table[sum(bits)]
    np.testing.assert_allclose(learn2reg._areas(), theirs, atol=1e-6)


def robust_hausdorff(pair):
    """The published percentile: distances sorted with their areas, the first at which 95 % of the area is reached."""
    worst = 0.0
    _, distances, areas = pair
    for distance, area in zip(distances, areas, strict=True):
        rows = sorted(zip(distance.double().tolist(), area.double().tolist(), strict=True))
        share = np.cumsum([a for _, a in rows]) / sum(a for _, a in rows)
        worst = max(worst, rows[min(int(np.searchsorted(share, 0.95)), len(rows) - 1)][0])
    return worst


@pytest.mark.parametrize("seed", range(4))
def test_hd95_weights_distances_by_area(seed):
    fixed = blobs(seed)
    warped = np.roll(np.where(np.random.default_rng(seed).random(SHAPE) < 0.03, 0, fixed), (1, 0, 2), (0, 1, 2))
    labels = coded_labels(fixed, warped)
    expected = []
    for n in labels.values:
        masks = [torch.from_numpy(np.pad(image == n, 1)) for image in (fixed, warped)]
        edges, distances, areas = get_edge_surface_distance(*masks, symmetric=True, use_subvoxels=True)
        inside = [area[edge] for area, edge in zip(areas, edges, strict=True)]
        expected.append(robust_hausdorff((edges, distances, inside)))
    found = learn2reg.hd95_voxels(labels)
    assert min(expected) > 0.9
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_hd95_is_infinite_where_warping_loses_a_label():
    fixed, warped = np.zeros((2, 5, 5, 5), np.int16)
    fixed[2, 2, 2] = fixed[3, 3, 3] = 1
    assert learn2reg.hd95_voxels(coded_labels(fixed, warped)).tolist() == [np.inf]


def test_a_transform_in_mm_becomes_voxels_of_the_moving_image():
    fixed, moving = phantoms.OBLIQUE, phantoms.GRID
    rng = np.random.default_rng(7)
    matrix = np.eye(4)
    matrix[:3] += 0.05 * rng.normal(size=(3, 4)) * [1, 1, 1, 80]
    noise = DisplacementField(fixed, rng.normal(size=(*fixed.shape, 3)).astype(np.float32))
    transform = Transform((noise, Affine(matrix)))
    u = learn2reg.voxel_displacement(transform, fixed, moving)
    assert u.shape == (*fixed.size, 3)
    index = np.array([[0, 0, 0], [57, 43, 61], [30, 7, 50]])
    points = index @ fixed.matrix[:3, :3].T + fixed.matrix[:3, 3]
    landed = transform.apply(points) @ moving.inverse[:3, :3].T + moving.inverse[:3, 3]
    np.testing.assert_allclose(index + u[tuple(index.T)], landed, atol=1e-4)


def test_landmarks_in_voxels_or_in_mm(tmp_path):
    grid, voxels = phantoms.OBLIQUE, np.array([[3.0, 4.5, 6.0], [10.0, 2.0, 7.25]])
    (tmp_path / "theirs.csv").write_text("3.0,4.5,6.0\n10,2,7.25\n")
    points = voxels @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    rows = "".join(",".join(f"{v:.9f}" for v in row) + "\n" for row in points)
    (tmp_path / "mm.csv").write_text("x_lps,y_lps,z_lps\n" + rows)
    for name in ("theirs.csv", "mm.csv"):
        np.testing.assert_allclose(learn2reg.read_points(tmp_path / name, grid), voxels, atol=1e-6)
    (tmp_path / "two.csv").write_text("1,2\n3,4\n")
    with pytest.raises(InputError, match=r"two\.csv"):
        learn2reg.read_points(tmp_path / "two.csv", grid)
    with pytest.raises(InputError, match="no such file"):
        learn2reg.read_points(tmp_path / "none.csv", grid)
