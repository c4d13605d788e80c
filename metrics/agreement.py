"""How well people agree, with intervals: kappas and alpha of a question, means over pairs, the human ceiling.

Intervals are percentile bootstrap intervals over groups (see `metrics.statistics`): all that is said of one group is
drawn together. Draws in which a score isn't defined are left out. A mean over pairs of annotators is over the pairs for
which the score is defined.

Shapes: N rows, A annotators, P = A (A - 1) / 2 pairs of annotators, C categories, G groups, B resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from metrics.agreement_coefficients import (
    MISSING,
    cohen_kappa,
    coincidences,
    krippendorff_alpha,
    pair_confusions,
)
from metrics.estimates import Estimate
from metrics.levels import FloatArray, IntArray
from metrics.statistics import group_weights, percentile_interval

__all__ = [
    "Bootstrap",
    "category_agreement",
    "compare_means",
    "human_ceiling",
    "mean_of_pairs",
    "mean_over_questions",
]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn.

    Args:
        resamples: Number of resamples.
        level: Confidence, between 0 and 1.
        seed: Seed of the draws.
    """

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def weights(self, groups: IntArray) -> FloatArray:
        """How often each group counts: once in line 0 (the rows as they are), as drawn in the others: [1 + B, G]."""
        drawn = group_weights(groups, self.resamples, self.seed)
        return np.vstack([np.ones((1, drawn.shape[1])), drawn])

    def estimate(self, samples: FloatArray, n: int, groups: int) -> Estimate:
        """The estimate whose value is `samples[0]` and whose interval lies in the other samples, float64[1 + B]."""
        return Estimate(float(samples[0]), *percentile_interval(samples[1:], groups, self.level), n)


def category_agreement(
    ratings: IntArray,
    groups: IntArray,
    *,
    annotators: Sequence[str],
    categories: Sequence[str],
    ordered: bool,
    bootstrap: Bootstrap,
) -> dict[str, Estimate]:
    """Agreement on one question with a fixed set of answers.

    Args:
        ratings: int64[N, A], index of the answer; -1: not rated.
        groups: int64[N], the rows' groups.
        annotators: The A annotators' names.
        categories: The C answers' names, in order where they have one.
        ordered: Whether they have one: then weighted kappas and ordinal alpha are among the scores.
        bootstrap: How intervals are drawn.

    Returns:
        Key -> estimate. Of all annotators: `mean_pairwise_agreement` (share of equal ratings), `mean_pairwise_kappa`,
        `mean_pairwise_kappa_linear`, `mean_pairwise_kappa_quadratic`, `alpha_nominal`, `alpha_ordinal`; the unweighted
        ones for each answer against the others, under `<answer>/`; and `<a>~<b>/kappa` and so on of each pair of
        annotators that share a row.
    """
    rated = (ratings != MISSING).sum(1) > 1
    ratings, groups = ratings[rated], groups[rated]
    names, members = np.unique(groups, return_inverse=True)
    weights = bootstrap.weights(groups)
    confusion = _resampled(weights, pair_confusions(ratings, members, len(categories)))  # [1 + B, P, C, C]
    by_group = np.zeros((len(names), len(categories), len(categories)))
    np.add.at(by_group, members, coincidences(ratings, len(categories)))
    coincidence: FloatArray = np.einsum("bg,gij->bij", weights, by_group, optimize=True)  # [1 + B, C, C]
    scores = dict(_scores(confusion, coincidence, ordered=ordered))
    for number, category in enumerate(categories):
        fold = np.stack([np.arange(len(categories)) != number, np.arange(len(categories)) == number]).astype(np.float64)
        for key, samples in _scores(fold @ confusion @ fold.T, fold @ coincidence @ fold.T, ordered=False):
            scores[f"{category}/{key}"] = samples
    rows = len(ratings)
    estimates = {key: bootstrap.estimate(samples, rows, len(names)) for key, samples in scores.items()}
    for pair, (first, second) in enumerate(combinations(annotators, 2)):
        shared = int(confusion[0, pair].sum())
        for key, samples in _pair_scores(confusion[:, pair], ordered=ordered) if shared else ():
            estimates[f"{first}~{second}/{key}"] = bootstrap.estimate(samples, shared, len(names))
    return estimates


def mean_over_questions(
    ratings: Sequence[IntArray], groups: IntArray, *, categories: int, bootstrap: Bootstrap
) -> Estimate:
    """The mean over questions of the mean pairwise kappa: one figure for several mechanisms.

    Args:
        ratings: int64[N, A] a question, of the same rows; -1: not rated.
        groups: int64[N], the rows' groups.
        categories: Number of answers.
        bootstrap: How intervals are drawn.

    Returns:
        The estimate; its `n` counts the rows with two ratings for a question.
    """
    rated = np.any([(table != MISSING).sum(1) > 1 for table in ratings], axis=0)
    names, members = np.unique(groups[rated], return_inverse=True)
    weights = bootstrap.weights(groups[rated])
    means = [
        _mean(cohen_kappa(_resampled(weights, pair_confusions(table[rated], members, categories)))) for table in ratings
    ]
    return bootstrap.estimate(_mean(np.stack(means, axis=-1)), int(rated.sum()), len(names))


def mean_of_pairs(
    values: FloatArray, groups: IntArray, *, bootstrap: Bootstrap, pairs: Sequence[str] = ()
) -> dict[str, Estimate]:
    """The mean over pairs of annotators of the mean over their rows.

    Args:
        values: float64[P, N], a score of each row for each pair; nan where there is none.
        groups: int64[N], the rows' groups.
        bootstrap: How intervals are drawn.
        pairs: The pairs' names, where their own means are wanted.

    Returns:
        "" -> the mean over all pairs, name -> the mean of a pair; pairs without a row are left out.
    """
    means, filled = _pair_means(values, groups, bootstrap)
    rows = ~np.isnan(values)
    estimates = {"": bootstrap.estimate(_mean(means), int(rows.any(0).sum()), int(filled.any(1).sum()))}
    for pair, name in enumerate(pairs):
        if rows[pair].any():
            estimates[name] = bootstrap.estimate(means[:, pair], int(rows[pair].sum()), int(filled[:, pair].sum()))
    return estimates


def compare_means(
    human: FloatArray, model: FloatArray, groups: IntArray, *, bootstrap: Bootstrap
) -> dict[str, Estimate]:
    """Two means of `mean_of_pairs`, and their difference in the same draws.

    Args:
        human: float64[P, N], of pairs of people; nan where there is no score.
        model: float64[Q, N], of the model with each of them.
        groups: int64[N], the rows' groups.
        bootstrap: How intervals are drawn.

    Returns:
        `human`, `model` and `model_minus_human`.
    """
    sides = [_pair_means(values, groups, bootstrap) for values in (human, model)]
    means = [_mean(samples) for samples, _ in sides]
    rows = [int((~np.isnan(values)).any(0).sum()) for values in (human, model)]
    filled = [int(cells.any(1).sum()) for _, cells in sides]
    return {
        "human": bootstrap.estimate(means[0], rows[0], filled[0]),
        "model": bootstrap.estimate(means[1], rows[1], filled[1]),
        "model_minus_human": bootstrap.estimate(means[1] - means[0], min(rows), min(filled)),
    }


def human_ceiling(
    ratings: IntArray, predicted: IntArray, groups: IntArray, *, categories: int, bootstrap: Bootstrap
) -> dict[str, Estimate]:
    """The model as one annotator more: how it agrees with people, beside how they agree with each other.

    On the rows that the model and at least two annotators rated, so that both are asked the same. `human_` is the mean
    over pairs of annotators, `model_` the mean over annotators of the model's score against them, `model_minus_human_`
    the difference in the same draws.

    Args:
        ratings: int64[N, A]; -1: not rated.
        predicted: int64[N], the model's level; -1: none.
        groups: int64[N], the rows' groups.
        categories: Number of levels.
        bootstrap: How intervals are drawn.

    Returns:
        `<side>_level_accuracy`, `<side>_level_f1_macro`, `<side>_level_kappa`, `<side>_level_kappa_quadratic`.
    """
    asked = ((ratings != MISSING).sum(1) > 1) & (predicted != MISSING)
    ratings, predicted, groups = ratings[asked], predicted[asked], groups[asked]
    names, members = np.unique(groups, return_inverse=True)
    weights = bootstrap.weights(groups)
    everyone = np.column_stack([ratings, predicted])
    confusion = _resampled(weights, pair_confusions(everyone, members, categories))
    model = np.array([b == ratings.shape[1] for _, b in combinations(range(everyone.shape[1]), 2)], dtype=bool)
    estimates = {}
    for key, samples in _ceiling_scores(confusion):
        human, machine = _mean(samples[:, ~model]), _mean(samples[:, model])
        for side, drawn in (("human", human), ("model", machine), ("model_minus_human", machine - human)):
            estimates[f"{side}_{key}"] = bootstrap.estimate(drawn, len(ratings), len(names))
    return estimates


def _pair_means(values: FloatArray, groups: IntArray, bootstrap: Bootstrap) -> tuple[FloatArray, NDArray[np.bool_]]:
    """The pairs' means in each draw, [1 + B, P], and which groups have a score for which pair, [G, P]."""
    names, members = np.unique(groups, return_inverse=True)
    sums, counts = np.zeros((2, len(names), len(values)))
    np.add.at(sums, members, np.nan_to_num(values).T)
    np.add.at(counts, members, ~np.isnan(values).T)
    weights = bootstrap.weights(groups)
    with np.errstate(invalid="ignore"):
        return (weights @ sums) / (weights @ counts), counts > 0


def _resampled(weights: FloatArray, tables: IntArray) -> FloatArray:
    """Tables [P, G, C, C] of each group -> of each resample: [1 + B, P, C, C]."""
    resampled: FloatArray = np.einsum("bg,pgij->bpij", weights, tables.astype(np.float64), optimize=True)
    return resampled


def _pair_scores(confusion: FloatArray, *, ordered: bool) -> Iterator[tuple[str, FloatArray]]:
    with np.errstate(invalid="ignore"):
        yield "agreement", np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))
    yield "kappa", cohen_kappa(confusion)
    if ordered:
        yield "kappa_linear", cohen_kappa(confusion, "linear")
        yield "kappa_quadratic", cohen_kappa(confusion, "quadratic")


def _scores(confusion: FloatArray, coincidence: FloatArray, *, ordered: bool) -> Iterator[tuple[str, FloatArray]]:
    for key, samples in _pair_scores(confusion, ordered=ordered):
        yield f"mean_pairwise_{key}", _mean(samples)
    yield "alpha_nominal", krippendorff_alpha(coincidence)
    if ordered:
        yield "alpha_ordinal", krippendorff_alpha(coincidence, "ordinal")


def _ceiling_scores(confusion: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """Scores that are the same whichever of the two annotators is taken as right: float64[1 + B, P] each."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    both = confusion.sum(-1) + confusion.sum(-2)
    with np.errstate(invalid="ignore"):
        yield "level_accuracy", right.sum(-1) / confusion.sum((-2, -1))
        f1 = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
        yield "level_f1_macro", f1.sum(-1) / (both > 0).sum(-1)
    yield "level_kappa", cohen_kappa(confusion)
    yield "level_kappa_quadratic", cohen_kappa(confusion, "quadratic")


def _mean(samples: FloatArray) -> FloatArray:
    """The mean over the last axis of what is defined; nan where nothing is."""
    defined = ~np.isnan(samples)
    with np.errstate(invalid="ignore"):
        mean: FloatArray = np.nan_to_num(samples).sum(-1) / defined.sum(-1)
    return mean
