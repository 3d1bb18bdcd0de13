"""The interactive report in a real browser: what it shows is what the arrays hold; nothing asks for the network."""

import gzip
import io
import json
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deformgan
from deformgan.cli.view import page_in, server
from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.registration.options import RegisterOptions
from deformgan.report import Page, niivue, report_page
from deformgan.report.packed import ViewGrid, field_block, image_block

DATA = Path(__file__).parents[2] / "data" / "sts"
TILTED = Geometry((40, 36, 18), (1.5, 1.0, 3.0), (-20, 30, 5), (0, 0.6, 0.8, -1, 0, 0, 0, -0.8, 0.6))
EVIL = "</script><script>window.broken=1</script><!--\u2028'\"&"


def blob(geometry, centre=(0.5, 0.5, 0.5), width=0.2):
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in geometry.shape], indexing="ij")
    away = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return (1000 * np.exp(-away / (2 * width**2))).astype(np.float32)


def told(page):
    """What the page knows of its arrays and their grid."""
    return json.loads(page.text_content("#viewer-about"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A real pair, registered quickly, with labels of both; and its folder."""
    folder = tmp_path_factory.mktemp("report") / "result"
    result = deformgan.register(
        DATA / "STS_051_CT.nii.gz", DATA / "STS_051_MR_T1.nii.gz", options=RegisterOptions(preset="fast")
    )
    labels = [Volume((v.tensor > at).short() * 7, v.geometry) for v, at in ((result.fixed, 250), (result.moving, 400))]
    result.save(folder, fixed_labels=labels[0], moving_labels=labels[1])
    return result, folder, labels


@pytest.fixture
def opened(chromium):
    """open(path, **context) -> a page whose viewer is ready or given up; afterwards: no faults, nothing asked for."""
    asked, faults, contexts = [], [], []

    def open_page(path, scheme="light", script=None, **context):
        contexts.append(chromium.new_context(viewport={"width": 1180, "height": 900}, color_scheme=scheme, **context))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        if script:
            page.add_init_script(script)
        page.goto(Path(path).as_uri())
        page.wait_for_selector("html[data-viewer]", timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
    assert {url.split(":")[0] for url in asked} <= {"file", "blob", "data"}
    assert sum(url.startswith("file:") for url in asked) == len(contexts)


def readings(page):
    """The table under the crosshair: name -> numbers."""
    rows = page.eval_on_selector_all(
        "#read tr", "rows => rows.map(r => [r.children[0].textContent, r.children[1].dataset.value])"
    )
    return {name: np.array([float(v) for v in value.split(",")]) for name, value in rows}


def settle(page):
    """Wait until all arrays are unpacked and two frames are drawn."""
    page.wait_for_function("() => !document.querySelector('#read').textContent.includes('\u2026')")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def picture(page):
    """The canvas as (rows, columns, 3), as it is shown."""
    raw = page.locator("#screen").screenshot()
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), np.float32)


def test_what_is_read_under_the_crosshair_is_what_the_files_hold(pair, opened, record_property):
    result, folder, labels = pair
    page = opened(folder / "report.html")
    record_property("opening_ms", page.get_attribute("html", "data-opening-ms"))
    settle(page)
    assert (folder / "report.html").stat().st_size < 15e6
    grid = result.fixed.geometry
    assert page.get_attribute("html", "data-viewer") == "ready"
    before = deformgan.warp(result.moving, deformgan.Transform.identity(), grid)
    warped_labels = deformgan.warp(labels[1], result.transform, grid, labels=True)
    generator = np.random.default_rng(1)
    blocks, view = told(page)["blocks"], told(page)["grid"]
    matrix = np.array(view["matrix"])
    seen = set()
    for index in [(0, 0, 0), [n - 1 for n in view["size"]], *generator.integers(10, 50, (6, 3)).tolist()]:
        page.evaluate("index => deformgan.go(index)", list(index))
        settle(page)
        read = readings(page)
        mm = matrix @ [*index, 1]
        np.testing.assert_allclose(read["Position"], mm[:3], atol=1e-9)
        i, j, k = np.rint(grid.inverse @ mm)[:3].astype(int)
        np.testing.assert_allclose(read["Voxel of the fixed image"], (i, j, k), atol=1e-6)
        images = {"fixed": result.fixed, "moving, warped": result.warped, "moving, start pose": before}
        for number, (name, volume) in enumerate(images.items()):
            about = blocks[f"image-{number if number < 2 else 3}"]
            true = np.clip(volume.numpy()[k, j, i], about["low"], about["low"] + 255 * about["step"])
            assert abs(read[name][0] - true) <= 0.51 * about["step"], name
        assert read["labels of fixed"] == labels[0].numpy()[k, j, i]
        assert read["labels of moving, warped"] == warped_labels.numpy()[k, j, i]
        assert read["Jacobian"][0] == pytest.approx(result.jacobian[k, j, i], rel=0.02)
        np.testing.assert_allclose(read["Displacement"], result.displacement[k, j, i], atol=0.25)
        seen.add(float(read["fixed"][0]))
    assert len(seen) > 4


def test_modes_sliders_and_keys_change_the_picture(pair, opened):
    _, folder, _ = pair
    page = opened(folder / "report.html", scheme="dark")
    settle(page)
    side = picture(page)
    box = page.locator("#screen").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.3)
    shots = {}
    for key, mode in (("w", "swipe"), ("c", "checker"), ("o", "overlay")):
        page.keyboard.press(key)
        assert page.get_attribute(f"[data-mode={mode}]", "aria-pressed") == "true"
        for place in (20, 80):
            page.locator("#slider").fill(str(place))
            settle(page)
            shots[mode, place] = picture(page)
        assert np.abs(shots[mode, 20] - shots[mode, 80]).mean() > 1, mode
    page.keyboard.press("b")
    page.keyboard.press("Space")
    settle(page)
    first, said = picture(page), page.inner_text("#shown")
    page.keyboard.press("Space")
    settle(page)
    assert np.abs(first - picture(page)).mean() > 1 and page.inner_text("#shown") != said
    for key in "gjlx":
        before = picture(page)
        page.keyboard.press(key)
        page.wait_for_timeout(300)
        settle(page)
        assert np.abs(before - picture(page)).mean() > 0.05, key
    at = page.evaluate("() => deformgan.at()")
    page.locator("#screen").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("PageUp")
    moved = np.subtract(page.evaluate("() => deformgan.at()"), at)
    assert np.abs(moved).tolist() == [1, 1, 0]  # in the coronal view: right, then its normal, anterior
    page.keyboard.press("s")
    settle(page)
    assert side.shape == picture(page).shape


def shown(opened, folder, grid, fixed, warped):
    """The page of a planted pair, without the crosshair, its keys listening."""
    path = folder / "report.html"
    arrays = {"fixed": fixed, "moving_start": warped, "warped": warped}
    path.write_text(report_page(**arrays, geometry=grid, displacement=None, jacobian=None, result={}))
    page = opened(path)
    page.locator("#screen").focus()
    page.keyboard.press("x")
    settle(page)
    return page


def tile_of(page, number):
    """A view's greatest colour by pixel, and where it stands on the canvas."""
    tile = page.evaluate("() => deformgan.layout().tiles")[number]
    part = picture(page).max(axis=-1)[tile["y"] : tile["y"] + tile["h"], tile["x"] : tile["x"] + tile["w"]]
    return part, tile


def test_swipe_puts_each_image_on_its_side_of_the_line(opened, tmp_path):
    grid = Geometry((40, 40, 40))
    dark, bright = np.zeros(grid.shape, np.float32), np.full(grid.shape, 1000, np.float32)
    dark[:8], bright[:8] = 1000, 0  # else there is no contrast to draw
    page = shown(opened, tmp_path, grid, dark, bright)
    page.evaluate("() => deformgan.go([20, 20, 30])")
    page.keyboard.press("w")
    for place in (25, 75):
        page.locator("#slider").fill(str(place))
        settle(page)
        part, _ = tile_of(page, 0)
        line = round(part.shape[1] * place / 100)
        assert part[20, 3 : line - 3].max() < 60
        assert part[20, line + 4 : -3].min() > 200


def test_a_corner_of_the_patient_stands_where_the_letters_say_in_millimetres(opened, tmp_path):
    """A bright block at the left, posterior, superior corner of a tilted, anisotropic grid with swapped axes."""
    matrix = TILTED.matrix[:3, :3]
    corner = [TILTED.size[k] - 1 if matrix[np.abs(matrix[:, k]).argmax(), k] > 0 else 0 for k in range(3)]
    image = blob(TILTED) * 0.2
    i, j, k = (slice(max(0, c - 7), c + 8) for c in corner)
    image[k, j, i] = 1000
    page = shown(opened, tmp_path, TILTED, image, image)
    page.evaluate("() => deformgan.go([0, 0, 99])")  # leftmost, most posterior, most superior
    page.keyboard.press("o")
    settle(page)
    grid = told(page)["grid"]
    extent = np.multiply(grid["size"], grid["spacing"])
    for number, (across, up) in enumerate(((0, 1), (0, 2), (1, 2))):
        part, tile = tile_of(page, number)
        assert tile["w"] / tile["h"] == pytest.approx(extent[across] / extent[up], rel=0.03)
        rows, columns = np.nonzero(part > 250)
        assert columns.mean() > 0.7 * part.shape[1], tile["name"]  # left and posterior are at the right
        assert (rows.mean() > part.shape[0] / 2) == (number == 0), tile["name"]  # posterior below, superior above
    assert max(map(len, grid["towards"])) == 2  # tilted: two letters


def test_a_click_reads_the_spot_that_was_clicked(opened, tmp_path):
    grid = Geometry((48, 40, 32), (1.0, 1.3, 2.0))
    image = blob(grid, (0.35, 0.6, 0.6), 0.07)
    page = shown(opened, tmp_path, grid, image, image)
    k, j, i = (int(v) for v in np.unravel_index(image.argmax(), image.shape))
    page.evaluate("index => deformgan.go(index)", [30, 30, k])
    page.keyboard.press("+")  # closer, about another spot
    page.keyboard.press("o")
    settle(page)
    part, tile = tile_of(page, 0)
    row, column = (int(np.average(v, weights=part[part > 100])) for v in np.nonzero(part > 100))
    box = page.locator("#screen").bounding_box()
    page.mouse.click(box["x"] + tile["x"] + column, box["y"] + tile["y"] + row)
    settle(page)
    np.testing.assert_allclose(readings(page)["Voxel of the fixed image"], (i, j, k), atol=1)
    assert readings(page)["fixed"][0] > 0.9 * image.max()


def test_without_webgl_the_still_pictures_stand_open(pair, opened):
    _, folder, _ = pair
    without = """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
            return kind === "webgl2" ? null : get.call(this, kind, ...more); };"""
    page = opened(folder / "report.html", script=without)
    assert page.get_attribute("html", "data-viewer") == "still"
    assert "no WebGL 2" in page.inner_text("#no-viewer") and not page.is_visible("#viewer")
    assert page.is_visible("#pictures img >> nth=0")


def test_names_cannot_break_out_of_the_data(opened, tmp_path):
    grid = Geometry((20, 20, 20))
    image = blob(grid)
    arrays = {"fixed": image, "moving_start": image, "warped": image, "displacement": None, "jacobian": None}
    result = {"fixed": EVIL, "moving": {"path": EVIL}}
    path = tmp_path / "report.html"
    more, labels = {EVIL: image}, {EVIL: image > 500}
    path.write_text(report_page(**arrays, geometry=grid, result=result, bridge=image / 2, more=more, labels=labels))
    page = opened(path)
    settle(page)
    assert page.evaluate("() => window.broken === undefined")
    assert EVIL in page.locator("#other option").all_text_contents()
    read = readings(page)
    assert EVIL in read and read["bridge, the CT made of the MR"] == pytest.approx(read["fixed"] / 2, abs=2)


def test_a_page_in_a_notebook_is_the_same(chromium):
    grid = Geometry((20, 20, 20))
    arrays = {"fixed": blob(grid), "moving_start": blob(grid), "warped": blob(grid)}
    page = report_page(**arrays, geometry=grid, displacement=None, jacobian=None, result={"fixed": EVIL})
    notebook = chromium.new_page()
    notebook.set_content(f"<h1>Notebook</h1>{Page(page, 500)._repr_html_()}")
    frame = notebook.frames[1]
    frame.wait_for_selector("html[data-viewer=ready]", timeout=60_000)
    assert "registered to" in frame.inner_text("h1")
    assert notebook.inner_text("h1") == "Notebook"
    assert notebook.locator("iframe").bounding_box()["height"] == 500
    notebook.close()


def test_without_niivue_there_are_still_pictures_only(monkeypatch):
    grid = Geometry((20, 20, 20))
    image = blob(grid)
    niivue.installed_niivue.cache_clear()
    monkeypatch.setattr(niivue, "PACKAGE", "no-such-package")
    arrays = {"fixed": image, "moving_start": image, "warped": image, "displacement": None, "jacobian": None}
    text = report_page(**arrays, geometry=grid, result={})
    niivue.installed_niivue.cache_clear()
    assert "<script" not in text and text.count("<img") == 7


def test_the_installed_niivue_gives_its_class():
    bundle = niivue.installed_niivue()
    assert bundle is not None and re.fullmatch(r"NiiVue [\d.]+ of ipyniivue [\d.]+", bundle.name)
    assert re.search(rb"export \{ [\w$]+ as Niivue \};\n$", gzip.decompress(bundle.packed))


LEFT_HANDED = Geometry((60, 50, 40), (1, 1, 2.5), (3, 4, 5), (-1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize("geometry", [TILTED, LEFT_HANDED])
@pytest.mark.parametrize("voxels", [10**9, 9000])
def test_the_viewers_grid_lies_where_the_image_lies(geometry, voxels):
    """An image that is the x, y or z of each place reads so on the viewer's grid too, at any resolution."""
    grid = ViewGrid.within(geometry, voxels)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij")[::-1], -1)
    places = index @ geometry.matrix[:3, :3].T + geometry.matrix[:3, 3]
    shrunk = np.stack([grid.shrunk(places[..., c]) for c in range(3)], -1)
    assert np.prod(shrunk.shape[:3]) <= voxels
    at = np.stack(np.meshgrid(*[np.arange(n) for n in shrunk.shape[:3]], indexing="ij")[::-1], -1)
    said = at @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    inner = (slice(3, -3),) * 3  # the smoothing bends a ramp at the edges of the field of view
    np.testing.assert_allclose(shrunk[inner], said[inner], atol=0.01)
    right, anterior, superior = grid.matrix[:3, :3].T
    assert right[0] < -0.5 * np.abs(right).max() and anterior[1] < 0 and superior[2] > 0
    nearest = grid.nearest(np.arange(np.prod(geometry.shape)).reshape(geometry.shape))
    found = places.reshape(-1, 3)[nearest.ravel()].reshape(*nearest.shape, 3)
    assert np.abs((found - said) @ np.linalg.inv(geometry.matrix[:3, :3]).T).max() <= 0.5 + 1e-6


def test_images_are_rounded_to_half_a_step_and_rare_values_are_cut():
    image = np.random.default_rng(0).normal(100, 20, (30, 30, 30)).astype(np.float32)
    image[3, 3, 3], image[4, 4, 4] = 1e6, np.float32(-1e6)
    block = image_block(image, image)
    steps = np.frombuffer(gzip.decompress(block.data), np.uint8).reshape(image.shape)
    back = block.about["low"] + block.about["step"] * steps
    assert block.about["cut"] == [True, True] and steps[3, 3, 3] == 255 and steps[4, 4, 4] == 0
    usual = (steps > 0) & (steps < 255)
    assert usual.mean() > 0.99 and block.about["step"] < 1
    assert np.abs(back - image)[usual].max() <= 0.501 * block.about["step"]


def test_micrometres_are_read_as_finely_as_millimetres(opened, tmp_path):
    mm = 1e-3
    grid = Geometry((40, 44, 36), (mm, mm, mm), (0.1, 0.2, 0.3))
    image, u = blob(grid), np.full((*grid.shape, 3), (1.25 * mm, -0.5 * mm, 0.0), np.float32)
    block = field_block(ViewGrid.within(grid, 10**6), u)
    steps = np.frombuffer(gzip.decompress(block.data), "<i2") * block.about["step"]
    np.testing.assert_allclose(np.unique(np.abs(steps)), [0, 0.5 * mm, 1.25 * mm], atol=0.01 * mm)
    path = tmp_path / "report.html"
    ones = np.ones(grid.shape, np.float32)
    arrays = {"fixed": image, "moving_start": image, "warped": image, "displacement": u, "jacobian": ones}
    path.write_text(report_page(**arrays, geometry=grid, result={}))
    page = opened(path)
    page.evaluate("deformgan.go([20, 20, 20])")
    settle(page)
    shown = page.text_content("#read")
    x, y, z = readings(page)["Position"]
    assert f"{x:.4f}, {y:.4f}, {z:.4f} mm" in shown and "0.0013, \u22120.0005, 0.0000 mm" in shown


def test_a_pair_of_256_x_256_x_180_stays_under_15_megabytes_and_opens(opened, tmp_path, record_property):
    grid = Geometry((256, 256, 180))
    noise = np.random.default_rng(0).normal(0, 60, grid.shape).astype(np.float32)
    fixed, warped = blob(grid) + noise, blob(grid, (0.45, 0.5, 0.5)) + noise[::-1]
    path = tmp_path / "report.html"
    arrays = {"fixed": fixed, "moving_start": warped, "warped": warped, "displacement": None, "jacobian": None}
    path.write_text(report_page(**arrays, geometry=grid, result={}, more={"moving, affine only": fixed}))
    assert path.stat().st_size < 15e6
    page = opened(path)
    record_property("opening_ms", page.get_attribute("html", "data-opening-ms"))
    assert page.get_attribute("html", "data-viewer") == "ready"
    assert re.search(r"Shown at [\d.]+ × [\d.]+ × [\d.]+ mm", page.text_content(".keys"))


def test_view_serves_the_page_to_this_machine_alone(pair, tmp_path):
    _, folder, _ = pair
    page = page_in(folder)
    with server(page, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        host, port = serving.server_address[:2]
        assert host == "127.0.0.1"
        for path in ("/", "/report.html"):
            with urllib.request.urlopen(f"http://{host}:{port}{path}") as answer:
                assert answer.read() == page.read_bytes() and "text/html" in answer.headers["Content-Type"]
        for path, told in (("/warped.nii.gz", {}), ("/../result.json", {}), ("/", {"Host": "elsewhere.example"})):
            with pytest.raises(urllib.error.HTTPError, match=r"40[34]"):
                urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}{path}", headers=told))
        with pytest.raises(InputError, match="--port"):
            server(page, port)
        serving.shutdown()
    with pytest.raises(InputError, match=r"holds no report\.html or study\.html"):
        page_in(tmp_path)
