"""Everything a test says of a mechanism: scores, intervals, trivial baselines, by source where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metrics.levels import LevelRows, level_scores, majority_scores
from metrics.rationales import RATIONALE_KEYS, RationaleRows, mean_scores
from metrics.statistics import Interval, bootstrap_level_intervals, bootstrap_mean_intervals

__all__ = ["LEVEL_KEYS", "VARIANT", "Score", "evaluate_mechanism", "mean_over_mechanisms"]

VARIANT = "levels over the whole split; rationales over words of the whole response"
"""Names how the metrics are counted; numbers of another variant don't compare."""

LEVEL_KEYS = ("level_accuracy", "level_f1_macro", "level_f1_weighted", "level_kappa_quadratic")

Members = npt.NDArray[np.bool_]


class Score(NamedTuple):
    """A number with its 95 % bootstrap interval over groups (nan where there is none) and the rows behind it."""

    value: float
    low: float
    high: float
    n: int


def _scores(
    values: Mapping[str, float], intervals: Mapping[str, Interval], counts: Mapping[str, int]
) -> dict[str, Score]:
    nothing = Interval(float("nan"), float("nan"))
    return {key: Score(value, *intervals.get(key, nothing), counts[key]) for key, value in values.items()}


def evaluate_mechanism(
    levels: LevelRows, rationales: RationaleRows, majority_level: int, among: Sequence[int] | None = None
) -> dict[str, Score]:
    """Scores of one mechanism.

    Args:
        levels: The rows with their levels.
        rationales: The rows with their rationale scores.
        majority_level: The most frequent level of the training rows, what the baseline says of every row.
        among: Row numbers to keep; None: all.

    Returns:
        The keys of `level_scores` and `RATIONALE_KEYS`; with `_majority` behind a level's key and `_everything` behind
        a rationale's the trivial baselines on the same rows.
    """
    keep: Members = np.ones(len(levels.rows), bool) if among is None else np.isin(levels.rows, among)
    kept: Members = np.ones(len(rationales.rows), bool) if among is None else np.isin(rationales.rows, among)
    predicted, gold, groups = levels.predicted[keep], levels.gold[keep], levels.groups[keep]
    found: dict[str, Score] = {}
    rows = dict.fromkeys(level_scores(predicted, gold), int((gold >= 0).sum()))
    found |= _scores(level_scores(predicted, gold), bootstrap_level_intervals(predicted, gold, groups), rows)
    trivial = np.full_like(gold, majority_level)
    baseline = _scores(majority_scores(gold, majority_level), bootstrap_level_intervals(trivial, gold, groups), rows)
    found |= {f"{key}_majority": score for key, score in baseline.items()}
    for suffix, table in (("", rationales.scores[kept]), ("_everything", rationales.baseline[kept])):
        counts = dict(zip(RATIONALE_KEYS, (~np.isnan(table)).sum(axis=0).tolist(), strict=True))
        scored = _scores(mean_scores(table), bootstrap_mean_intervals(table, rationales.groups[kept]), counts)
        found |= {f"{key}{suffix}": score for key, score in scored.items()}
    return found


def mean_over_mechanisms(by_mechanism: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """The plain mean of each score over the mechanisms, without an interval."""
    nan = float("nan")
    return {
        key: Score(
            float(np.mean([scores[key].value for scores in by_mechanism])),
            nan,
            nan,
            min(scores[key].n for scores in by_mechanism),
        )
        for key in by_mechanism[0]
    }
