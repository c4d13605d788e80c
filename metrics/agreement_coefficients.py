"""Agreement beyond chance: ratings -> tables of counts -> Cohen's kappa and Krippendorff's alpha.

Shapes: N rows, A annotators, P = A (A - 1) / 2 pairs of annotators, C categories, G groups.
"""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MISSING",
    "Distance",
    "Weights",
    "cohen_kappa",
    "coincidences",
    "krippendorff_alpha",
    "pair_confusions",
]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

Weights = Literal["none", "linear", "quadratic"]
Distance = Literal["nominal", "ordinal", "interval"]

MISSING = -1
"""The rating of a row that an annotator didn't rate."""


def cohen_kappa(confusion: IntArray | FloatArray, weights: Weights = "none") -> FloatArray:
    """Cohen's kappa (Cohen, 1960), weighted by the distance of the categories where asked for (Cohen, 1968).

    Args:
        confusion: [..., C, C], rows that one annotator puts in category i and the other in j.
        weights: What a disagreement of d categories costs: 1 (`none`), d (`linear`) or d squared (`quadratic`).

    Returns:
        float64[...]; nan where both annotators use one and the same category throughout, or for no rows.
    """
    confusion = confusion.astype(np.float64)
    places = np.arange(confusion.shape[-1])
    apart = np.abs(places[:, None] - places).astype(np.float64)
    cost = {"none": (apart > 0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weights]
    first, second = confusion.sum(-1), confusion.sum(-2)
    observed = (cost * confusion).sum((-2, -1)) * first.sum(-1)
    expected = (cost * first[..., :, None] * second[..., None, :]).sum((-2, -1))
    with np.errstate(invalid="ignore"):
        kappa: FloatArray = 1 - observed / expected
    return kappa


def coincidences(ratings: IntArray, categories: int) -> FloatArray:
    """What each row adds to Krippendorff's coincidence matrix.

    Args:
        ratings: int64[N, A], category of each row by each annotator; -1: not rated.
        categories: Number of categories.

    Returns:
        float64[N, C, C]: ordered pairs of ratings of the row, over one less than its ratings; a row with fewer than two
        adds nothing.
    """
    counts = (ratings[:, :, None] == np.arange(categories)).sum(1).astype(np.float64)  # [N, C]
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, np.arange(categories), np.arange(categories)] -= counts
    shares: FloatArray = pairs / np.maximum(counts.sum(1) - 1, 1)[:, None, None]
    return shares


def krippendorff_alpha(coincidence: FloatArray, distance: Distance = "nominal") -> FloatArray:
    """Krippendorff's alpha for any number of annotators and missing ratings (Krippendorff, 2011).

    "Computing Krippendorff's Alpha-Reliability", https://repository.upenn.edu/asc_papers/43.

    Args:
        coincidence: float64[..., C, C], the rows' coincidences added up.
        distance: How far apart two categories are: all alike (`nominal`), by how many ratings lie between them
            (`ordinal`), or by their numbers (`interval`).

    Returns:
        float64[...]; nan where only one category occurs, or where no row has two ratings.
    """
    totals = coincidence.sum(-1)  # [..., C]
    count = totals.shape[-1]
    places = np.arange(count)
    if distance == "nominal":
        apart = (places[:, None] != places).astype(np.float64)
    elif distance == "interval":
        apart = (places[:, None] - places).astype(np.float64) ** 2
    else:
        middle = totals.cumsum(-1) - totals / 2
        apart = (middle[..., :, None] - middle[..., None, :]) ** 2
    observed = (apart * coincidence).sum((-2, -1))
    expected = (apart * totals[..., :, None] * totals[..., None, :]).sum((-2, -1))
    with np.errstate(invalid="ignore"):
        alpha: FloatArray = 1 - (totals.sum(-1) - 1) * observed / expected
    return alpha


def pair_confusions(ratings: IntArray, members: IntArray, categories: int) -> IntArray:
    """Counts the rows that both annotators of a pair rated.

    Args:
        ratings: int64[N, A]; -1: not rated.
        members: int64[N], number of the row's group, from 0 without gaps.
        categories: Number of categories.

    Returns:
        int64[P, G, C, C]; pairs in the order of `itertools.combinations`.
    """
    groups = int(members.max(initial=-1)) + 1
    tables = []
    for first, second in combinations(range(ratings.shape[1]), 2):
        both = (ratings[:, first] != MISSING) & (ratings[:, second] != MISSING)
        cells = (members[both] * categories + ratings[both, first]) * categories + ratings[both, second]
        tables.append(np.bincount(cells, minlength=groups * categories**2))
    return np.reshape(tables, (len(tables), groups, categories, categories)).astype(np.int64)
