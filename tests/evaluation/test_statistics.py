"""Summaries and paired tests: textbook answers, and what they do with too little."""

import numpy as np
import pytest
from scipy import stats

from deformgan.evaluation.statistics import compare, holm, paired_tests, summary


def test_summary_of_known_values():
    found = summary([1.0, 2.0, 3.0, 4.0, 10.0, np.nan, np.inf])
    assert (found["n"], found["missing"], found["mean"], found["median"]) == (5, 2, 4, 3)
    assert found["sd"] == pytest.approx(np.std([1, 2, 3, 4, 10], ddof=1))
    assert found["quantile_30"] == pytest.approx(2.2)


def test_interval_is_seeded_and_about_that_of_the_mean():
    values = np.random.default_rng(0).normal(5, 2, 400)
    one, again, other = summary(values, 1), summary(values, 1), summary(values, 2)
    assert one == again and one["ci95_low"] != other["ci95_low"]
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    np.testing.assert_allclose([one["ci95_low"], one["ci95_high"]], expected, atol=0.02)
    assert np.isnan(summary([3.0])["ci95_low"]) and np.isnan(summary([])["mean"])


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        found = summary(rng.normal(size=60))
        covered += found["ci95_low"] < 0 < found["ci95_high"]
    assert 51 <= covered <= 60


def test_paired_tests_are_scipys():
    rng = np.random.default_rng(4)
    first = rng.normal(size=25)
    second = first + rng.normal(0.4, 0.5, size=25)
    found = paired_tests([*first, 3.0, np.nan], [*second, np.nan, 1.0])
    assert found["n"] == 25
    assert found["wilcoxon_p"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found["t_p"] == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found["cohens_d"] == pytest.approx(found["mean_difference"] / np.std(first - second, ddof=1))
    assert -1 < found["rank_biserial"] < 0


def test_effect_size_of_ranks():
    found = paired_tests([1.0, 2.0, 3.0, 0.0], [0.0, 0.0, 0.0, 4.0])  # ranks 1, 2, 3 against 4
    assert found["rank_biserial"] == pytest.approx((6 - 4) / 10)


def test_too_few_and_equal_cases():
    assert np.isnan(paired_tests([1.0], [2.0])["wilcoxon_p"])
    same = paired_tests([1.0, 2.0], [1.0, 2.0])
    assert same["wilcoxon_p"] == same["t_p"] == 1
    assert np.isnan(paired_tests([1.0, 2.0], [0.0, 1.0])["t_p"])  # a difference without spread


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, np.nan, 0.5])[0] == 1.0 and np.isnan(holm([0.6, np.nan])[1])


def test_methods_are_paired_by_case():
    rng = np.random.default_rng(5)
    base = rng.uniform(0.6, 0.8, 12)
    scores = {
        "a": {f"c{n}": {"dice": float(v), "tre_mm": 1.0} for n, v in enumerate(base)},
        "b": {f"c{n}": {"dice": float(v + 0.05 + 0.01 * n)} for n, v in reversed(list(enumerate(base)))},
        "c": {"c1": {"dice": 0.5}},
    }
    rows = compare(scores)
    row = next(r for r in rows if (r["first"], r["second"]) == ("a", "b"))
    assert {r["measure"] for r in rows} == {"dice"} and len(rows) == 3
    assert row["n"] == 12 and row["rank_biserial"] == -1
    assert row["mean_difference"] == pytest.approx(-0.05 - 0.055)
    assert row["wilcoxon_p_holm"] == pytest.approx(row["wilcoxon_p"])  # the other pairs have one case, no test
