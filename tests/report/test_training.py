"""The page of a training run: its curves are those of the history, its pictures those that were made, over time."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from deformgan.report.training import RunPage, averaged, curves_of, jpeg, spread, training_page

EVIL = "</script><script>window.broken=1</script>"
HISTORY = [
    {"step": 1, "losses": {"d": {"adversarial": 4.0}, "t": {"lcc": 1.0}}},
    {"step": 2, "losses": {"t": {"lcc": float("nan")}}},
    {"step": 2, "validation": {"held_out": {"tre_mm": 7.5}}},
    {"step": 3, "losses": {"d": {"adversarial": 2.0}, "t": {"lcc": 0.25}}},
    {"step": 4, "validation": {"held_out": {"tre_mm": 3.125}}},
]


def page(**changes):
    pictures = [(step, jpeg(np.full((20, 40), step / 8))) for step in (2, 4)]
    held = {"name": "run", "task": "registration", "done": 4, "steps": 9, "history": HISTORY, "pictures": pictures}
    words = {"shown": "fixed, moving", "config": "name: run\nseed: 17\n", "environment": {"torch": "2.x"}}
    return str(training_page(RunPage(**{**held, **words, **changes})))


def test_the_curves_are_those_of_the_history():
    curves = curves_of(HISTORY)
    assert curves["losses"]["d adversarial"] == [(1, 4.0), (3, 2.0)]
    assert [step for step, _ in curves["losses"]["t lcc"]] == [1, 2, 3]
    assert curves["validation"] == {"tre_mm": [(2, 7.5), (4, 3.125)]}


def test_a_long_curve_is_averaged_over_equal_stretches_and_none_of_it_is_lost():
    values = np.random.default_rng(0).random(1003)
    values[7] = np.nan
    found = averaged([(k, v) for k, v in enumerate(values)], 100)
    assert len(found) == 92 and found[0] == pytest.approx(np.nanmean(values[:11]))
    assert found[-1] == pytest.approx(values[1001:].mean())
    assert averaged([(1, 2.0), (2, float("inf"))])[0] == 2.0 and np.isnan(averaged([(1, 2.0), (2, float("inf"))])[1])


def test_the_first_and_the_last_picture_stay():
    assert spread(list(range(100)), 4) == [0, 33, 66, 99]
    assert spread([5, 6], 4) == [5, 6] and spread([], 4) == []


def test_a_picture_is_what_was_given():
    ramp = np.linspace(0, 1, 64)[None].repeat(16, 0)
    ramp[:, 40] = np.nan  # drawn black
    kept = np.asarray(Image.open(io.BytesIO(jpeg(ramp))), np.float32) / 255
    assert kept.shape == (16, 64) and np.abs(kept - ramp)[:, :32].max() < 0.02


def test_the_page_says_what_it_is_given_and_escapes_it():
    text = page(name=EVIL, config=EVIL, shown=EVIL, environment={EVIL: EVIL})
    assert "<script>window" not in text and text.count("&lt;/script&gt;") >= 5
    text = page()
    assert "Step 4 of 9" in text and "seed: 17" in text and "3.125" in text and "7.5 at step 2" in text
    assert "All 9 steps are done" in page(done=9)
    assert not re.search(r"https?:|url\(|@import", text) and "default-src 'none'" in text


def test_a_run_without_pictures_or_validation_has_a_page():
    text = page(pictures=[], history=HISTORY[:2])
    assert "<img" not in text and "<script" not in text and "held-out" not in text and "t lcc" in text


def test_the_slider_goes_through_the_pictures(chromium, tmp_path):
    asked, faults = [], []
    (tmp_path / "report.html").write_text(page())
    opened = chromium.new_page()
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto((tmp_path / "report.html").as_uri())
    brightness = {}
    for place, step in ((0, 2), (1, 4)):
        opened.locator("#time").fill(str(place))
        assert opened.inner_text("#step") == str(step)
        shown = opened.locator("figure:visible img")
        assert shown.count() == 1
        brightness[step] = np.asarray(Image.open(io.BytesIO(shown.screenshot())).convert("L")).mean() / 255
    opened.close()
    assert brightness == pytest.approx({2: 0.25, 4: 0.5}, abs=0.02)
    assert faults == [] and {url.split(":")[0] for url in asked} <= {"file", "data"}
