"""Every figure is judged by limits that the documentation lists, in words as in colour."""

import math
import re
from pathlib import Path

import pytest

from deformgan.report.curves import Part, stretches
from deformgan.report.judgement import LIMITS, verdicts

DOCS = Path(__file__).parents[2] / "docs" / "report.md"
GOOD = {
    "similarity": {"name": "mutual information", "start": 0.5, "affine": 0.6, "deformable": 0.4},
    "regularity": {"folding_percent": 0.0, "min_jacobian": 0.3, "max_jacobian": 3.0, "sd_log_jacobian": 0.1},
    "affine_volume_factor": 1.0,
    "inverse_error_mm": {"mean": 0.01, "p95": 0.02, "max": 0.3},
}


@pytest.mark.parametrize(
    ("key", "value", "name", "state"),
    [
        ("folding_percent", 0.0, "Folding", "good"),
        ("folding_percent", 1e-9, "Folding", "check"),
        ("folding_percent", 0.11, "Folding", "poor"),
        ("min_jacobian", 0.3, "Smallest Jacobian", "good"),
        ("min_jacobian", 0.1, "Smallest Jacobian", "check"),
        ("min_jacobian", -0.1, "Smallest Jacobian", "poor"),
        ("max_jacobian", 8.1, "Largest Jacobian", "poor"),
        ("sd_log_jacobian", math.nan, "SD of log Jacobian", "poor"),
    ],
)
def test_a_figure_gets_its_state_sign_and_word(key, value, name, state):
    verdict = verdicts({"regularity": {key: value}})[name]
    assert verdict.state == state
    assert verdict.words == {"good": "good", "check": "look", "poor": "poor"}[state] and verdict.sign


def test_similarity_is_judged_against_the_start_and_what_is_missing_is_not_judged():
    found = verdicts(GOOD)
    assert "Similarity, start" not in found
    assert (found["Similarity, affine"].state, found["Similarity, deformable"].state) == ("good", "poor")
    assert set(LIMITS) <= set(found)
    for odd in ({}, {"regularity": None, "similarity": 3}, {"inverse_error_mm": {"mean": "0"}}):
        assert verdicts(odd) == {}


def test_the_documentation_lists_the_limits():
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.*?) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    for name, limits in LIMITS.items():
        good, look, _ = (cell.strip() for cell in rows[name].split("|"))
        assert limits.judge(math.inf).limits == f"good: {good}; look: {look}", name


def test_curves_skip_what_is_not_finite_and_escape_names():
    parts = [Part("<6 mm>", (3.0, math.nan, 1.0, 2.0)), Part("4 mm", (5.0,)), Part("none", (math.nan,))]
    text = stretches(parts, across="iteration", up="loss")
    assert "&lt;6 mm&gt;" in text and "none" not in text
    lines = re.findall(r'class="line" d="([^"]+)"', text)
    assert [line.count("M") for line in lines] == [2, 1] and [line.count("L") for line in lines] == [1, 0]
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", lines[0])]
    assert heights[0] < heights[2] < heights[1]  # 3 above 2 above 1
    assert stretches([], across="a", up="b") == ""
