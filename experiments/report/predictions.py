"""What a run predicted of its test rows, as far as scores, figures and tests are counted from it anew.

Shapes: N rows, K labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.records import LEVEL_NAMES, LEVELS
from datamodules.spans import spans_to_labels, word_bounds
from metrics.comparison import drawn, level_samples, mean_samples
from metrics.levels import FloatArray, IntArray
from metrics.rationales import RATIONALE_KEYS, f1, iou_f1
from metrics.strategies import StrategyRows, strategy_samples

__all__ = ["RATIONALES", "Predicted", "read_levels", "read_strategies"]

RATIONALES = RATIONALE_KEYS[:2]
"""Rationale scores over words, which spans and text give again; the published ones need the tokens."""

_STRATEGY_KEYS = ("accuracy", "accuracy_any", "f1_macro", "f1_weighted")
"""Strategy scores that the chosen labels give again; others need the logits."""

Samples = dict[str, FloatArray]


@dataclass(frozen=True)
class Predicted:
    """Test rows with their label and what the run said, sorted by the rows' names.

    Args:
        names: The rows' names, source and id.
        groups: int64[N], rows that belong together.
        labels: The K labels' names.
        targets: bool[N, K], true at the annotated label, or several.
        chosen: int64[N], the predicted label.
        confidence: float64[N], the probability given to the most probable label.
        confirmed: bool[N], whether that one is a target.
        draw: Number of draws -> a score's key -> float64[1 + draws]: the score itself, then draws of it over groups.
    """

    names: tuple[str, ...]
    groups: IntArray
    labels: tuple[str, ...]
    targets: NDArray[np.bool_]
    chosen: IntArray
    confidence: FloatArray
    confirmed: NDArray[np.bool_]
    draw: Callable[[int], Samples]

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool[N], whether the predicted label is a target."""
        found: NDArray[np.bool_] = self.targets[np.arange(len(self.names)), self.chosen]
        return found

    @property
    def confusion(self) -> IntArray:
        """int64[K, K]: how often label j was predicted where a target was i."""
        chosen = np.eye(len(self.labels), dtype=np.int64)[self.chosen]
        counts: IntArray = self.targets.astype(np.int64).T @ chosen
        return counts

    @property
    def grouping(self) -> str:
        """How many groups there are, and a mark that is the same where the same rows belong together."""
        return f"{len(np.unique(self.groups))}/{sha256(self.groups.tobytes()).hexdigest()[:6]}"

    def same_rows(self, other: Predicted) -> bool:
        """Whether both are of the same rows with the same labels."""
        return self.names == other.names and np.array_equal(self.targets, other.targets)


def read_levels(rows: Iterable[Mapping[str, Any]]) -> dict[str, Predicted]:
    """Levels and rationales of an empathy run.

    Args:
        rows: Of `predictions.jsonl`.

    Returns:
        Mechanism -> its annotated rows.
    """
    found: dict[str, list[tuple[str, int, int, float, Any, _Words | None]]] = defaultdict(list)
    for row in rows:
        name = _name(row)
        for mechanism, level in row["levels"].items():
            gold = row["gold"]["levels"].get(mechanism)
            if gold in LEVELS:
                confidence = row["probabilities"][mechanism][level]
                entry = (name, gold, level, confidence, _group(name, row), _words(row, mechanism))
                found[mechanism].append(entry)
    return {mechanism: _levels(entries) for mechanism, entries in found.items()}


def _levels(entries: list[tuple[str, int, int, float, Any, _Words | None]]) -> Predicted:
    entries.sort(key=lambda entry: entry[0])
    names, levels, said, confidence, groups, words = zip(*entries, strict=True)
    gold, chosen, numbers = np.array(levels), np.array(said), _numbered(groups)
    rationales = _rationale_scores(words)

    def draw(resamples: int) -> Samples:
        of_levels = level_samples(chosen, gold, numbers, resamples)
        return of_levels | mean_samples(rationales, numbers, RATIONALES, resamples)

    right = chosen == gold
    targets = np.eye(len(LEVELS), dtype=np.bool_)[gold]
    return Predicted(names, numbers, LEVEL_NAMES, targets, chosen, np.array(confidence), right, draw)


_Words = tuple[NDArray[np.int8], NDArray[np.int8]]
"""Words of a response, 1 where a rationale touches them: predicted, annotated."""


def _words(row: Mapping[str, Any], mechanism: str) -> _Words | None:
    """The words of a row whose rationale is scored: of level above 0, with an annotated rationale and with its text."""
    gold = row["gold"]
    spans = gold["rationales"].get(mechanism)
    if not spans or not gold["levels"][mechanism] or "response_post" not in row:
        return None
    bounds = np.array(word_bounds(row["response_post"])).reshape(-1, 2)
    return spans_to_labels(row["rationales"].get(mechanism, ()), bounds), spans_to_labels(spans, bounds)


def _rationale_scores(words: Sequence[_Words | None]) -> FloatArray:
    """float64[N, 2], columns as in `RATIONALES`; nan where a row isn't scored."""
    scores = np.full((len(words), len(RATIONALES)), np.nan)
    scored = [place for place, each in enumerate(words) if each is not None]
    longest = max((len(each[0]) for each in words if each is not None), default=0)
    masks = torch.zeros(2, len(scored), longest, dtype=torch.bool)
    for line, place in enumerate(scored):
        for side, labels in enumerate(words[place] or ()):
            masks[side, line, : len(labels)] = torch.from_numpy(labels == 1)
    scores[scored] = torch.stack((f1(*masks), iou_f1(*masks)), dim=1).numpy()
    return scores


def read_strategies(rows: Iterable[Mapping[str, Any]]) -> Predicted | None:
    """Choices of a strategy classifier.

    Args:
        rows: Of `predictions.jsonl`.

    Returns:
        The rows; None where there are none, or where a row doesn't say which of its turn's labels was asked for.
    """
    entries = sorted(rows, key=_name)
    targets = [_targets(row) for row in entries]
    if not entries or not all(targets):
        return None
    labels = tuple(entries[0]["probabilities"])
    names = tuple(map(_name, entries))
    groups = _numbered([_group(name, row) for name, row in zip(names, entries, strict=True)])
    chosen = np.array([labels.index(row["strategy"]) for row in entries])
    probabilities = np.array([[row["probabilities"][label] for label in labels] for row in entries])
    counted = StrategyRows(
        rows=np.arange(len(entries)),
        groups=groups,
        scores=np.eye(len(labels))[chosen],
        probabilities=probabilities,
        predicted=_marked([row.get("strategies", [row["strategy"]]) for row in entries], labels),
        targets=_marked(targets, labels),
        gold=_marked([row["gold"] for row in entries], labels),
    )
    if "strategies" in entries[0]:  # shares of several labels, no label's own probability
        probabilities = np.full_like(probabilities, np.nan)
    marked = counted.targets > 0
    confirmed = marked[np.arange(len(entries)), probabilities.argmax(axis=1)]
    draw = partial(_strategy_draws, counted)
    return Predicted(names, groups, labels, marked, chosen, probabilities.max(axis=1), confirmed, draw)


def _strategy_draws(rows: StrategyRows, resamples: int) -> Samples:
    found, groups = strategy_samples(rows, resamples), len(np.unique(rows.groups))
    return {key: drawn(found[key], groups) for key in _STRATEGY_KEYS}


def _targets(row: Mapping[str, Any]) -> list[str]:
    """The row's own labels; of runs that didn't record them what its name tells, and none where that isn't enough."""
    gold: list[str] = row["gold"]
    if "target" in row:
        return list(row["target"])
    if "strategies" in row or len(gold) == 1:
        return gold
    return [label for label in gold if str(row["id"]).endswith(f":{label}")]


def _marked(chosen: Sequence[Sequence[str]], labels: Sequence[str]) -> FloatArray:
    """float64[N, K], 1 at a row's labels."""
    return np.array([[float(label in some) for label in labels] for some in chosen])


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['source']}:{row['id']}"


def _group(name: str, row: Mapping[str, Any]) -> Any:
    """What the row must not be torn from; runs of before groups were recorded have the seeker post."""
    return row.get("group", row.get("seeker_post", name))


def _numbered(groups: Sequence[Any]) -> IntArray:
    """int64[N]: the groups by the order in which they first come."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])
