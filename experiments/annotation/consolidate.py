"""Several annotations of a row -> one, or a line on the list of those to be decided by hand.

The rule for a level: the decision by hand, else the reference annotator's, else what more than half of the row's
annotators say, else nobody's: the row is on the list and has no level. For the rationale of a level above none: the
reference's where the reference decides; of one annotator who gave that level, as marked; of several, the words that at
least half of them marked. Strategies go like levels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.records import Pair, Span
from datamodules.sources.cells import parse_name
from datamodules.sources.formats import raw_rows
from datamodules.spans import labels_to_spans, spans_to_labels, word_bounds
from errors import DataError
from experiments.annotation.annotations import Annotation, level_of
from experiments.annotation.guidelines import STRATEGY_MEANINGS, Questions

__all__ = ["Decisions", "Open", "Resolved", "consolidate", "read_decisions"]

Decisions = Mapping[tuple[str, str], Any]
"""(Row id, question) -> level or strategy."""


@dataclass(frozen=True)
class Open:
    """A question on which the annotators of a row don't agree enough.

    Args:
        id: The row.
        question: A mechanism, or `strategy`.
        answers: Annotator -> level or strategy.
    """

    id: str
    question: str
    answers: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """A row with what its annotators say together.

    Args:
        pair: The row; its levels and rationales are the study's alone.
        strategy: The response's strategy; empty where it was not asked or is open.
    """

    pair: Pair
    strategy: str


def consolidate(
    rows: Mapping[str, Pair],
    annotations: Iterable[Annotation],
    questions: Questions,
    *,
    decisions: Decisions,
    reference: str = "",
) -> tuple[list[Resolved], list[Open]]:
    """Bring the annotations of each row together.

    Args:
        rows: Row id -> row.
        annotations: What was said.
        questions: What was asked.
        decisions: What was decided by hand.
        reference: The annotator who is right in case of doubt; empty: nobody.

    Returns:
        The annotated rows in the order of `rows`, and what is left to decide.
    """
    by_row: dict[str, list[Annotation]] = {}
    for annotation in annotations:
        by_row.setdefault(annotation.id, []).append(annotation)
    resolved, left = [], []
    for row, pair in rows.items():
        given = by_row.get(row, [])
        levels: dict[str, int] = {}
        rationales: dict[str, list[Span]] = {}
        for mechanism in questions.mechanisms:
            answers = {said.annotator: said.levels[mechanism] for said in given if mechanism in said.levels}
            level = decisions.get((row, mechanism), _together(answers, reference))
            if level is None:
                left += [Open(row, mechanism, answers)] if answers else []
                continue
            levels[mechanism] = level
            if level and (spans := _rationale(given, mechanism, level, reference)):
                rationales[mechanism] = spans
        named = {said.annotator: said.strategy for said in given if said.strategy}
        strategy = decisions.get((row, "strategy"), _together(named, reference))
        if strategy is None and named:
            left.append(Open(row, "strategy", named))
        if given:
            resolved.append(Resolved(replace(pair, levels=levels, rationales=rationales), strategy or ""))
    return resolved, left


def _together(answers: Mapping[str, Any], reference: str) -> Any:
    if reference in answers:
        return answers[reference]
    for answer, count in Counter(answers.values()).items():
        if 2 * count > len(answers):
            return answer
    return None


def _rationale(given: Sequence[Annotation], mechanism: str, level: int, reference: str) -> list[Span]:
    agreeing = [said for said in given if said.levels.get(mechanism) == level]
    agreeing = [said for said in agreeing if said.annotator == reference] or agreeing
    if len(agreeing) < 2:
        return [span for said in agreeing for span in said.rationales.get(mechanism, ())]
    words = np.array(word_bounds(agreeing[0].response_post), dtype=np.int32)
    marked = [spans_to_labels(said.rationales.get(mechanism, ()), words) for said in agreeing]
    return labels_to_spans(2 * np.sum(marked, axis=0) >= len(agreeing), words)


def read_decisions(path: Path, rows: Mapping[str, Pair], questions: Questions) -> dict[tuple[str, str], Any]:
    """Read an adjudication list whose column `decision` was filled in; lines without a decision are left open.

    Args:
        path: The table: `id`, `question`, `decision`.
        rows: Row id -> row of the study.
        questions: What was asked.

    Returns:
        The decisions.

    Raises:
        DataError: With everything that is wrong.
    """
    decisions: dict[tuple[str, str], Any] = {}
    problems = []
    for row in raw_rows(path):
        problem = row.problem
        try:
            name, question, said = (parse_name(row.cells.get(key)) for key in ("id", "question", "decision"))
            asked = [*questions.mechanisms, *(["strategy"] if questions.strategies else [])]
            if name not in rows:
                problem = problem or "column 'id': not a row of the study"
            elif question not in asked:
                problem = problem or f"column 'question': not one of {', '.join(asked)}"
            elif question == "strategy" and said and said not in STRATEGY_MEANINGS:
                problem = f"column 'decision': not one of {', '.join(STRATEGY_MEANINGS)}"
            elif said:
                decisions[name, question] = said if question == "strategy" else level_of(row.cells["decision"])
        except ValueError as error:
            problem = problem or f"column 'decision': {error}"
        if problem:
            problems.append(f"{row.where(path)}: {problem}")
    if problems:
        raise DataError(problems)
    return decisions
