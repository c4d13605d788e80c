"""Who says what a dialogue shows: a language model with our rubric, a trained model, or both in agreement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datamodules.records import LEVEL_NAMES, MECHANISMS
from synthesis.judgements import parse_labels, parse_levels, parse_strategies
from synthesis.parsing import Turn
from synthesis.session import Session

__all__ = ["Verdict", "judge", "label_others", "responses_of", "show_dialogue"]


@dataclass
class Verdict:
    """What an evaluator says.

    Args:
        passed: Whether the dialogue shows what was asked for.
        reason: Why, in words.
        levels: Mechanism -> level, a mapping a response: of the mechanisms that were judged.
        strategies: A strategy a response, where strategies were asked for.
        by: What each evaluator said, for the log.
    """

    passed: bool
    reason: str
    levels: list[dict[str, int]] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    by: dict[str, Any] = field(default_factory=dict)


def responses_of(turns: Sequence[Turn]) -> list[str]:
    """The supporter's texts."""
    return [turn.text for turn in turns if turn.speaker == "supporter"]


def show_dialogue(turns: Sequence[Turn]) -> str:
    """A dialogue as prompts hold it, the responses numbered."""
    lines, number = [], 0
    for turn in turns:
        number += turn.speaker == "supporter"
        lines.append(f"{'Seeker' if turn.speaker == 'seeker' else f'Response {number}'}: {turn.text}")
    return "\n".join(lines)


async def judge(session: Session, turns: Sequence[Turn], trial: int) -> Verdict:
    """Says whether a dialogue shows its target: its strongest response the level, or its last turn the strategy.

    Raises:
        ParseError: The language model's answer can't be used, asked repeatedly.
    """
    cell = session.cell
    if cell.strategy:
        return await _judge_strategies(session, turns, trial)
    verdicts: dict[str, list[int]] = {}
    reasons = []
    scored: list[dict[str, int]] = []
    if session.crew.scorer:
        scored = await session.score(turns, trial)
        verdicts["model"] = [levels[str(cell.mechanism)] for levels in scored]
        reasons.append(f"A trained model rates it {_names(verdicts['model'])}.")
    if session.crew.judged_by_llm:
        verdicts["llm"], reason = await _ask_levels(session, turns, trial)
        reasons.append(reason or f"It was rated {_names(verdicts['llm'])}.")
    agreed = [set(said) for said in zip(*verdicts.values(), strict=True)]
    levels = [dict(row) for row in scored] or [{} for _ in agreed]
    for row, said in zip(levels, agreed, strict=True):
        row.pop(str(cell.mechanism), None)
        if len(said) == 1:
            row[str(cell.mechanism)] = next(iter(said))
    passed = all(max(said) == cell.level for said in verdicts.values())
    return Verdict(passed, " ".join(reasons), levels, by=verdicts)


async def label_others(session: Session, turns: Sequence[Turn], verdict: Verdict, trial: int) -> list[dict[str, int]]:
    """The levels of all three mechanisms, a mapping a response; the judged mechanism's are the verdict's.

    Where a language model and a trained model must agree and don't, the mechanism is left unlabelled.

    Raises:
        ParseError: The language model's answer can't be used, asked repeatedly.
    """
    if not session.crew.judged_by_llm:
        return verdict.levels
    responses = responses_of(turns)
    values = {"dialogue": show_dialogue(turns), "format": _labels_format(len(responses))}
    said = await session.ask("labels", trial, values, lambda answer: parse_labels(answer.text, len(responses)))
    mechanism = str(session.cell.mechanism)
    labelled: list[dict[str, int]] = []
    for judged, row in zip(verdict.levels, said, strict=True):
        others = {name: level for name, level in row.items() if name != mechanism}
        if session.crew.scorer:
            others = {name: level for name, level in others.items() if judged.get(name) == level}
        levels = others | ({mechanism: judged[mechanism]} if mechanism in judged else {})
        labelled.append({name: levels[name] for name in MECHANISMS if name in levels})
    return labelled


async def _ask_levels(session: Session, turns: Sequence[Turn], trial: int) -> tuple[list[int], str]:
    number = len(responses_of(turns))
    shape = json.dumps({"levels": ["0, 1 or 2"] * number, "reason": "one or two sentences"})
    values = {"dialogue": show_dialogue(turns), "format": f"Answer with JSON alone, a level for each response: {shape}"}
    return await session.ask("evaluator", trial, values, lambda answer: parse_levels(answer.text, number))


async def _judge_strategies(session: Session, turns: Sequence[Turn], trial: int) -> Verdict:
    number, names = len(responses_of(turns)), session.crew.prompts.strategies
    shape = json.dumps({"strategies": ["a strategy's name"] * number, "reason": "one or two sentences"})
    values = {
        "dialogue": show_dialogue(turns),
        "format": f"Answer with JSON alone, a strategy for each response: {shape}",
    }
    strategies, reason = await session.ask(
        "evaluator", trial, values, lambda answer: parse_strategies(answer.text, number, names)
    )
    passed = strategies[-1] == session.cell.strategy
    reason = reason or f"The last response was read as {strategies[-1]}."
    return Verdict(passed, reason, strategies=strategies, by={"llm": strategies})


def _labels_format(number: int) -> str:
    shape = json.dumps({mechanism: ["0, 1 or 2"] * number for mechanism in MECHANISMS})
    return f"Answer with JSON alone, a level for each response: {shape}"


def _names(levels: Sequence[int]) -> str:
    return ", ".join(LEVEL_NAMES[level] for level in levels)
