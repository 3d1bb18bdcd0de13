"""Summaries and paired tests: textbook answers, and what they do with too little."""

import numpy as np
import pytest
from scipy import stats

from deformgan.evaluation.statistics import compare, holm, nested_tests, paired_tests, sign_flip_p, summary


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


def slices(effects, each=40, noise=1.0, seed=0):
    """Differences of `each` slices of people whose own effects are these."""
    rng = np.random.default_rng(seed)
    people = np.repeat([f"p{k}" for k in range(len(effects))], each)
    return np.repeat(effects, each) + noise * rng.normal(size=len(people)), people


def test_slices_that_seem_significant_are_not_where_people_differ():
    """Two of four people gain, two lose a little less: 160 slices speak for it, four people do not."""
    difference, people = slices([2.0, 1.6, -0.8, -0.9])
    naive = stats.ttest_1samp(difference, 0).pvalue
    found = nested_tests(difference + 30, np.full(160, 30.0), people)
    assert naive < 1e-3 and found["t_p"] > 0.3 and found["sign_flip_p"] > 0.3
    assert found["ci95_low"] < 0 < found["ci95_high"] and found["t95_low"] < 0 < found["t95_high"]
    assert (found["people"], found["slices"]) == (4, 160)
    same, people = slices([0.5, 0.6, 0.4, 0.55, 0.5, 0.45])
    assert nested_tests(same, np.zeros(240), people)["t_p"] < 0.01


def test_without_an_effect_one_in_twenty_is_significant_and_not_most():
    rng = np.random.default_rng(6)
    naive, nested, signs = [], [], []
    for trial in range(150):
        difference, people = slices(rng.normal(size=6), seed=trial)
        found = nested_tests(difference, np.zeros(240), people)
        naive.append(stats.ttest_1samp(difference, 0).pvalue)
        nested.append(found["t_p"])
        signs.append(found["sign_flip_p"])
    rates = [float((np.array(p) < 0.05).mean()) for p in (naive, nested, signs)]
    assert rates[0] > 0.5 and rates[1] < 0.11 and rates[2] < 0.11


def test_people_count_alike_however_many_slices_they_give():
    first, people = [1.0, 1.0, 1.0, 1.0, 5.0, np.nan], ["a"] * 4 + ["b", "b"]
    found = nested_tests(first, [0.0] * 6, people)
    assert (found["people"], found["slices"], found["mean_difference"]) == (2, 5, 3.0)
    expected = paired_tests([1.0, 5.0], [0.0, 0.0])
    assert found["t_p"] == expected["t_p"] and found["cohens_d"] == expected["cohens_d"]
    interval = stats.t.interval(0.95, 1, 3.0, stats.sem([1.0, 5.0]))
    assert (found["t95_low"], found["t95_high"]) == pytest.approx(interval)
    boot = summary([1.0, 5.0])
    assert (found["ci95_low"], found["ci95_high"]) == (boot["ci95_low"], boot["ci95_high"])


def test_one_person_has_a_difference_and_no_test():
    found = nested_tests([1.0, 3.0], [0.0, 0.0], ["a", "a"])
    assert found["mean_difference"] == 2 and all(np.isnan(found[k]) for k in ("t_p", "sign_flip_p", "t95_low"))


@pytest.mark.parametrize("n", [5, 13])
def test_changes_of_sign_are_scipys_permutations(n):
    values = np.random.default_rng(n).normal(0.5, 1, n)
    referee = stats.permutation_test((values,), lambda x: x.mean(), permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(values) == pytest.approx(referee.pvalue)
    assert sign_flip_p(np.ones(n)) == 2 ** (1 - n)
    drawn = np.random.default_rng(1).normal(0.4, 1, 30)
    assert sign_flip_p(drawn) == pytest.approx(stats.ttest_1samp(drawn, 0).pvalue, abs=0.02)


def test_a_mixed_model_agrees_where_people_have_equally_many_slices():
    models = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    difference, people = slices([2.0, 0.4, 1.1, 0.3, 1.8, 0.9])
    fit = models.MixedLM(difference, np.ones((240, 1)), groups=people).fit(reml=True)
    found = nested_tests(difference, np.zeros(240), people)
    assert found["mean_difference"] == pytest.approx(fit.params[0], rel=1e-6)
    reach = stats.t.ppf(0.975, 5) * fit.bse[0]
    assert found["t95_high"] - found["mean_difference"] == pytest.approx(reach, rel=1e-3)
