"""Images pulled through transforms: exact answers, a plain numpy twin, and SimpleITK as the referee."""

import numba
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.kernels import resample as kernel
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Affine, DisplacementField, Transform

GRIDS = {  # rows of the direction before the oblique turn: as it is, permuted, flipped, both
    "plain": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "permuted": ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
    "flipped": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "permuted and flipped": ((0, -1, 0), (0, 0, 1), (1, 0, 0)),
}


def grid(size, spacing, rows=GRIDS["plain"], degrees=0.0):
    """A grid around the world's origin, its axes turned about z and then x."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    direction = turn @ np.array(rows)
    origin = -direction @ ((np.array(size) - 1) / 2 * spacing)
    return Geometry(size, spacing, tuple(origin), tuple(direction.ravel()))


def image_on(geometry, seed=0):
    return Volume(torch.from_numpy(np.random.default_rng(seed).random(geometry.shape, np.float32) * 100), geometry)


def field_on(geometry, size_mm=4.0):
    points = voxel_points(geometry)
    waves = [size_mm * np.sin(points[..., (a + 1) % 3] / 9 + a) for a in range(3)]
    return DisplacementField(geometry, np.stack(waves, -1).astype(np.float32))


def affine(seed=0):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] += 0.1 * rng.normal(size=(3, 3))
    matrix[:3, 3] = 3 * rng.normal(size=3)
    return Affine(matrix)


def placed(image, geometry):
    image.SetOrigin(geometry.origin)
    image.SetSpacing(geometry.spacing)
    image.SetDirection(geometry.direction)
    return image


def referee(moving, transform, reference, kind=sitk.sitkLinear, outside=0.0):
    """SimpleITK.Resample with the same chain, (Z, Y, X)."""
    composite = sitk.CompositeTransform(3)
    for part in reversed(transform.parts):
        if isinstance(part, Affine):
            one = sitk.AffineTransform(3)
            one.SetMatrix(part.matrix[:3, :3].ravel().tolist())
            one.SetTranslation(part.matrix[:3, 3].tolist())
        else:
            field = sitk.GetImageFromArray(part.displacement.astype(float), isVector=True)
            one = sitk.DisplacementFieldTransform(placed(field, part.geometry))
        composite.AddTransform(one)
    image = placed(sitk.GetImageFromArray(moving.tensor.numpy()), moving.geometry)
    like = placed(sitk.Image(list(reference.size), sitk.sitkUInt8), reference)
    return sitk.GetArrayFromImage(sitk.Resample(image, like, composite, kind, outside, image.GetPixelID()))


def chains(lattice):
    field = field_on(lattice)
    return {
        "none": Transform.identity(),
        "affine": Transform((affine(1),)),
        "field, affine": Transform((field, affine(1))),
        "affine, field": Transform((affine(2), affine(3), field)),
        "field, affine, field": Transform((field, affine(1), field)),
    }


@pytest.mark.parametrize("rows", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("chain", chains(Geometry((2, 2, 2))))
@pytest.mark.parametrize(
    ("interpolation", "kind"), [("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)]
)
def test_images_agree_with_simpleitk(rows, chain, interpolation, kind):
    moving = image_on(grid((17, 14, 11), (1.4, 2.0, 3.1), rows, degrees=12.0))
    reference = grid((15, 18, 13), (1.7, 1.5, 2.2), rows[::-1], degrees=-7.0)
    transform = chains(grid((8, 9, 7), (3.1, 3.0, 4.0), rows[::-1], degrees=-7.0))[chain]
    warped = resample(moving, transform, reference, interpolation=interpolation, outside=-20.0)
    expected = referee(moving, transform, reference, kind, outside=-20.0)
    assert warped.geometry == reference and warped.tensor.dtype == torch.float32
    assert 0.1 < (expected == -20).mean() < 0.9
    np.testing.assert_array_equal(warped.tensor.numpy() == -20, expected == -20)
    assert np.abs(warped.tensor.numpy() - expected).mean() < 1e-3 * np.ptp(expected)


def test_lattice_aligned_with_the_reference_or_not_gives_the_same():
    """Rows along a row of the lattice take another way through the kernel than oblique ones."""
    rng = np.random.default_rng(0)
    moving, u = rng.random((9, 10, 11), np.float32), rng.normal(size=(5, 6, 7, 3)).astype(np.float32)
    to_field = np.diag([0.6, 0.6, 0.6, 1.0])
    outs = []
    for lean in (0.0, 1e-8):
        out = np.empty((9, 10, 11), np.float32)
        to_field[1, 0] = lean
        kernel.resample(moving, np.eye(4), out, field=u, to_field=to_field, outside=-1.0)
        outs.append(out)
    np.testing.assert_allclose(outs[0], outs[1], atol=1e-5)
    assert np.abs(outs[0] - moving).mean() > 0.1


def twin(moving, matrix, shape, u, to_field, turn, outside):
    """The linear kernel in plain numpy, (Z', Y', X')."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    index = np.stack([x, y, z], -1).astype(float)
    shift = np.stack([trilinear(u[..., c], index @ to_field[:3, :3].T + to_field[:3, 3], 0.0) for c in range(3)], -1)
    return trilinear(moving, index @ matrix[:3, :3].T + matrix[:3, 3] + shift @ turn.T, outside)


def trilinear(image, index, outside):
    size = np.array(image.shape[::-1])
    inside = ((index >= -0.5) & (index < size - 0.5)).all(-1)
    clamped = np.clip(index, 0, size - 1)
    low = np.floor(clamped).astype(int)
    weight, high = clamped - low, np.minimum(low + 1, size - 1)
    value = np.zeros(index.shape[:-1])
    for corner in np.ndindex(2, 2, 2):
        at = [np.where(c, high[..., a], low[..., a]) for a, c in enumerate(corner)]
        share = np.prod([np.where(c, weight[..., a], 1 - weight[..., a]) for a, c in enumerate(corner)], axis=0)
        value += share * image[at[2], at[1], at[0]]
    return np.where(inside, value, outside)


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 10, 11), (9, 1, 1)])
def test_kernel_equals_its_numpy_twin(shape):
    rng = np.random.default_rng(2)
    moving, u = rng.random(shape, np.float32), rng.normal(size=(5, 4, 6, 3)).astype(np.float32)
    matrix, to_field = np.eye(4), np.diag([0.5, 0.4, 0.6, 1.0])
    matrix[:3] += 0.1 * rng.normal(size=(3, 4))
    to_field[:3] += 0.05 * rng.normal(size=(3, 4))
    turn = rng.normal(size=(3, 3))
    out = np.empty((7, 12, 8), np.float32)
    kernel.resample(moving, matrix, out, field=u, to_field=to_field, turn=turn, outside=3.0)
    np.testing.assert_allclose(out, twin(moving, matrix, out.shape, u, to_field, turn, 3.0), atol=2e-6)


def test_whole_voxel_shift_is_exact_and_the_notes_stay():
    geometry = grid((8, 7, 6), (1.5, 2.0, 3.0))
    moving = Volume(image_on(geometry).tensor, geometry, ("repaired",))
    shift = np.eye(4)
    shift[0, 3] = 2 * 1.5
    warped = resample(moving, Transform((Affine(shift),)), geometry, outside=-1.0)
    torch.testing.assert_close(warped.tensor[..., :-2], moving.tensor[..., 2:], atol=1e-4, rtol=0)
    assert (warped.tensor[..., -2:] == -1).all()
    assert warped.notes == ("repaired",)


def test_slabs_do_not_change_a_long_chain(monkeypatch):
    moving, reference = image_on(grid((12, 11, 10), (1.0, 1.0, 1.0))), grid((9, 8, 13), (1.2, 1.2, 0.8), degrees=5.0)
    transform = chains(grid((8, 9, 7), (2.0, 2.0, 2.0)))["field, affine, field"]
    whole = resample(moving, transform, reference).tensor
    monkeypatch.setattr("deformgan.spatial.transform._POINTS_AT_ONCE", 200)
    torch.testing.assert_close(resample(moving, transform, reference).tensor, whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_keep_their_dtype_and_values(dtype):
    geometry = grid((14, 12, 10), (1.0, 1.3, 2.0))
    high = torch.iinfo(dtype).max
    labels = torch.tensor([0, 1, 7, high], dtype=dtype)[
        torch.randint(4, geometry.shape, generator=torch.Generator().manual_seed(0))
    ]
    transform = Transform((field_on(grid((7, 6, 5), (2.0, 2.6, 4.0))), affine(1)))
    warped = resample(Volume(labels, geometry), transform, geometry, interpolation="nearest", outside=9).tensor
    assert warped.dtype == dtype
    assert set(warped.unique().tolist()) == {0, 1, 7, 9, high}
    expected = referee(Volume(labels, geometry), transform, geometry, sitk.sitkNearestNeighbor, 9)
    np.testing.assert_array_equal(warped.numpy(), expected)


@pytest.mark.parametrize(
    ("interpolation", "kind"), [("cubic", sitk.sitkBSpline), ("lanczos", sitk.sitkLanczosWindowedSinc)]
)
def test_higher_orders_pass_through_the_voxels_and_follow_the_transform(interpolation, kind):
    moving = image_on(grid((13, 12, 11), (1.0, 1.5, 2.0), GRIDS["permuted"], degrees=9.0))
    same = resample(moving, Transform.identity(), moving.geometry, interpolation=interpolation)
    torch.testing.assert_close(same.tensor, moving.tensor, atol=1e-2, rtol=0)
    reference = grid((10, 11, 12), (1.2, 1.2, 1.6))
    transform = chains(grid((7, 6, 5), (2.0, 2.6, 4.0)))["field, affine"]
    warped = resample(moving, transform, reference, interpolation=interpolation, outside=-5.0)
    assert warped.tensor.dtype == torch.float32 and warped.geometry == reference
    np.testing.assert_allclose(warped.tensor, referee(moving, transform, reference, kind, -5.0), atol=1e-2)


def test_one_and_two_threads_give_the_same_bytes():
    moving, reference = image_on(grid((17, 14, 11), (1.0, 1.0, 1.0))), grid((15, 18, 13), (1.0, 1.0, 1.0), degrees=9.0)
    transform = chains(grid((8, 9, 7), (2.0, 2.0, 2.0)))["field, affine"]
    before, results = numba.get_num_threads(), []
    for threads in (1, min(2, before)):
        numba.set_num_threads(threads)
        try:
            results.append(resample(moving, transform, reference).tensor)
        finally:
            numba.set_num_threads(before)
    assert torch.equal(*results)


def test_wrong_arguments_are_refused():
    moving = image_on(grid((4, 4, 4), (1.0, 1.0, 1.0)))
    with pytest.raises(InputError, match="'bicubic'"):
        resample(moving, Transform.identity(), moving.geometry, interpolation="bicubic")
    labels = Volume(moving.tensor.to(torch.uint8), moving.geometry)
    with pytest.raises(InputError, match="uint8"):
        resample(labels, Transform.identity(), moving.geometry, interpolation="nearest", outside=-1)
