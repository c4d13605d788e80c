"""Intervals for areas under the curve and means of dependent rows."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.estimates import Estimate

__all__ = ["auc", "mean_difference"]


def auc(positive: ArrayLike, negative: ArrayLike, level: float = 0.95) -> Estimate:
    """How well a score tells two kinds of rows apart: .5 not at all, 1 wholly; ties count half.

    The interval is method 5 of Newcombe (2006), "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2": it has a width even where the two kinds are wholly apart.

    Args:
        positive: [M] scores of the rows that should score higher.
        negative: [N] scores of the others.
        level: Confidence.
    """
    from scipy.stats import rankdata

    high, low = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    m, n = len(high), len(low)
    if not m or not n:
        return Estimate(float("nan"))
    ranks = rankdata(np.concatenate([high, low]))
    value = float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))
    z = NormalDist().inv_cdf((1 + level) / 2)

    def excess(theta: float) -> float:
        half = (m + n) / 2 - 1
        spread = theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)
        return abs(value - theta) - z * sqrt(spread)

    return Estimate(value, _edge(excess, value, 0.0), _edge(excess, value, 1.0), m + n)


def _edge(excess: Callable[[float], float], inside: float, outside: float) -> float:
    """Where the interval ends between a point of it and the end of the scale, by bisection."""
    for _ in range(60):
        middle = (inside + outside) / 2
        if excess(middle) <= 0:
            inside = middle
        else:
            outside = middle
    return inside


def mean_difference(values: ArrayLike, groups: NDArray[np.int64], level: float = 0.95) -> Estimate:
    """A mean with a t interval over groups: rows of a group count as one (cluster-robust standard error).

    Args:
        values: [N] a value a row.
        groups: [N] the rows' groups.
        level: Confidence.
    """
    from scipy.stats import t

    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return Estimate(float("nan"))
    mean = float(numbers.mean())
    members = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(members, weights=numbers - mean)
    count = len(sums)
    if count < 2:
        return Estimate(mean, n=len(numbers))
    error = sqrt(float(sums @ sums) * count / (count - 1)) / len(numbers)
    half = float(t.ppf((1 + level) / 2, count - 1)) * error
    return Estimate(mean, mean - half, mean + half, len(numbers))
