"""How sure a score is: percentile bootstrap intervals over groups.

Rows of one group (a seeker post, a dialogue) are not independent, so whole groups are drawn with replacement, as many
as there are, each with all its rows: the cluster bootstrap (Field and Welsh, 2007, "Bootstrapping clustered data",
Journal of the Royal Statistical Society B 69(3)). The interval lies between the quantiles of the score over the draws.
It says how the score varies with the test rows, not with the training seed.

The same groups, `resamples` and `seed` give the same draws in every function here. Draws in which a score isn't defined
are left out; an interval needs two groups with a score and is (nan, nan) otherwise.

Shapes: N rows, G groups, K scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metrics.levels import FloatArray, IntArray, confusion_counts, confusion_scores
from metrics.rationales import RATIONALE_KEYS

__all__ = [
    "Interval",
    "bootstrap_intervals",
    "bootstrap_level_intervals",
    "bootstrap_mean_intervals",
    "group_weights",
    "percentile_interval",
]


class Interval(NamedTuple):
    """Where a score lies with the stated confidence; both ends nan where that can't be said."""

    low: float
    high: float


def group_weights(groups: IntArray, resamples: int = 1000, seed: int = 0) -> IntArray:
    """How often each group is drawn in each resample.

    Args:
        groups: int64[N], the rows' groups.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        int64[resamples, G], groups in ascending order; every line adds up to G.
    """
    count = len(np.unique(groups))
    drawn = np.random.default_rng(seed).integers(max(count, 1), size=(resamples, count))
    cells = drawn + count * np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=resamples * count).reshape(resamples, count)


def percentile_interval(samples: FloatArray, groups: int, level: float = 0.95) -> Interval:
    """The interval between the quantiles of a score's draws; those in which it isn't defined are left out.

    Args:
        samples: float64[B], the draws.
        groups: How many groups have a score; of fewer than two there is no interval.
        level: Confidence, between 0 and 1.
    """
    samples = samples[~np.isnan(samples)]
    if groups < 2 or not len(samples):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(samples, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(low), float(high))


def bootstrap_intervals(
    statistic: Callable[[IntArray], Mapping[str, float]],
    groups: IntArray,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of any statistic, which is called once a resample; the two functions below are much faster.

    Args:
        statistic: Gets row indices (int64, rows of a group drawn twice stand there twice) and returns key -> score. It
            must not depend on their order.
        groups: int64[N], the rows' groups.
        resamples: Number of resamples.
        level: Confidence, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        Key -> interval.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    rows = np.argsort(groups, kind="stable")
    draws = [
        statistic(np.repeat(rows, np.repeat(weights, sizes))) for weights in group_weights(groups, resamples, seed)
    ]
    return {key: percentile_interval(np.array([draw[key] for draw in draws]), len(sizes), level) for key in draws[0]}


def bootstrap_level_intervals(
    predicted: IntArray,
    gold: IntArray,
    groups: IntArray,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of the level scores, `metrics.levels.confusion_scores`.

    The published variants have none: their batches mean nothing in a resample.

    Args:
        predicted: int64[N], predicted level.
        gold: int64[N], annotated level; negative: not annotated, left out.
        groups: int64[N], the rows' groups.
        resamples: Number of resamples.
        level: Confidence, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        Key -> interval.
    """
    known = gold >= 0
    names, members = np.unique(groups[known], return_inverse=True)
    counts = confusion_counts(predicted[known], gold[known], members, len(names))  # [G, L, L]
    weights = group_weights(groups[known], resamples, seed)
    samples = confusion_scores(np.tensordot(weights.astype(np.float64), counts.astype(np.float64), axes=1))
    return {key: percentile_interval(sample, len(names), level) for key, sample in samples.items()}


def bootstrap_mean_intervals(
    values: FloatArray,
    groups: IntArray,
    *,
    keys: Sequence[str] = RATIONALE_KEYS,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of the means of the rows' scores.

    Args:
        values: float64[N, K], nan where a row has no such score: it is left out of that mean.
        groups: int64[N], the rows' groups.
        keys: The K scores' names.
        resamples: Number of resamples.
        level: Confidence, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        Key -> interval.
    """
    names, members = np.unique(groups, return_inverse=True)
    sums, counts = np.zeros((2, len(names), values.shape[1]))
    np.add.at(sums, members, np.nan_to_num(values))
    np.add.at(counts, members, ~np.isnan(values))
    weights = group_weights(groups, resamples, seed).astype(np.float64)
    with np.errstate(invalid="ignore"):
        samples = (weights @ sums) / (weights @ counts)  # [resamples, K]
    filled = (counts > 0).sum(0)
    columns = zip(keys, samples.T, filled, strict=True)
    return {key: percentile_interval(sample, int(count), level) for key, sample, count in columns}
