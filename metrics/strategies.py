"""How well strategies are predicted: one definition for rows of one label and of several.

A row predicts a set of labels: the likeliest one, or under several labels those of score 0 and more. F1 scores
compare sets, accuracies look at the likeliest label alone.
Legend: N rows, K labels, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.calibration import reliability
from metrics.evaluation import Score
from metrics.statistics import Interval, group_weights

__all__ = [
    "StrategyRows",
    "calibration_error",
    "confusion",
    "evaluate_strategies",
    "majority_rows",
    "preference_bias",
    "strategy_samples",
    "strategy_scores",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INTERVALS = 1000


class StrategyRows(NamedTuple):
    """Evaluated rows.

    Args:
        rows: int64 [N], row numbers.
        groups: int64 [N], what must not be torn apart when rows are drawn again.
        scores: float64 [N, K], what decides: the likeliest label is the highest. Class weights and logit adjustment
            leave the labels' frequencies out of it.
        probabilities: float64 [N, K], calibrated, frequencies included; they add up to 1, so that under several labels
            they are no label's own.
        predicted: float64 [N, K], 1 at the labels of the predicted set.
        targets: float64 [N, K], 1 at the row's labels.
        gold: float64 [N, K], 1 at all labels of the row's turn.
        several: Whether rows are given several labels.
    """

    rows: IntArray
    groups: IntArray
    scores: FloatArray
    probabilities: FloatArray
    predicted: FloatArray
    targets: FloatArray
    gold: FloatArray
    several: bool = False

    def among(self, members: Sequence[int]) -> StrategyRows:
        """Those with the given row numbers."""
        keep = np.isin(self.rows, members)
        return StrategyRows(
            self.rows[keep],
            self.groups[keep],
            self.scores[keep],
            self.probabilities[keep],
            self.predicted[keep],
            self.targets[keep],
            self.gold[keep],
            self.several,
        )


def confusion(rows: StrategyRows) -> FloatArray:
    """float64 [K, K]: how often the likeliest label was j where a target was i."""
    best = np.eye(rows.targets.shape[1])[rows.scores.argmax(axis=1)] if len(rows.rows) else rows.targets
    counts: FloatArray = rows.targets.T @ best
    return counts


def preference_bias(table: FloatArray, rounds: int = 1000) -> tuple[float, FloatArray]:
    """How unevenly a model prefers labels whatever the gold one is (Kang et al., ACL 2024, section 4).

    Preferences are Bradley-Terry strengths: to predict i where j was right is a win of i over j. They are scaled to a
    mean of 1, and the bias is their standard deviation: 0 where no label is preferred. Where the errors leave strengths
    unbounded (a label that is never predicted, or never gold), the rounds approach the scaled limit.

    Args:
        table: float64 [K, K], gold i, predicted j.
        rounds: Of Newman's iteration (2023), a label at a time, at most.

    Returns:
        The bias and the preferences float64 [K]; nan where there is no error to judge by.
    """
    wins = table.T - np.diag(np.diag(table))  # [i, j]: i said where j was right
    strengths = np.ones(len(wins))
    if not wins.any():
        return float("nan"), np.full(len(wins), np.nan)
    for _ in range(rounds):
        before = strengths.copy()
        for label in range(len(wins)):
            pairs = np.maximum(strengths[label] + strengths, 1e-300)
            lost = (wins[:, label] / pairs).sum()
            if lost > 0:
                strengths[label] = (wins[label] * strengths / pairs).sum() / lost
            elif wins[label].any():
                strengths[label] *= 2  # never lost: it grows against the others for ever
        strengths *= len(wins) / strengths.sum()
        if np.abs(strengths - before).max() < 1e-10:
            break
    return float(strengths.std()), strengths


def calibration_error(rows: StrategyRows, bins: int = 15) -> float:
    """Expected calibration error of the most probable label (Guo et al., ICML 2017): bins of equal width."""
    if not len(rows.rows):
        return float("nan")
    best = rows.probabilities.argmax(axis=1)
    confidence = rows.probabilities.max(axis=1)
    right = np.take_along_axis(rows.targets, best[:, None], axis=1)[:, 0]
    return reliability(confidence, right, bins).error


def _counts(rows: StrategyRows) -> FloatArray:
    """What the scores are sums of, a line a row: [N, 3 + 3 K]: right, among the best three, any, then tp, fp, fn."""
    order = np.argsort(-rows.scores, axis=1, kind="stable")
    best = order[:, :1]
    columns = [
        np.take_along_axis(rows.targets, best, axis=1)[:, 0],
        np.take_along_axis(rows.targets, order[:, :3], axis=1).max(axis=1),
        np.take_along_axis(rows.gold, best, axis=1)[:, 0],
    ]
    sets = [rows.predicted * rows.targets, rows.predicted * (1 - rows.targets), (1 - rows.predicted) * rows.targets]
    return np.concatenate([np.stack(columns, axis=1), *sets], axis=1)


def _of_counts(sums: FloatArray, rows: FloatArray) -> dict[str, FloatArray]:
    """Scores from sums [X, 3 + 3 K] over numbers of rows [X]."""
    size = (sums.shape[1] - 3) // 3
    hits, wrong, missed = (sums[:, 3 + part * size : 3 + (part + 1) * size] for part in range(3))
    both = 2 * hits + wrong + missed
    f1 = np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)
    support = hits + missed
    with np.errstate(invalid="ignore"):
        return {
            "accuracy": sums[:, 0] / rows,
            "top3_accuracy": sums[:, 1] / rows,
            "accuracy_any": sums[:, 2] / rows,
            "f1_macro": f1.sum(axis=1) / (both > 0).sum(axis=1),
            "f1_weighted": (f1 * support).sum(axis=1) / support.sum(axis=1),
        }


def strategy_scores(rows: StrategyRows) -> dict[str, float]:
    """All scores of a split.

    `accuracy`: the likeliest label is one of the row's. `accuracy_any`: it is one of its turn's, which may have more
    than the row. `top3_accuracy`: one of the three likeliest is one of the row's. `f1_macro`: plain mean over the
    labels that occur in targets or predictions. `f1_weighted`: weighted by targets. `preference_bias`,
    `calibration_error`, and `log_loss`, the mean negative log-likelihood of the targets; neither is defined under
    several labels.

    Returns:
        Key -> score, nan where it isn't defined.
    """
    counts = _counts(rows)
    found = _of_counts(counts.sum(axis=0)[None], np.array([float(len(rows.rows))]))
    scores = {key: float(values[0]) for key, values in found.items()}
    scores["preference_bias"] = preference_bias(confusion(rows))[0] if len(rows.rows) else float("nan")
    scores["calibration_error"] = float("nan") if rows.several else calibration_error(rows)
    likelihood = (np.log(np.maximum(rows.probabilities, 1e-12)) * rows.targets).sum(axis=1)
    scores["log_loss"] = float(-likelihood.mean()) if len(rows.rows) and not rows.several else float("nan")
    return scores


def majority_rows(rows: StrategyRows, prior: FloatArray) -> StrategyRows:
    """What the baseline that knows the training labels' frequencies alone says of the same rows.

    It predicts the most frequent label; under several labels all of them, which F1 favours.

    Args:
        rows: The rows.
        prior: float64 [K], frequency of each label in training.
    """
    share = prior / max(prior.sum(), 1e-12)
    best = np.eye(len(prior))[int(prior.argmax())]
    everywhere = np.tile(share, (len(rows.rows), 1))
    said = np.ones(len(prior)) if rows.several else best
    return rows._replace(scores=everywhere, probabilities=everywhere, predicted=np.tile(said, (len(rows.rows), 1)))


def strategy_samples(rows: StrategyRows, resamples: int = INTERVALS, seed: int = 0) -> dict[str, FloatArray]:
    """Scores that are counted from rows, and draws of them over groups.

    Args:
        rows: The rows.
        resamples: B.
        seed: Seed of the draws.

    Returns:
        Key -> float64 [1 + B]: the score itself, then B draws of it.
    """
    names, members = np.unique(rows.groups, return_inverse=True)
    counts = _counts(rows)
    sums = np.zeros((len(names), counts.shape[1] + 1))
    np.add.at(sums, members, np.concatenate([counts, np.ones((len(counts), 1))], axis=1))
    weights = np.concatenate((np.ones((1, len(names))), group_weights(rows.groups, resamples, seed)))
    drawn = weights.astype(np.float64) @ sums
    return _of_counts(drawn[:, :-1], drawn[:, -1])


def _intervals(rows: StrategyRows, level: float = 0.95) -> dict[str, Interval]:
    if len(np.unique(rows.groups)) < 2:
        return {}
    ends = ((1 - level) / 2, (1 + level) / 2)
    return {
        key: Interval(*map(float, np.nanquantile(samples[1:], ends))) for key, samples in strategy_samples(rows).items()
    }


def evaluate_strategies(rows: StrategyRows, prior: FloatArray) -> dict[str, Score]:
    """Scores with intervals, and with `_majority` behind the key the trivial baseline's on the same rows.

    Args:
        rows: The rows.
        prior: float64 [K], frequency of each label in training.

    Returns:
        Key -> score.
    """
    unknown = Interval(float("nan"), float("nan"))
    found: dict[str, Score] = {}
    for suffix, some in (("", rows), ("_majority", majority_rows(rows, prior))):
        intervals = _intervals(some)
        for key, value in strategy_scores(some).items():
            found[key + suffix] = Score(value, *intervals.get(key, unknown), len(rows.rows))
    return found
