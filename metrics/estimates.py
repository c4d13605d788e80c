"""A number with its interval, and the small tests that many parts of the project share; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan, nan, sqrt
from typing import NamedTuple

import numpy as np

__all__ = ["LEVEL", "Estimate", "Matched", "detectable_difference", "holm", "mcnemar", "over_runs", "wilson"]

LEVEL = 0.95
"""Confidence of an interval where none is given."""


class Estimate(NamedTuple):
    """A score with the interval that holds it at the stated confidence.

    Args:
        value: The score; nan where it isn't defined.
        low: Lower end of the interval; nan where it can't be said.
        high: Upper end.
        n: What it rests on: rows, contexts, choices, seeds.
    """

    value: float
    low: float = nan
    high: float = nan
    n: int = 0

    def __str__(self) -> str:
        """The number with its interval, as a table shows it."""
        if isnan(self.value):
            return "–"
        return f"{self.value:.3f}" if isnan(self.low) else f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def wilson(count: int, total: int, level: float = LEVEL) -> Estimate:
    """A share with its Wilson score interval (Wilson, 1927, JASA 22), without continuity correction."""
    from scipy.stats import binomtest

    if total == 0:
        return Estimate(nan, nan, nan, 0)
    low, high = binomtest(count, total).proportion_ci(level, method="wilson")
    return Estimate(count / total, float(low), float(high), total)


def over_runs(runs: Sequence[Estimate], lowest: float = -inf, highest: float = inf, level: float = LEVEL) -> Estimate:
    """Mean of one score over training seeds, with an interval over test rows and seeds in closed form.

    For scores that can't be drawn anew. The squared standard error is the mean of the runs' variances over test rows,
    which all runs share, plus the variance between seeds over their number; the interval is normal.

    Args:
        runs: A run's score a seed, its interval over test rows at the same confidence.
        lowest: Least value that the score can take.
        highest: Largest value.
        level: Confidence.

    Returns:
        The mean, `n` the seeds: of one run its own interval, and none where a run has none over rows.
    """
    from scipy.stats import norm

    count = len(runs)
    values = [run.value for run in runs]
    mean = float(np.mean(values)) if count else nan
    if count < 2 or any(isnan(run.low) for run in runs):
        return Estimate(mean, runs[0].low if count == 1 else nan, runs[0].high if count == 1 else nan, count)
    quantile = float(norm.ppf((1 + level) / 2))
    rows = float(np.mean([((run.high - run.low) / (2 * quantile)) ** 2 for run in runs]))
    half = quantile * sqrt(rows + float(np.var(values, ddof=1)) / count)
    return Estimate(mean, max(mean - half, lowest), min(mean + half, highest), count)


class Matched(NamedTuple):
    """McNemar's test of two classifiers on the same rows.

    Args:
        only_one: Rows that the first alone had right.
        only_other: Rows that the second alone had right.
        p: Exact two-sided p-value of as many of the ones as of the others.
    """

    only_one: int
    only_other: int
    p: float


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> Matched:
    """McNemar's test (1947, Psychometrika 12), exact: a sign test of the rows on which the two differ.

    Rows count as independent; where several come from one group, the bootstrap over groups is the safer word.

    Args:
        one: Whether the first had each row right.
        other: Whether the second had.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(one, bool), np.asarray(other, bool)
    only_one, only_other = int((first & ~second).sum()), int((second & ~first).sum())
    unlike = only_one + only_other
    return Matched(only_one, only_other, float(binomtest(only_one, unlike).pvalue) if unlike else 1.0)


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm, 1979, Scandinavian Journal of Statistics 6), in the given order."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(value) for value in adjusted]


def detectable_difference(error: float, power: float = 0.8, level: float = LEVEL) -> float:
    """The smallest true difference that a two-sided test finds with the given power.

    (z(1 - alpha / 2) + z(power)) standard errors, as for any estimate that is about normal (Cohen, 1988; Card et al.,
    EMNLP 2020, "With little power comes great responsibility"). The error falls with the root of the rows: a
    difference half as large takes four times as many.

    Args:
        error: Standard error of the difference on the test set at hand.
        power: How often it is to be found.
        level: One less the test's alpha.
    """
    from scipy.stats import norm

    return float((norm.ppf((1 + level) / 2) + norm.ppf(power)) * error)
