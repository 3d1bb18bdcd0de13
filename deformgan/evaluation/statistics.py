"""What a cohort says: summaries with confidence intervals, and paired tests between methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES = 10_000
_EXACT = 14  # people of whom every pattern of signs is tried
_AT_ONCE = 1_000_000  # draws of the bootstrap held at a time


def summary(values: Sequence[float] | Values, seed: int = 0) -> dict[str, float]:
    """n, missing, mean, sd (n - 1), median, quantile_30, ci95_low, ci95_high; values that are not finite are missing.

    ci95: of the mean, the percentile interval of 10,000 bootstrap resamples (Efron 1979), the same for a seed.
    quantile_30: what Learn2Reg calls DSC30, TRE30 and so on.  NaN where too few values are there.
    """
    every = np.asarray(values, np.float64)
    kept = every[np.isfinite(every)]
    n = len(kept)
    low, high = _interval(kept, seed)
    return {
        "n": n,
        "missing": len(every) - n,
        "mean": float(kept.mean()) if n else np.nan,
        "sd": float(kept.std(ddof=1)) if n > 1 else np.nan,
        "median": float(np.median(kept)) if n else np.nan,
        "quantile_30": float(np.quantile(kept, 0.3)) if n else np.nan,
        "ci95_low": low,
        "ci95_high": high,
    }


def paired_tests(first: Sequence[float] | Values, second: Sequence[float] | Values) -> dict[str, float]:
    """Tests of first - second over the cases that have both.

    n, mean_difference, wilcoxon_p (signed rank, two-sided, zero differences dropped), rank_biserial (its effect size,
    -1 to 1: Kerby 2014), t_p (paired t) and cohens_d (mean difference by its SD).  NaN where too few cases are there;
    equal methods have p = 1.
    """
    from scipy import stats

    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    difference = difference[np.isfinite(difference)]
    n, moved = len(difference), difference[difference != 0]
    out = {"n": float(n), "mean_difference": float(difference.mean()) if n else np.nan}
    if n < 2:
        return out | dict.fromkeys(("wilcoxon_p", "rank_biserial", "t_p", "cohens_d"), np.nan)
    if not len(moved):
        return out | {"wilcoxon_p": 1.0, "rank_biserial": 0.0, "t_p": 1.0, "cohens_d": 0.0}
    ranks, sd = stats.rankdata(np.abs(moved)), float(difference.std(ddof=1))
    return out | {
        "wilcoxon_p": float(stats.wilcoxon(moved).pvalue),
        "rank_biserial": float((ranks * np.sign(moved)).sum() / ranks.sum()),
        "t_p": float(stats.ttest_1samp(difference, 0.0).pvalue) if sd > 0 else np.nan,
        "cohens_d": float(difference.mean() / sd) if sd > 0 else np.nan,
    }


def nested_tests(
    first: Sequence[float] | Values, second: Sequence[float] | Values, people: Sequence[str], seed: int = 0
) -> dict[str, float]:
    """Tests of first - second over slices, or other parts, of which each person gives several.

    Slices of one person resemble each other, so people count, not slices: each is taken as the mean of the slices that
    have both values.  people: the person of each slice.

    people, slices: how many counted.  mean_difference: over people.  t_p, t95_low, t95_high, cohens_d: the paired
    t-test of people; it assumes that their differences are normally distributed, as does a mixed model of the slices'
    differences with a random intercept a person, which agrees with it where all have equally many slices.  sign_flip_p:
    the share of all changes of sign, of whole people, that give a mean as large; it assumes only that without an effect
    a difference is as likely as its opposite, and cannot be less than 2^(1 - people).  ci95_low, ci95_high: the
    bootstrap of whole people; it assumes nothing of the distribution, but is too narrow for fewer than about ten
    people.  NaN where too few people are there.

    >>> found = nested_tests([3, 4, 3, 4, 9, 9], [2, 3, 2, 3, 8, 8], ["a", "a", "b", "b", "c", "c"])
    >>> found["people"], found["slices"], found["mean_difference"], found["sign_flip_p"]
    (3, 6, 1.0, 0.25)
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    means, count = means_by(difference, people)
    n = len(means)
    tests = paired_tests(means, np.zeros(n))
    low, high = _interval(means, seed)
    reach = _t_reach(means)
    return {
        "people": n,
        "slices": count,
        "mean_difference": tests["mean_difference"],
        "t_p": tests["t_p"],
        "t95_low": tests["mean_difference"] - reach,
        "t95_high": tests["mean_difference"] + reach,
        "cohens_d": tests["cohens_d"],
        "sign_flip_p": sign_flip_p(means, seed),
        "ci95_low": low,
        "ci95_high": high,
    }


def means_by(values: Sequence[float] | Values, people: Sequence[str]) -> tuple[Values, int]:
    """The mean of each person's finite values, in the order in which people appear, and how many values counted."""
    every, names = np.asarray(values, np.float64), np.asarray(people)
    kept = np.isfinite(every)
    order = dict.fromkeys(names[kept].tolist())
    return np.array([every[kept & (names == name)].mean() for name in order]), int(kept.sum())


def sign_flip_p(differences: Values, seed: int = 0) -> float:
    """Two-sided; all patterns of signs up to 14 differences, 10,000 drawn ones beyond.  NaN for fewer than two."""
    n = len(differences)
    if n < 2:
        return np.nan
    if n <= _EXACT:
        signs = (np.arange(2**n)[:, None] >> np.arange(n) & 1) * 2.0 - 1
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (RESAMPLES, n)) * 2.0 - 1
        signs = np.concatenate([np.ones((1, n)), drawn])  # what was seen is one of the patterns
    sums, seen = np.abs(signs @ differences), abs(float(differences.sum()))
    return float((sums >= seen * (1 - 1e-9)).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values times Holm's factors, in the order given (Holm 1979); NaN stays NaN and is not counted."""
    p = np.asarray(p_values, np.float64)
    out = np.full(len(p), np.nan)
    counted = np.flatnonzero(np.isfinite(p))
    order = counted[np.argsort(p[counted], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    out[order] = np.maximum.accumulate(p[order] * factors).clip(max=1.0)
    return [float(value) for value in out]


def compare(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Every two methods on every measure that both have; scores: method -> case -> measure -> value.

    Holm's correction counts all the rows together, for either test: wilcoxon_p_holm and t_p_holm.
    """
    rows: list[dict[str, Any]] = []
    methods = list(scores)
    for n, first in enumerate(methods):
        for second in methods[n + 1 :]:
            cases = [case for case in scores[first] if case in scores[second]]
            one, other = ([scores[method][case] for case in cases] for method in (first, second))
            names = list(dict.fromkeys(name for case in one for name in case))
            for name in (name for name in names if any(name in case for case in other)):
                pair = [[case.get(name, np.nan) for case in method] for method in (one, other)]
                rows.append({"first": first, "second": second, "measure": name, **paired_tests(*pair)})
    for test in ("wilcoxon_p", "t_p"):
        for row, corrected in zip(rows, holm([row[test] for row in rows]), strict=True):
            row[f"{test}_holm"] = corrected
    return rows


def _t_reach(values: Values) -> float:
    """From the mean to either end of its 95 % interval by Student's t."""
    from scipy import stats

    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan


def _interval(values: Values, seed: int) -> tuple[float, float]:
    n, generator = len(values), np.random.default_rng(seed)
    if n < 2:
        return np.nan, np.nan
    step = max(1, _AT_ONCE // n)
    sizes = [min(step, RESAMPLES - done) for done in range(0, RESAMPLES, step)]
    means = np.concatenate([values[generator.integers(0, n, (size, n))].mean(1) for size in sizes])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
