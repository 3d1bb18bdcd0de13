"""The page: self-contained, escaped, written whole, and not upset by what is missing."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.report import report_page
from deformgan.report.html import NONE, number

GRID = Geometry((12, 14, 10), (1.0, 1.0, 2.0))
IMAGE = np.random.default_rng(0).random(GRID.shape, dtype=np.float32)
RESULT = {
    "fixed": {"path": "scan/ct.nii.gz", "sha256": "a" * 64},
    "moving": {"path": ["series/one.dcm", "series/two.dcm"], "sha256": "b" * 64},
    "similarity": {"name": "mutual information", "before": 0.25, "affine": 0.5, "after": 0.75},
    "regularity": {"folding_percent": 0.0, "min_jacobian": 0.61, "max_jacobian": 1.7, "sd_log_jacobian": 0.123},
    "inverse_error_mm": {"mean": 0.0123, "p95": 0.04, "max": float("nan")},
    "timings_s": {"read": 0.5, "affine": 1.5},
    "options": {"preset": "default", "levels": [[6.0, 40]], "similarity": None},
    "deformable": {"kind": "CT and MR", "similarity": "lcc=1", "settings": {"elastic_sigma": 8.0}},
    "versions": {"deformgan": "9.8.7"},
    "seed": 17,
    "warnings": ["the fields of view hardly overlap"],
    "kept": "affine",
}


@pytest.fixture(autouse=True)
def still_pictures_only(monkeypatch):
    """As where NiiVue is not installed; test_viewer.py has the viewer."""
    monkeypatch.setattr("deformgan.report.viewer.installed_niivue", lambda: None)


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def written(result, **more):
    arrays = {"displacement": None, "jacobian": None, **more}
    return report_page(fixed=IMAGE, moving_start=IMAGE, warped=IMAGE, geometry=GRID, result=result, **arrays)


def test_the_page_asks_nothing_of_the_network():
    u = np.ones((*GRID.shape, 3), np.float32)
    text = written(RESULT, displacement=u, jacobian=IMAGE + 0.5)
    without_pictures = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "data:", text)
    page = Page(text)
    assert "http:" not in without_pictures and "https" not in without_pictures and "//" not in without_pictures
    assert "url(" not in without_pictures and "@import" not in without_pictures
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    places = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "srcset", "data") if key in attrs]
    assert len(places) == 9 and all(place.startswith("data:image/jpeg;base64,") for place in places)
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and not re.search(r"https?:|\*|'self'", policy)


def test_what_the_result_says_is_on_the_page():
    text = Page(written(RESULT)).text
    for words in ("0.250", "0.750", "0.610", "1.700", "0.123", "0.012 mm", "9.8.7", "[[6.0, 40]]", "2.00 s", "17"):
        assert words in text, words
    for words in ("a" * 64, "b" * 64, "series/one.dcm, series/two.dcm", "one.dcm registered to ct.nii.gz"):
        assert words in text, words
    assert "Result of the affine stage" in text
    assert text.index("hardly overlap") < text.index("Folding") < text.index("Views") < text.index("Settings")


def test_names_are_escaped():
    evil = '<script>alert("x")</script>&\'.nii'
    result = {
        "fixed": {"path": evil, "sha256": evil},
        "moving": {"path": f"a{evil}"},
        "warnings": [evil],
        "kept": evil,
        "options": {evil: evil},
        "versions": {evil: [evil]},
        "timings_s": {evil: 1.0},
        "similarity": {"name": evil, evil: 1.0},
    }
    text = written(result)
    assert "script" not in {tag for tag, _ in Page(text).tags}
    assert "<script" not in text and "&lt;script&gt;" in text
    assert evil in "".join(Page(text).words)


@pytest.mark.parametrize("key", [None, *RESULT])
def test_missing_keys_are_left_out(key):
    text = Page(written({k: v for k, v in RESULT.items() if k != key} if key else {})).text
    assert "Fixed" in text and "Inputs" in text
    gone = {"similarity": "Similarity", "regularity": "Folding", "timings_s": "Time", "warnings": "Look at this first"}
    if key in gone:
        assert gone[key] not in text


@pytest.mark.parametrize("empty", [None, {}, "text", 3])
def test_sections_of_another_kind_do_not_stop_the_page(empty):
    assert "Inputs" in written({**dict.fromkeys(RESULT, empty), "warnings": None})


def test_affine_only_has_no_deformation_pictures():
    text = Page(written(RESULT)).text
    assert "Deformation grid" not in text and "Jacobian map" not in text and "Edges, after" in text


def test_folding_is_marked():
    folded = {**RESULT, "regularity": {"folding_percent": 0.0001}}
    assert 'class="good">0.000 %' in written(RESULT)
    assert 'class="check">1.0e-04 %' in written(folded)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.000"), (1.23456, "1.235"), (2e-5, "2.0e-05"), (float("inf"), NONE), (None, NONE)]
)
def test_numbers_are_plain(value, text):
    assert number(value) == text


def test_an_array_on_another_grid_is_refused():
    with pytest.raises(InputError, match="displacement"):
        written(RESULT, displacement=np.zeros((2, 2, 2, 3), np.float32))


def test_a_name_that_is_not_unicode_can_be_written():
    """Such as a file's on Linux, where a name is bytes."""
    assert b"ct\\udcff.nii" in written({**RESULT, "fixed": "ct\udcff.nii"}).encode("utf-8")


def test_the_same_result_gives_the_same_bytes():
    assert written(RESULT) == written(RESULT)


def test_the_score_of_the_kept_stage_and_the_recipe_are_shown():
    text = Page(written(RESULT)).text
    assert "0.250 \N{RIGHTWARDS ARROW} 0.500" in text  # kept: affine
    settings = text[text.index("Settings") :]
    assert all(word in settings for word in ("kind of pair CT and MR", "similarity lcc=1", "elastic_sigma 8.0"))
    assert "null" not in settings
