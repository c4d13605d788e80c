"""What one annotator says of one row, whatever tool it came from, and the task that asked for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS, Pair, Span
from datamodules.sources.cells import parse_level

__all__ = [
    "Annotation",
    "Collected",
    "Suggestion",
    "Task",
    "add_level",
    "add_span",
    "level_of",
    "merge_repeats",
    "trimmed",
]


@dataclass(frozen=True)
class Suggestion:
    """A model's annotation of a row, to start from.

    Args:
        levels: Mechanism -> level.
        confidence: Mechanism -> probability of that level, where the model says it.
        rationales: Mechanism -> spans, whatever the level.
    """

    levels: Mapping[str, int]
    confidence: Mapping[str, float]
    rationales: Mapping[str, Sequence[Span]]

    def evidence(self, mechanism: str) -> Sequence[Span]:
        """The spans for a level above none."""
        return self.rationales.get(mechanism, ()) if self.levels.get(mechanism) else ()


@dataclass(frozen=True)
class Task:
    """One row for one annotator.

    Args:
        id: Names the row in the study.
        stage: The stage it belongs to.
        annotator: Who is asked.
        pair: The row.
        suggestion: What a model says, if it is shown.
    """

    id: str
    stage: str
    annotator: str
    pair: Pair
    suggestion: Suggestion | None = None


@dataclass(slots=True)
class Annotation:
    """What one annotator says of one row.

    Args:
        id: Names the row.
        annotator: Who says it.
        levels: Mechanism -> level; absent: no answer.
        rationales: Mechanism -> spans of `response_post`.
        strategy: The response's strategy; empty: no answer.
        comment: Free text.
        stage: The stage of the study; empty where unknown.
        group: What is drawn together in a bootstrap; empty: the row alone.
        dataset: Source and generator of the row; empty where unknown.
        response_post: The text that the spans refer to; empty where it is not known.
        updated: When it was given (ISO 8601), where the tool says so.
        account: The tool's account that gave it; empty where it is from a table.
        where: File and place, for messages.
    """

    id: str
    annotator: str
    levels: dict[str, int] = field(default_factory=dict)
    rationales: dict[str, list[Span]] = field(default_factory=dict)
    strategy: str = ""
    comment: str = ""
    stage: str = ""
    group: str = ""
    dataset: str = ""
    response_post: str = ""
    updated: str = ""
    account: str = ""
    where: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is an answer in it."""
        return bool(self.levels or self.strategy)

    def to_json(self) -> str:
        """The annotation as one JSON line; empty fields are left out, and so are the account and where it was read."""
        unwritten = {"account", "where"}
        fields = {key: value for key, value in asdict(self).items() if value not in ("", {}) and key not in unwritten}
        return json.dumps(fields, ensure_ascii=False)


@dataclass
class Collected:
    """Annotations as they are read, with what was wrong and what was left out.

    Args:
        annotations: Those that can be used.
        problems: A sentence for each that can't; they quote nothing that was said.
        counts: What was left out or noticed, by reason.
    """

    annotations: list[Annotation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def level_of(answer: Any) -> int | None:
    """A level as people and tools write it: 2, "2", 2.0 or "strong".

    Returns:
        The level; None for no answer.

    Raises:
        ValueError: It is no level; the message is a phrase that quotes no text.
    """
    level = parse_level(answer)
    if level is None:
        return None
    if isinstance(level, str) and level.strip().lower() in LEVEL_NAMES:
        return LEVEL_NAMES.index(level.strip().lower())
    if isinstance(level, bool) or not isinstance(level, int) or level not in LEVELS:
        shown = f"{level} " if isinstance(level, int) else ""
        choices = ", ".join(f"{number} ({name})" for number, name in enumerate(LEVEL_NAMES))
        raise ValueError(f"level {shown}is not one of {choices}")
    return level


def add_level(annotation: Annotation, mechanism: str, answer: Any, collected: Collected) -> None:
    """Takes the answer to a mechanism's question into an annotation, or notes why it is no level.

    Args:
        annotation: Gets the level.
        mechanism: The mechanism.
        answer: What the tool has; see `level_of`.
        collected: Gets the problem.
    """
    try:
        level = level_of(answer)
    except ValueError as error:
        collected.problems.append(f"{annotation.where}: {mechanism}: {error}")
        return
    if level is not None:
        annotation.levels[mechanism] = level


def add_span(annotation: Annotation, label: Any, span: Span | None, collected: Collected) -> None:
    """Takes a marked span into an annotation, or counts why not.

    Args:
        annotation: Gets the span, in order and once.
        label: What it was marked as: a mechanism, unless somebody changed the labels.
        span: Where; None where the text isn't there.
        collected: Counts.
    """
    if label not in MECHANISMS:
        collected.counts["rationales with another label"] += 1
    elif span is None:
        collected.counts["rationales that could not be placed"] += 1
    else:
        annotation.rationales[label] = sorted({*annotation.rationales.get(label, ()), span})


def trimmed(text: str, start: int, end: int) -> Span | None:
    """A span without white space at its ends, as every rationale here is; None for nothing but white space."""
    piece = text[start:end]
    left, right = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
    return (left, right) if left < right else None


def merge_repeats(collected: Collected) -> list[Annotation]:
    """One annotation for each annotator and row: the last where the tool says when they were given.

    Args:
        collected: What was read. Repeats are counted; those that differ without a time are problems, and so are those
            of several accounts, which are several people.

    Returns:
        The annotations, in the order of their first occurrence.
    """
    kept: dict[tuple[str, str], Annotation] = {}
    for annotation in collected.annotations:
        first = kept.setdefault((annotation.id, annotation.annotator), annotation)
        if first is annotation:
            continue
        if first.account != annotation.account and first.account and annotation.account:
            accounts = " and ".join(sorted({first.account, annotation.account}))
            collected.problems.append(
                f"{annotation.where}: assigned to {annotation.annotator}, and accounts {accounts} answered it: take "
                "accounts as the annotators with --by_account, or export the answers of one"
            )
        elif _answers(first) == _answers(annotation):
            collected.counts["repeated"] += 1
        elif first.updated and annotation.updated:
            collected.counts["superseded"] += 1
            if annotation.updated >= first.updated:
                kept[annotation.id, annotation.annotator] = annotation
        else:
            collected.problems.append(
                f"{annotation.where}: this annotator annotated the row otherwise in {first.where}; keep one of them"
            )
    return list(kept.values())


def _answers(annotation: Annotation) -> tuple[Any, ...]:
    return annotation.levels, annotation.rationales, annotation.strategy, annotation.comment
