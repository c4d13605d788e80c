"""Dialogues -> rows: a supporter turn each, with its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datamodules.dialogues import Dialogue
from datamodules.records import Pair, Source
from datamodules.splits import hash_ids
from datamodules.strategies import LabelSpace, Overlap, Scheme, resolve_overlap

__all__ = ["RowRule", "TurnRow", "as_pair", "count_labels", "rows_hash", "rows_of"]


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A supporter turn that is predicted or written.

    Args:
        dialogue: Number of the dialogue.
        turn: Number of the turn in `Dialogue.turns`.
        uid: `<dialogue's uid>:<turn's place>`, with the label behind it where a turn has a row for each.
        source: The dialogue's.
        generator: The dialogue's.
        labels: The row's labels; empty where it has none.
        gold: All labels of the turn.
    """

    dialogue: int
    turn: int
    uid: str
    source: Source
    generator: str
    labels: tuple[str, ...]
    gold: tuple[str, ...]


@dataclass(frozen=True)
class RowRule:
    """How a supporter turn becomes rows.

    Args:
        scheme: The scheme of categories.
        space: What the labels are.
        overlap: What becomes of a turn of several labels.
        labelled: Leave turns without a label out; else they are rows without labels.
        seed: Seed of a random overlap.
    """

    scheme: Scheme
    space: LabelSpace
    overlap: Overlap
    labelled: bool
    seed: int

    def targets(self, gold: tuple[str, ...], uid: str) -> list[tuple[str, ...]]:
        """The labels of each row of a turn."""
        found = resolve_overlap(gold, self.overlap, priority=self.scheme.priority, seed=self.seed, uid=uid)
        return found if found or self.labelled else [()]


def rows_of(number: int, dialogue: Dialogue, rule: RowRule, dropped: Counter[str]) -> list[TurnRow]:
    """The rows of a dialogue.

    Args:
        number: Number of the dialogue.
        dialogue: The dialogue.
        rule: How turns become rows.
        dropped: Counts the supporter turns that become none.
    """
    rows = []
    for place, turn in enumerate(dialogue.turns):
        if turn.speaker != "supporter":
            continue
        uid = f"{dialogue.uid}:{turn.place}"
        gold = rule.scheme.labels(turn, rule.space)
        found = rule.targets(gold, uid)
        if not found:
            dropped["supporter turn without a label"] += 1
        for labels in found:
            name = uid if len(found) == 1 else f"{uid}:{labels[0]}"
            rows.append(TurnRow(number, place, name, dialogue.source, dialogue.generator, labels, gold))
    return rows


def as_pair(dialogue: Dialogue) -> Pair:
    """A dialogue as the row that splits and the leakage guard compare: who said what, all turns together."""
    said = {
        speaker: "\n".join(turn.text for turn in dialogue.turns if turn.speaker == speaker)
        for speaker in ("seeker", "supporter")
    }
    two = [turn.speaker for turn in dialogue.turns] == ["seeker", "supporter"]
    group = dialogue.group or ("" if two else dialogue.id)
    return Pair(dialogue.id, dialogue.source, said["seeker"], said["supporter"], group, dialogue.generator)


def rows_hash(rows: Sequence[TurnRow], evaluation: Sequence[int]) -> str:
    """Names a test set: the first 12 hex digits of the SHA-256 of its rows' ids and labels."""
    return hash_ids(f"{rows[row].uid} {sorted(rows[row].labels)}" for row in evaluation)[:12]


def count_labels(rows: Sequence[TurnRow]) -> dict[str, Any]:
    """How many dialogues some rows are of, and label -> rows, under `dialogues` and `labels`."""
    labels = Counter(label for row in rows for label in row.labels)
    return {"dialogues": len({row.dialogue for row in rows}), "labels": dict(sorted(labels.items()))}
