"""Conditions on one test set: their scores over seeds, their differences, and how a score goes with a dose.

A **condition** is a setting trained with several seeds and tested on the same rows. Its score is the mean over the
seeds. Two things vary it: other test rows and other seeds. Both are drawn anew, whole groups of rows and whole seeds
(the pigeonhole bootstrap for crossed factors: Owen, 2007, Annals of Applied Statistics 1), the same draws for every
condition, so that differences are paired. Of S seeds S - 1 are drawn, whose mean varies as that of S seeds does (Rao
and Wu, 1988, JASA 83); with one seed only the rows are drawn, and the interval says nothing of training anew.

Samples are float64[1 + B]: the score itself, then B draws of it, all nan where fewer than two groups have the score:
one group drawn anew is itself again. Shapes: N rows, G groups, S seeds, L levels, P conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import NamedTuple

import numpy as np

from metrics.estimates import LEVEL, Estimate
from metrics.levels import FloatArray, IntArray, confusion_counts, confusion_scores
from metrics.statistics import group_weights

__all__ = [
    "Bend",
    "Difference",
    "bend",
    "condition",
    "difference",
    "drawn",
    "estimate",
    "level_samples",
    "mean_samples",
    "slope",
]

RESAMPLES = 5000


def drawn(samples: FloatArray, groups: int) -> FloatArray:
    """Samples as they are, or with all draws nan where fewer than two groups have the score.

    Args:
        samples: float64[1 + B].
        groups: How many groups have the score.
    """
    return samples if groups > 1 else np.concatenate((samples[:1], np.full(len(samples) - 1, nan)))


def level_samples(
    predicted: IntArray, gold: IntArray, groups: IntArray, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, FloatArray]:
    """A run's level scores and draws of them over groups; equal `gold` and `groups` give equal draws of rows.

    Args:
        predicted: int64[N], predicted level.
        gold: int64[N], annotated level; negative: not annotated, left out.
        groups: int64[N], the rows' groups.
        resamples: B.
        seed: Seed of the draws.

    Returns:
        The keys of `metrics.levels.confusion_scores` -> float64[1 + B].
    """
    known = gold >= 0
    names, members = np.unique(groups[known], return_inverse=True)
    counts = confusion_counts(predicted[known], gold[known], members, len(names)).astype(np.float64)  # [G, L, L]
    weights = group_weights(groups[known], resamples, seed).astype(np.float64)
    scores = confusion_scores(np.concatenate((counts.sum(0)[None], np.tensordot(weights, counts, axes=1))))
    return {key: drawn(samples, len(names)) for key, samples in scores.items()}


def mean_samples(
    values: FloatArray, groups: IntArray, keys: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, FloatArray]:
    """Means of rows' scores and draws of them over groups, the same draws of rows as `level_samples`.

    Args:
        values: float64[N, K], nan where a row has no such score: it is left out of that mean.
        groups: int64[N], the rows' groups.
        keys: The K scores' names.
        resamples: B.
        seed: Seed of the draws.

    Returns:
        Key -> float64[1 + B]; nan where no row of a draw has the score.
    """
    names, members = np.unique(groups, return_inverse=True)
    sums, counts = np.zeros((2, len(names), len(keys)))
    np.add.at(sums, members, np.nan_to_num(values))
    np.add.at(counts, members, ~np.isnan(values))
    weights = np.concatenate((np.ones((1, len(names))), group_weights(groups, resamples, seed))).astype(np.float64)
    with np.errstate(invalid="ignore"):
        found: FloatArray = (weights @ sums) / (weights @ counts)  # [1 + B, K]
    filled = (counts > 0).sum(0).tolist()
    return {key: drawn(samples, count) for key, samples, count in zip(keys, found.T, filled, strict=True)}


def condition(samples: Mapping[int, FloatArray], seeds: Sequence[int] | None = None, seed: int = 1) -> FloatArray:
    """Mean over seeds, the seeds drawn with replacement in every draw.

    Args:
        samples: Training seed -> samples of its run.
        seeds: The seeds to take; None: all. Equal seeds give equal draws of seeds.
        seed: Seed of the draws.

    Returns:
        float64[1 + B].
    """
    chosen = sorted(samples if seeds is None else seeds)
    table: FloatArray = np.stack([samples[each] for each in chosen])  # [S, 1 + B]
    if len(chosen) == 1:
        return samples[chosen[0]]
    draws = table.shape[1] - 1
    again = np.random.default_rng(seed).integers(len(chosen), size=(len(chosen) - 1, draws))  # [S - 1, B]
    return np.concatenate((table[:, :1].mean(0), table[again, np.arange(1, draws + 1)].mean(0)))


def estimate(samples: FloatArray, n: int, level: float = LEVEL) -> Estimate:
    """Value and percentile interval of samples; draws that aren't defined are left out.

    Args:
        samples: float64[1 + B].
        n: What the estimate rests on.
        level: Confidence.
    """
    value, draws = float(samples[0]), samples[1:]
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return Estimate(value, nan, nan, n)
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
    return Estimate(value, float(low), float(high), n)


class Difference(NamedTuple):
    """One condition less another on the same rows.

    Args:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end.
        n: Seeds that both have.
        error: Standard error: the draws' standard deviation.
        p: Two-sided: twice the share of draws on the other side of 0, at least 1 / (B + 1).
    """

    value: float
    low: float
    high: float
    n: int
    error: float
    p: float


def difference(
    one: Mapping[int, FloatArray], other: Mapping[int, FloatArray], level: float = LEVEL, seed: int = 1
) -> Difference:
    """The paired bootstrap of two conditions, over the seeds that both have.

    Args:
        one: Training seed -> samples, all of one test set and one number of draws.
        other: Likewise, of the condition that is taken off.
        level: Confidence.
        seed: Seed of the draws of seeds.

    Returns:
        The difference; all nan where no seed is shared, and without interval, error and p where no draw is defined.
    """
    shared = sorted(set(one) & set(other))
    if not shared:
        return Difference(nan, nan, nan, 0, nan, nan)
    gap = condition(one, shared, seed) - condition(other, shared, seed)
    draws = gap[1:][~np.isnan(gap[1:])]
    found = estimate(gap, len(shared), level)
    if not len(draws):
        return Difference(*found, nan, nan)
    side = min((draws <= 0).sum(), (draws >= 0).sum()) + 1
    return Difference(*found, float(draws.std()), float(min(1.0, 2 * side / (len(draws) + 1))))


def slope(dose: Sequence[float], samples: Sequence[FloatArray], level: float = LEVEL) -> Estimate:
    """The least-squares slope of a score over a dose such as the number of synthetic rows.

    Args:
        dose: P values, at least two different ones.
        samples: P conditions, from the same draws.
        level: Confidence.

    Returns:
        Score per unit of the dose, `n` the conditions.
    """
    line = np.linalg.pinv(np.stack((np.ones(len(dose)), np.asarray(dose, float)), axis=1))[1]  # [P]
    return estimate(line @ np.stack(samples), len(dose), level)


class Bend(NamedTuple):
    """Two straight lines that meet: where a score's gain with the dose changes.

    Args:
        point: The dose at which they meet: the point of diminishing returns, where `change` is below 0.
        before: Slope up to it.
        after: Slope from it on.
        change: `after` less `before`.
    """

    point: Estimate
    before: Estimate
    after: Estimate
    change: Estimate


def bend(dose: Sequence[float], samples: Sequence[FloatArray], level: float = LEVEL) -> Bend | None:
    """Fits a continuous line with one bend by least squares, at the dose between the outer ones that fits best.

    The broken-line regression of Hudson (1966, JASA 61) with the bend at one of the doses at hand; intervals from
    fitting every draw anew, so they hold how unsure the place of the bend is.

    Args:
        dose: P values.
        samples: P conditions, from the same draws.
        level: Confidence.

    Returns:
        The bend; None with fewer than five different doses, where it says nothing.
    """
    x, table = np.asarray(dose, float), np.stack(samples)  # [P], [P, 1 + B]
    inner = np.unique(x)[1:-1]
    if len(inner) < 3:
        return None
    fits = []
    for point in inner:
        design = np.stack((np.ones(len(x)), np.minimum(x, point) - point, np.maximum(x, point) - point), axis=1)
        found = np.linalg.pinv(design) @ table  # [3, 1 + B]
        fits.append((((table - design @ found) ** 2).sum(0), found))
    best = np.argmin([error for error, _ in fits], axis=0)  # [1 + B]
    lines = np.stack([found for _, found in fits])[best, :, np.arange(table.shape[1])]  # [1 + B, 3]
    undefined = np.isnan(table).any(0)
    before, after = (np.where(undefined, nan, lines[:, column]) for column in (1, 2))
    point = np.where(undefined, nan, inner[best])
    return Bend(*(estimate(each, len(x), level) for each in (point, before, after, after - before)))
