"""The pictures and the page of a study: signs, colours, places, letters, and nothing from elsewhere."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from deformgan.errors import OutputError
from deformgan.io.geometry import Geometry
from deformgan.report.study import Picture, StudyPage, Table, study_html, write_study
from deformgan.report.study_maps import Person, encoded, error_bar, error_maps
from deformgan.report.study_plots import box_plots

GRID = Geometry((40, 50, 12), (2.0, 2.0, 6.0), (-40.0, -50.0, -36.0))
WINDOW = (-150.0, 350.0)
ARMS = ("few_without_gc", "few_with_gc")


def person(grid=GRID, **changes):
    """A block of 60 HU in air; one arm makes its left half 100 HU too bright, the other its right half too dark."""
    real = np.full(grid.shape, -1000.0, np.float32)
    real[2:-2, 8:-8, 6:-6] = 60
    real[4, 10, 10] = 1200  # of a CT, something is bone
    brighter, darker = real.clip(*WINDOW), real.clip(*WINDOW)
    brighter[2:-2, 8:-8, 20:-6] += 100
    darker[2:-2, 8:-8, 6:20] -= 100
    mr = np.where(real > -500, 80, 2).astype(np.float32)
    return replace(Person("p", grid, mr, real, dict(zip(ARMS, (brighter, darker), strict=True))), **changes)


def panels(picture):
    """The four columns of each row of views, without the bar."""
    row = (picture.shape[0] - 120) // 2
    width = picture.shape[1] // 4
    return [[picture[r * row : (r + 1) * row, c * width : (c + 1) * width, :3] for c in range(4)] for r in range(2)]


def test_errors_have_the_sign_and_the_side_that_were_planted():
    """Too bright is orange, too dark is blue; the patient's left, where x grows, is drawn at the right."""
    shown = person()
    bar = error_bar([shown], WINDOW)
    assert bar.high == 200 and [text for _, text in bar.ticks] == ["-100", "-50", "0", "+50", "+100"]
    (_, _, _, empty), (_, bright, _, dark) = panels(error_maps(shown, "axial", WINDOW, bar))
    assert empty[60:].max() == 0
    red = [(p[..., 0].astype(int) - p[..., 2]) for p in (bright, dark)]
    orange, blue = red[0] > 40, red[1] < -40
    half = bright.shape[1] // 2
    assert orange[:, half:].sum() > 20 * max(1, orange[:, : half - 10].sum()) and (red[0] < -60).sum() == 0
    assert blue[:, :half].sum() > 20 * max(1, blue[:, half + 10 :].sum()) and (red[1] > 40).sum() == 0


def test_views_have_the_shape_of_their_millimetres():
    """The block is 56 x 68 mm in the axial plane, 56 x 48 mm in the coronal one, of 2 and 6 mm voxels."""
    shown = person()
    for plane, ratio in (("axial", 68 / 56), ("coronal", 48 / 56)):
        picture = error_maps(shown, plane, WINDOW, error_bar([shown], WINDOW))
        rows = picture.shape[0] - 120
        grey = picture[: rows // 2, picture.shape[1] // 4 : picture.shape[1] // 2, :3].astype(int)
        inside = (np.ptp(grey, axis=2) < 8) & (grey[..., 0] > 53)  # 60 HU in the window are 107, air is 0
        tall, wide = (np.count_nonzero(inside.sum(axis) > 20) for axis in (1, 0))
        assert tall / wide == pytest.approx(ratio, rel=0.06), plane


def test_what_is_not_measured_is_grey():
    mask = np.ones(GRID.shape, bool)
    mask[:, :25] = False
    shown = person(mask=mask)
    picture = error_maps(shown, "axial", WINDOW, error_bar([shown], WINDOW))
    (_, _, _, counted), (_, bright, _, _) = panels(picture)
    grey = (np.ptp(bright.astype(int), axis=2) == 0) & (abs(bright[..., 0].astype(int) - 77) < 3)
    there = np.argwhere(grey)
    assert len(there) > 1000 and there[:, 0].mean() < bright.shape[0] / 2  # anterior, drawn above
    assert counted[60:].max() > 0


def test_without_a_real_ct_there_are_no_errors_and_an_odd_arm_has_its_place():
    shown = person()
    alone = person(real=None)
    with_errors = error_maps(shown, "sagittal", WINDOW, error_bar([shown], WINDOW))
    without = error_maps(alone, "sagittal", WINDOW, error_bar([alone], WINDOW))
    assert without.shape[0] < with_errors.shape[0]
    three = person(made={**shown.made, "a_further_one_of_a_long_name": shown.made[ARMS[0]]})
    assert error_maps(three, "axial", WINDOW, error_bar([three], WINDOW)).shape[1] == with_errors.shape[1]
    for ending, kind in (("png", "PNG"), ("jpg", "JPEG")):
        opened = Image.open(io.BytesIO(encoded(with_errors, ending)))
        assert opened.format == kind and opened.size == with_errors.shape[1::-1]


def test_boxes_and_dots_lie_where_the_values_do():
    """One measure, two arms: the upper box lies left of the lower one, and its dots are drawn."""
    low, high = np.linspace(0, 1, 50), np.linspace(9, 10, 50)
    data = box_plots({"mae": {"a": (low, [0.5]), "b": (high, [9.5])}}, {"mae": "MAE"})
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    orange = np.argwhere((pixels[..., 0] > 200) & (pixels[..., 2] < 60) & (pixels[..., 1] < 140))
    middle = pixels.shape[0] / 2
    upper, lower = (orange[c] for c in (orange[:, 0] < middle, orange[:, 0] >= middle))
    assert len(upper) > 50 and len(lower) > 50 and upper[:, 1].max() < lower[:, 1].min()
    edge = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
    assert edge.min() > 250  # nothing is cut at the rim
    assert box_plots({"mae": {"a": (low, [0.5])}, "ssim": {"b": (low, [])}}, {"mae": "x", "ssim": "y"}).startswith(
        b"\x89"
    )


PAGE = StudyPage(
    "my study",
    {"test people": "3"},
    Table(["arm", "MAE"], [["few_with_gc", "30.23 (28.00 to 32.00)"]]),
    Picture("Box plots", "text", b"\x89PNG..."),
    {"MAE": Table(["first", "p"], [["few_with_gc", "0.0312"]])},
    [Picture("someone", "axial", b"\xff\xd8...")],
    {"seed": "7"},
)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen, self._open = [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_the_page_asks_nothing_of_the_network_and_says_what_it_was_given(tmp_path):
    write_study(tmp_path / "study.html", PAGE)
    text = (tmp_path / "study.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    tags = Tags(text).seen
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in tags}
    places = [attrs[key] for _, attrs in tags for key in ("src", "href", "srcset", "data") if key in attrs]
    assert [p.split(",")[0] for p in places] == ["data:image/png;base64", "data:image/jpeg;base64"]
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text) and "url(" not in text
    for words in ("my study", "30.23\n(28.00 to 32.00)", "0.0312", "someone", "test people", ">7<"):
        assert words in text
    with pytest.raises(OutputError):
        write_study(tmp_path / "nowhere" / "study.html", PAGE)


def test_words_are_escaped():
    evil = "<script>x</script>"
    table = Table([evil], [[evil, evil]])
    page = StudyPage(evil, {evil: evil}, table, PAGE.boxes, {evil: table}, [Picture(evil, evil, b"")], {evil: evil})
    text = study_html(page)
    assert "<script" not in text and "&lt;script&gt;" in text
