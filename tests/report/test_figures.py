"""Pictures: what is drawn lies where it should, at the right shape, in the right colour."""

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry
from deformgan.report.contrast import SOFT_TISSUE_HU, body_centre, contrast_window
from deformgan.report.figures import before_after, displacement_row, image_rows, jacobian_row, scene
from deformgan.report.orientation import Orientation, radiological_views
from deformgan.report.panels import canvas, checkerboard, grid_lines, show
from deformgan.report.ramps import FOLDED, displacement_bar, jacobian_bar

GRID = Geometry((20, 30, 10), (1.0, 1.0, 4.0))  # 20 x 30 x 40 mm


def blob(shape=GRID.shape):
    z, y, x = np.indices(shape)
    centre = [(n - 1) / 2 for n in shape]
    distance = sum(((v - c) / (c + 1)) ** 2 for v, c in zip((z, y, x), centre, strict=True))
    return np.exp(-2 * distance).astype(np.float32)


def views(geometry=GRID, centre=(5, 15, 10)):
    orientation = Orientation.of(geometry)
    return orientation, radiological_views(orientation, geometry.shape, centre)


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"), np.float32)


def test_every_view_has_the_shape_of_its_millimetres():
    figure: Figure = canvas([list(views()[1])], [lambda axes, plane: show(axes, plane, plane.cut(blob()))] * 3)
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    measured = [(box.width * width, box.height * height) for box in boxes]
    scale = measured[0][0] / 20
    np.testing.assert_allclose(measured, np.array([(20, 30), (20, 40), (30, 40)]) * scale, rtol=1e-6)


def test_a_round_body_in_anisotropic_voxels_is_drawn_round():
    geometry = Geometry((40, 40, 10), (1.0, 1.0, 4.0))
    z, y, x = np.indices(geometry.shape)
    ball = (((x - 19.5) ** 2 + (y - 19.5) ** 2 + (4 * (z - 4.5)) ** 2) < 15**2).astype(np.float32)
    row = image_rows(scene(ball, ball, ball, geometry))[0]
    picture = pixels(row.uri).mean(axis=2)
    third = row.width // 3
    for column in range(3):
        inside = picture[25:-25, column * third + 25 : (column + 1) * third - 25] > 200
        tall, wide = inside.any(axis=1).sum(), inside.any(axis=0).sum()
        assert 0.85 < tall / wide < 1.15, column


def test_the_left_posterior_superior_corner_is_drawn_at_the_right():
    cube = Geometry((20, 20, 10), (1.0, 1.0, 2.0))  # so that each view takes a third of the row
    image = blob(cube.shape) * 0.2
    image[3:, 7:, 7:] = 1.0
    picture = pixels(image_rows(scene(image, image, image, cube))[0].uri).mean(axis=2)
    bright = picture > 220
    axial, coronal = bright[:, : picture.shape[1] // 3], bright[:, picture.shape[1] // 3 : 2 * picture.shape[1] // 3]
    for part, lower in ((axial, True), (coronal, False)):
        rows, columns = np.nonzero(part)
        assert columns.mean() > part.shape[1] / 2
        assert (rows.mean() > part.shape[0] / 2) == lower


def test_checkerboard_tiles_are_square_in_millimetres_and_alternate():
    _, (_, coronal, _) = views()
    board = checkerboard(coronal, np.zeros((10, 20)), np.ones((10, 20)))
    moving = board[..., 0] > 0.5
    assert not moving[0, 0] and moving[0, 5] and not moving[0, 9] and moving[1, 0] and not moving[1, 5]
    assert 0.4 < moving.mean() < 0.6


def test_grid_lines_move_by_the_displacement_in_the_plane():
    orientation, (axial, coronal, _) = views()
    u = np.broadcast_to(np.array([2.0, -3.0, 4.0], np.float32), (*GRID.shape, 3))
    for plane, dx, dy in ((axial, 2.0, -3.0), (coronal, 2.0, -1.0)):  # voxels; superior (+z, 4 mm a row) is up
        lines = grid_lines(orientation, plane, plane.cut(u), displacement_bar(5.0))
        ends = np.concatenate([path.vertices for path in lines.get_paths()])
        rows, columns = plane.cut(u).shape[:2]
        np.testing.assert_allclose(ends.min(axis=0), (dx, dy), atol=1e-6)
        np.testing.assert_allclose(ends.max(axis=0), (columns - 1 + dx, rows - 1 + dy), atol=1e-6)


def test_the_deformation_grid_does_not_shrink_the_picture_under_it():
    orientation, planes = views()
    u = np.full((*GRID.shape, 3), 9.0, np.float32)

    def paint(axes, plane):
        show(axes, plane, plane.cut(blob()))
        axes.add_collection(grid_lines(orientation, plane, plane.cut(u), displacement_bar(9.0)))
        axes.autoscale_view()

    axial = canvas([list(planes)], [paint] * 3).axes[0]
    assert axial.get_xlim() == (-0.5, 19.5)
    assert axial.get_ylim() == (29.5, -0.5)


def test_jacobian_colours_growth_warm_shrinking_cold_and_folding_loud():
    bar = jacobian_bar([np.array([[0.5, 1.0, 2.0]])])
    shrunk, same, grown, folded = bar.colours(np.array([0.5, 1.0, 2.0, -0.1]))
    assert shrunk[2] > shrunk[0] and grown[0] > grown[2]
    assert same.max() < 0.15
    assert folded.tolist() == pytest.approx([int(FOLDED[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    assert (50.0, "1") in bar.ticks


def test_window_is_soft_tissue_for_hounsfield_units_and_percentiles_otherwise():
    body = blob()
    ct = np.where(body > 0.3, 40 + 100 * body, -1000).astype(np.float32)
    assert (contrast_window(ct).low, contrast_window(ct).high) == SOFT_TISSUE_HU
    mr = np.where(body > 0.3, 500 * body, 0).astype(np.float32)
    mr[0, 0, 0] = 1e6  # one hot voxel
    window = contrast_window(mr)
    assert 100 < window.low < 250 and 400 < window.high < 600


def test_body_centre_finds_the_body_not_the_grids_middle():
    image = np.zeros((40, 50, 60), np.float32)
    image[25:36, 5:16, 40:51] = 100
    image += np.linspace(0, 1, 60, dtype=np.float32)
    assert np.abs(np.subtract(body_centre(image, contrast_window(image)), (30, 10, 45))).max() <= 2


@pytest.mark.parametrize("value", [0.0, -7.5, np.nan])
def test_images_without_contrast_are_drawn(value):
    flat = np.full(GRID.shape, value, np.float32)
    rows = image_rows(scene(blob(), flat, flat, GRID))
    assert len(rows) == 7
    assert pixels(rows[1].uri)[100:-100].max() < 255


def test_deformation_rows_take_fields_that_are_zero_or_partly_not_finite():
    u, jacobian = np.zeros((*GRID.shape, 3), np.float32), np.ones(GRID.shape, np.float32)
    view = scene(blob(), blob(), blob(), GRID)
    assert displacement_row(view, u).bar.high == 1
    assert jacobian_row(view, jacobian).bar.high == 1.25
    u[0], jacobian[0] = np.nan, np.nan
    assert displacement_row(view, u).bar.high == 1
    assert jacobian_row(view, jacobian).bar.high == 1.25


def test_arrays_on_another_grid_are_refused_by_name():
    good = blob()
    with pytest.raises(InputError, match=r"warped .*\(10, 30, 20\)"):
        scene(good, good, good[1:], GRID)
    with pytest.raises(InputError, match="displacement"):
        displacement_row(scene(good, good, good, GRID), np.zeros((3, *GRID.shape), np.float32))
    with pytest.raises(InputError, match="jacobian"):
        jacobian_row(scene(good, good, good, GRID), good[None])


def test_before_after_writes_one_png_with_coloured_outlines(tmp_path):
    shifted = np.roll(blob(), 4, axis=2)
    before_after(tmp_path / "pair.png", blob(), shifted, blob(), GRID)
    picture = np.asarray(Image.open(tmp_path / "pair.png").convert("RGB"), np.float32)
    third = picture.shape[1] // 3
    orange = [
        (picture[:, k * third : (k + 1) * third, 0] - picture[:, k * third : (k + 1) * third, 2]) for k in range(3)
    ]
    assert orange[0].max() < 20 < 150 < min(orange[1].max(), orange[2].max())
    middle = [np.nonzero(o > 150)[1].mean() for o in orange[1:]]
    assert middle[0] > middle[1] + 20  # the shift towards the patient's left is drawn to the right
    assert [p.name for p in tmp_path.iterdir()] == ["pair.png"]


def test_a_picture_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="its folder does not exist"):
        before_after(tmp_path / "nowhere" / "pair.png", blob(), blob(), blob(), GRID)
