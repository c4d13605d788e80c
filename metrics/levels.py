"""How well levels are predicted: scores of a whole split, and two of them as the published code averages them.

Shapes: N rows, L = 3 levels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.records import LEVELS
from metrics.row_table import GatheredRows

__all__ = [
    "LevelRows",
    "LevelScores",
    "confusion_counts",
    "confusion_scores",
    "level_scores",
    "majority_scores",
]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

PUBLISHED_BATCH = 32
"""Rows whose score the published code takes together before it averages."""

_DISTANCE = np.subtract.outer(np.array(LEVELS), np.array(LEVELS)) ** 2.0


class LevelRows(NamedTuple):
    """The annotated rows of a split, sorted by row index.

    Args:
        rows: int64[N], global row index in the split.
        groups: int64[N], what must not be torn apart when rows are drawn again.
        predicted: int64[N], predicted level.
        gold: int64[N], annotated level.
    """

    rows: IntArray
    groups: IntArray
    predicted: IntArray
    gold: IntArray


def confusion_counts(predicted: IntArray, gold: IntArray, bins: IntArray, count: int) -> IntArray:
    """Counts rows by bin, annotated level and predicted level.

    Args:
        predicted: int64[N], predicted level.
        gold: int64[N], annotated level.
        bins: int64[N], which of the `count` tables a row counts in.
        count: Number of tables.

    Returns:
        int64[count, L, L]: rows of each bin with gold level i and predicted level j.
    """
    assert np.isin(predicted, LEVELS).all(), "a predicted level is not 0, 1 or 2"
    assert np.isin(gold, LEVELS).all(), "a gold level is not 0, 1 or 2"
    size = len(LEVELS)
    cells = (bins * size + gold) * size + predicted
    return np.bincount(cells, minlength=count * size * size).reshape(count, size, size)


def confusion_scores(confusion: IntArray | FloatArray) -> dict[str, FloatArray]:
    """Level scores from confusion tables, as scikit-learn defines them.

    `level_f1_macro` is the plain mean over the levels that occur in gold or prediction of the table,
    `level_f1_weighted` the mean weighted by gold counts, `level_kappa_quadratic` Cohen's kappa with squared distances
    (Cohen, 1968). What is not defined is nan: every score of an empty table, and kappa where gold and prediction are
    all one level.

    Args:
        confusion: [..., L, L], rows with gold level i and predicted level j.

    Returns:
        Key -> float64[...].
    """
    confusion = confusion.astype(np.float64)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    gold, predicted = confusion.sum(-1), confusion.sum(-2)
    rows, both = gold.sum(-1), gold + predicted
    f1 = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    observed = (_DISTANCE * confusion).sum((-2, -1))
    expected = (_DISTANCE * gold[..., :, None] * predicted[..., None, :]).sum((-2, -1))
    with np.errstate(invalid="ignore"):
        return {
            "level_accuracy": right.sum(-1) / rows,
            "level_f1_macro": f1.sum(-1) / (both > 0).sum(-1),
            "level_f1_weighted": (f1 * gold).sum(-1) / rows,
            "level_kappa_quadratic": 1 - rows * observed / expected,
        }


def level_scores(predicted: IntArray, gold: IntArray) -> dict[str, float]:
    """All level scores of one split.

    The keys that end in `_published` are as in Sharma et al. (2020): the mean over consecutive batches of 32 rows of
    the batch's own score, macro-F1 then being over the levels that occur in the batch, which overstates it.

    Args:
        predicted: int64[N], predicted level.
        gold: int64[N], annotated level; a negative one means "not annotated", and the row is left out. Rows are in the
            split's order, which decides on the published batches.

    Returns:
        Key -> score; nan where there is no annotated row.
    """
    known = gold >= 0
    predicted, gold = predicted[known], gold[known]
    batches = np.arange(len(gold)) // PUBLISHED_BATCH
    counts = confusion_counts(predicted, gold, batches, -(-len(gold) // PUBLISHED_BATCH))
    scores = {key: float(score) for key, score in confusion_scores(counts.sum(0)).items()}
    of_batches = confusion_scores(counts)
    for key in ("level_accuracy", "level_f1_macro"):
        scores[f"{key}_published"] = float(of_batches[key].mean()) if len(gold) else float("nan")
    return scores


def majority_scores(gold: IntArray, majority_level: int) -> dict[str, float]:
    """Scores of the trivial baseline that gives every row the same level, with the keys of `level_scores`.

    Args:
        gold: int64[N], annotated level; negative: not annotated, left out.
        majority_level: The most frequent level of the *training* rows.
    """
    return level_scores(np.full_like(gold, majority_level), gold)


class LevelScores(GatheredRows):
    """Level scores over a split."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(columns=2)

    def update(self, predicted: Tensor, gold: Tensor, rows: Tensor, groups: Tensor) -> None:
        """Adds the annotated rows of a batch.

        Args:
            predicted: int64[N], predicted level.
            gold: int64[N], annotated level; -1: not annotated, left out.
            rows: int64[N], global row index in the evaluated split.
            groups: int64[N], number of the row's group.
        """
        known = gold >= 0
        self._add(rows[known], groups[known], predicted[known], gold[known])

    def compute(self) -> dict[str, Tensor]:
        """The scores over all devices: key -> float64 scalar (on the CPU); see `level_scores`."""
        table = self._local()
        scores = level_scores(table.predicted, table.gold)
        return {key: torch.tensor(score, dtype=torch.float64) for key, score in scores.items()}

    def table(self) -> LevelRows:
        """The annotated rows of all devices. A collective call: every device must make it."""
        with self.sync_context():
            return self._local()

    def _local(self) -> LevelRows:
        return LevelRows(*self._rows().long().numpy().T)
