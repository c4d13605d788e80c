"""Annotations as arrays, and every figure of how well their annotators, and a model, agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS, Span
from datamodules.spans import spans_to_labels, word_bounds
from experiments.annotation.annotations import Annotation, Suggestion

if TYPE_CHECKING:
    from metrics.agreement import Bootstrap
    from metrics.estimates import Estimate

__all__ = ["Ratings", "agreement"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Ratings:
    """Annotations as arrays: N rows by A annotators, both in order of their names.

    Args:
        annotations: At most one for each annotator and row.
        scores: Row id -> what a model says of it.
    """

    def __init__(self, annotations: Sequence[Annotation], scores: Mapping[str, Suggestion]) -> None:
        self.annotators = sorted({said.annotator for said in annotations})
        self.ids = sorted({said.id for said in annotations})
        self.given = {(said.id, said.annotator): said for said in annotations}
        self.scores = scores
        own = {said.id: said.group for said in annotations}
        names = [own[row] or row for row in self.ids]
        self.groups: IntArray = np.unique(names, return_inverse=True)[1].astype(np.int64)
        self.strategies = sorted({said.strategy for said in annotations if said.strategy})

    def levels(self, mechanism: str) -> IntArray:
        """int64[N, A]: the levels; -1: not rated."""
        return self._table(lambda said: said.levels.get(mechanism, -1))

    def strategy(self) -> IntArray:
        """int64[N, A]: places in `strategies`; -1: not rated."""
        number = {name: place for place, name in enumerate(self.strategies)}
        return self._table(lambda said: number.get(said.strategy, -1))

    def predicted(self, mechanism: str) -> IntArray:
        """int64[N]: the model's levels; -1: none."""
        levels = (self.scores[row].levels.get(mechanism, -1) if row in self.scores else -1 for row in self.ids)
        return np.fromiter(levels, dtype=np.int64, count=len(self.ids))

    def _table(self, answer: Callable[[Annotation], int]) -> IntArray:
        table = np.full((len(self.ids), len(self.annotators)), -1, dtype=np.int64)
        for row, name in enumerate(self.ids):
            for column, annotator in enumerate(self.annotators):
                if said := self.given.get((name, annotator)):
                    table[row, column] = answer(said)
        return table

    def words(self, mechanism: str) -> npt.NDArray[np.bool_]:
        """bool[N, A + 1, W]: the words that each annotator, and last the model, marked in the row's response."""
        masks: dict[tuple[int, int], npt.NDArray[np.bool_]] = {}
        for row, name in enumerate(self.ids):
            said = [self.given.get((name, annotator)) for annotator in self.annotators]
            text = next((one.response_post for one in said if one and one.response_post), "")
            marked: list[Sequence[Span]] = [one.rationales.get(mechanism, ()) if one else () for one in said]
            marked.append(self.scores[name].rationales.get(mechanism, ()) if name in self.scores else ())
            bounds = np.array(word_bounds(text), dtype=np.int32).reshape(-1, 2)
            for column, spans in enumerate(marked):
                if spans and len(bounds):
                    masks[row, column] = spans_to_labels(spans, bounds).astype(bool)
        table = np.zeros(
            (len(self.ids), len(self.annotators) + 1, max((len(m) for m in masks.values()), default=1)), bool
        )
        for place, mask in masks.items():
            table[place][: len(mask)] = mask
        return table


def agreement(ratings: Ratings, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """All figures of a set of annotations.

    Args:
        ratings: The annotations, and a model's scores where there are any.
        bootstrap: How intervals are drawn.

    Returns:
        `<question>/<figure>` -> estimate, for the questions that two annotators answered of some row; and
        `mean_pairwise_kappa`, the mean over mechanisms, where there are several.
    """
    from metrics.agreement import category_agreement, human_ceiling, mean_over_questions

    estimates: dict[str, Estimate] = {}
    tables: list[IntArray] = []
    categorical = partial(category_agreement, groups=ratings.groups, annotators=ratings.annotators, bootstrap=bootstrap)
    for mechanism in MECHANISMS:
        levels = ratings.levels(mechanism)
        if not _answered_twice(levels):
            continue
        tables.append(levels)
        found = categorical(levels, categories=LEVEL_NAMES, ordered=True)
        predicted = ratings.predicted(mechanism)
        asked = (predicted >= 0) & ((levels >= 0).sum(1) > 1)
        if asked.any():
            found |= human_ceiling(levels, predicted, ratings.groups, categories=len(LEVELS), bootstrap=bootstrap)
        found |= _rationales(ratings, mechanism, levels, asked, bootstrap)
        estimates |= {f"{mechanism}/{key}": estimate for key, estimate in found.items()}
    strategy = ratings.strategy()
    if _answered_twice(strategy):
        found = categorical(strategy, categories=ratings.strategies, ordered=False)
        estimates |= {f"strategy/{key}": estimate for key, estimate in found.items()}
    if len(tables) > 1:
        estimates["mean_pairwise_kappa"] = mean_over_questions(
            tables, ratings.groups, categories=len(LEVELS), bootstrap=bootstrap
        )
    return estimates


def _answered_twice(table: IntArray) -> bool:
    return bool(((table >= 0).sum(1) > 1).any())


def _rationales(
    ratings: Ratings, mechanism: str, levels: IntArray, asked: npt.NDArray[np.bool_], bootstrap: Bootstrap
) -> dict[str, Estimate]:
    """Agreement of rationales over words.

    `rationale_f1`, `rationale_iou_f1`: rows to which both annotators give a level above none and of which at least one
    marks a word, so that differences of level don't count twice. Against a model: one side after the other is taken as
    right, on the rows where it has a level above none and marks a word, whatever the other's level (as
    `test/<mechanism>/rationale_f1` does).
    """
    from metrics.agreement import compare_means, mean_of_pairs

    words = ratings.words(mechanism)
    marked: npt.NDArray[np.bool_] = np.any(words, axis=-1)  # [N, A + 1]
    if not marked[:, :-1].any():
        return {}
    people = len(ratings.annotators)
    pairs = list(combinations(range(people), 2))
    estimates: dict[str, Estimate] = {}
    both = np.stack([(levels[:, a] > 0) & (levels[:, b] > 0) & (marked[:, a] | marked[:, b]) for a, b in pairs])
    names = [f"{ratings.annotators[a]}~{ratings.annotators[b]}" for a, b in pairs]
    gold = (levels > 0) & marked[:, :-1] & asked[:, None]
    ordered = [(a, b) for a in range(people) for b in range(people) if a != b]
    rated = levels >= 0
    between = np.stack([gold[:, a] & rated[:, b] for a, b in ordered])
    against = gold.T
    for key, values in _word_scores(words, pairs, both):
        for name, estimate in mean_of_pairs(values, ratings.groups, bootstrap=bootstrap, pairs=names).items():
            estimates[f"{name}/{key}" if name else key] = estimate
    if not against.any():
        return estimates
    with_model = [(a, people) for a in range(people)]
    human, model = (dict(_word_scores(words, *sides)) for sides in ((ordered, between), (with_model, against)))
    for key in human:
        compared = compare_means(human[key], model[key], ratings.groups, bootstrap=bootstrap)
        estimates |= {f"{side}_{key}": estimate for side, estimate in compared.items()}
    return estimates


def _word_scores(
    words: npt.NDArray[np.bool_], pairs: Sequence[tuple[int, int]], where: npt.NDArray[np.bool_]
) -> Iterator[tuple[str, FloatArray]]:
    """Scores of the words that two annotators marked: float64[P, N], nan where `where`, bool[P, N], is false."""
    import torch

    from metrics.rationales import f1, iou_f1

    sides = [
        np.concatenate([words[rows, pair[side]] for pair, rows in zip(pairs, where, strict=True)]) for side in (0, 1)
    ]
    first, second = (torch.from_numpy(side) for side in sides)
    for key, score in (("rationale_f1", f1), ("rationale_iou_f1", iou_f1)):
        values = np.full(where.shape, np.nan)
        values[where] = score(first, second).numpy()
        yield key, values
