"""Dialogues -> rows: a supporter turn each, with its labels; what went into a run and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datamodules.dialogues import Dialogue
from datamodules.manifest import common_entries
from datamodules.mixing import Mix
from datamodules.records import Pair, Source
from datamodules.splits import SPLITS, Leak, SplitName, hash_ids
from datamodules.strategies import LabelSpace, Overlap, Scheme, resolve_overlap

__all__ = ["RowRule", "TurnRow", "as_pair", "build_dialogue_manifest", "rows_hash", "rows_of"]


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


def build_dialogue_manifest(
    rows: Sequence[TurnRow],
    splits: Mapping[SplitName, Sequence[int]],
    *,
    mix: Mix,
    options: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    dropped: Mapping[str, int],
    leaks: Sequence[Leak],
    cut: Mapping[SplitName, Mapping[str, int]],
) -> dict[str, Any]:
    """Puts a run's manifest together; counts and hashes, never text.

    Args:
        rows: All rows.
        splits: Split -> row numbers.
        mix: The mix that made the training rows.
        options: The options of data, split and mix.
        sources: Each reader's report.
        dropped: Reason -> turns left out after reading.
        leaks: What the guard found and was told not to stop for.
        cut: Split -> counts of what the window left out.

    Returns:
        Plain values for `manifest.json`.
    """
    uids = [row.uid for row in rows]
    described = {name: {**_describe(rows, splits[name]), "cut": dict(cut[name])} for name in SPLITS}
    return {
        "split_hash": rows_hash(rows, splits["test"]),
        **common_entries(uids, mix=mix, options=options, sources=sources, dropped=dropped, leaks=leaks),
        "splits": described,
    }


def rows_hash(rows: Sequence[TurnRow], evaluation: Sequence[int]) -> str:
    """Names a test set: the first 12 hex digits of the SHA-256 of its rows' ids and labels."""
    return hash_ids(f"{rows[row].uid} {sorted(rows[row].labels)}" for row in evaluation)[:12]


def _describe(rows: Sequence[TurnRow], members: Sequence[int]) -> dict[str, Any]:
    sources: dict[str, dict[str, Any]] = {}
    for number in members:
        row = rows[number]
        name = f"{row.source}/{row.generator}" if row.generator else row.source
        entry = sources.setdefault(name, {"rows": 0, "dialogues": set(), "labels": Counter()})
        entry["rows"] += 1
        entry["dialogues"].add(row.dialogue)
        entry["labels"].update(row.labels)
    for entry in sources.values():
        entry["dialogues"] = len(entry["dialogues"])
        entry["labels"] = dict(sorted(entry["labels"].items()))
    return {"rows": len(members), "ids_sha256": hash_ids(rows[row].uid for row in members), "sources": sources}
