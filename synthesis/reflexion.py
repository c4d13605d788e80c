"""The two methods: write once, or write, be judged, reflect and write again (Reflexion, Shinn et al. 2023)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datamodules.records import LEVEL_NAMES, MECHANISMS, Span
from synthesis.calls import Answer
from synthesis.evaluators import judge, label_others, responses_of, show_dialogue
from synthesis.judgements import parse_quotes
from synthesis.parsing import ParseError, Turn, parse_dialogue
from synthesis.session import Session

__all__ = ["MethodOptions", "Outcome", "make_dialogue"]


@dataclass(frozen=True)
class MethodOptions:
    """How dialogues are made.

    Args:
        max_trials: reflexion: dialogues written at most.
        memory: reflexion: how many of the last reflections the actor is shown.
        keep_unpassed: reflexion: keep the last dialogue though no trial passed (study A does); it is labelled as it
            was judged.
        rationales: Ask for the words that are the evidence of each level above 0.
    """

    max_trials: int = 3
    memory: int = 3
    keep_unpassed: bool = False
    rationales: bool = False


@dataclass
class Outcome:
    """How a dialogue ended.

    Args:
        stop_reason: `written` (standalone), `passed`, `max_trials`; or why there is no dialogue: `unparsed`, `refused`,
            `evaluator_unparsed`.
        accepted: Whether it is kept.
        turns: The last dialogue written.
        levels: Mechanism -> level, a mapping a response.
        rationales: Mechanism -> spans, a mapping a response.
        trials: Verdicts and reflections.
        notes: Counts of what was left off or not found.
    """

    stop_reason: str = ""
    accepted: bool = False
    turns: list[Turn] = field(default_factory=list)
    levels: list[dict[str, int]] = field(default_factory=list)
    rationales: list[dict[str, list[Span]]] = field(default_factory=list)
    trials: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


async def make_dialogue(session: Session, options: MethodOptions) -> Outcome:
    """Makes one dialogue by its cell's method and labels it.

    Args:
        session: The dialogue's calls.
        options: How.

    Returns:
        The outcome; a dialogue that can't be parsed, judged or labelled is not accepted.
    """
    outcome = Outcome()
    try:
        await _write(session, options, outcome)
        if outcome.accepted and options.rationales and session.cell.mechanism:
            await _quote(session, outcome)
    except _Failed as failure:
        outcome.accepted, outcome.stop_reason = False, failure.stop_reason
        outcome.trials.append({"problem": str(failure)})
    return outcome


class _Failed(Exception):  # noqa: N818 - an outcome, not an error
    def __init__(self, stop_reason: str, problem: ParseError) -> None:
        super().__init__(str(problem))
        self.stop_reason = stop_reason


async def _write(session: Session, options: MethodOptions, outcome: Outcome) -> None:
    alone = session.cell.method == "standalone"
    memory: list[str] = []
    for trial in range(1 if alone else options.max_trials):
        outcome.turns = await _act(session, trial, memory[-options.memory :] if options.memory else [], outcome)
        if not session.crew.evaluates:
            break
        try:
            verdict = await judge(session, outcome.turns, trial)
        except ParseError as error:
            raise _Failed("evaluator_unparsed", error) from None
        outcome.trials.append({"passed": verdict.passed, "verdict": verdict.by, "reason": verdict.reason})
        last = trial == options.max_trials - 1
        if alone or verdict.passed or (last and options.keep_unpassed):
            await _label(session, outcome, verdict, trial)
            outcome.stop_reason = "written" if alone else "passed" if verdict.passed else "max_trials"
            outcome.accepted = True
            return
        if last:
            outcome.stop_reason = "max_trials"
            return
        memory.append(await _reflect(session, outcome.turns, verdict.reason, trial))
        outcome.trials[-1]["reflection"] = memory[-1]
    outcome.stop_reason, outcome.accepted = "written", True
    if session.cell.mechanism is not None and session.cell.level is not None:
        outcome.levels = [{session.cell.mechanism: session.cell.level} for _ in responses_of(outcome.turns)]


async def _act(session: Session, trial: int, memory: Sequence[str], outcome: Outcome) -> list[Turn]:
    crew = session.crew
    values = {
        **session.scenario,
        "format": _dialogue_format(crew.exchanges, crew.prompts.strategies),
        "exchanges": str(crew.exchanges),
        "examples": session.examples,
        "memory": "\n".join(["Advice after your earlier attempts:", *(f"- {text}" for text in memory)])
        if memory
        else "",
    }

    def parse(answer: Answer) -> tuple[list[Turn], int]:
        return parse_dialogue(answer.text, crew.exchanges, crew.prompts.strategies, cut=answer.finish == "length")

    try:
        turns, left_off = await session.ask("actor", trial, values, parse)
    except ParseError as error:
        raise _Failed("refused" if error.refused else "unparsed", error) from None
    if left_off:
        outcome.notes["turns_left_off"] = outcome.notes.get("turns_left_off", 0) + left_off
    return turns


async def _reflect(session: Session, turns: Sequence[Turn], reason: str, trial: int) -> str:
    def parse(answer: Answer) -> str:
        if not answer.text.strip():
            raise ParseError("the answer is empty")
        return " ".join(answer.text.split())

    values = {"dialogue": show_dialogue(turns), "reason": reason}
    try:
        return await session.ask("reflection", trial, values, parse)
    except ParseError as error:
        raise _Failed("refused" if error.refused else "unparsed", error) from None


async def _label(session: Session, outcome: Outcome, verdict: Any, trial: int) -> None:
    """Puts the evaluator's labels on the dialogue, for every mechanism or every supporter turn."""
    if session.cell.strategy:
        supporters = [turn for turn in outcome.turns if turn.speaker == "supporter"]
        for turn, strategy in zip(supporters, verdict.strategies, strict=True):
            turn.strategy = strategy
        return
    try:
        outcome.levels = await label_others(session, outcome.turns, verdict, trial)
    except ParseError as error:
        raise _Failed("evaluator_unparsed", error) from None


async def _quote(session: Session, outcome: Outcome) -> None:
    """Asks for the evidence of the levels above 0; without a usable answer there is none."""
    shown = [{m: level for m, level in levels.items() if level} for levels in outcome.levels]
    if not any(shown):
        return
    responses = responses_of(outcome.turns)
    labels = [
        f"Response {number}: {', '.join(f'{m} {LEVEL_NAMES[level]}' for m, level in levels.items()) or 'none'}"
        for number, levels in enumerate(shown, 1)
    ]
    shape = json.dumps({mechanism: [["words of the response", "..."]] * len(responses) for mechanism in MECHANISMS})
    values = {
        "dialogue": show_dialogue(outcome.turns),
        "labels": "\n".join(labels),
        "format": f"Answer with JSON alone, a list of quotes for each response: {shape}",
    }
    try:
        spans, foreign = await session.ask("rationales", 0, values, lambda answer: parse_quotes(answer.text, responses))
    except ParseError:
        outcome.notes["rationales_unparsed"] = 1
        return
    outcome.rationales = [
        {mechanism: places for mechanism, places in found.items() if mechanism in levels}
        for found, levels in zip(spans, shown, strict=True)
    ]
    if foreign:
        outcome.notes["quotes_not_in_response"] = foreign


def _dialogue_format(exchanges: int, strategies: Sequence[str]) -> str:
    if exchanges == 1 and not strategies:
        shape: Any = {"seeker_post": "what the seeker writes", "response_post": "the answer"}
    else:
        turn = {"strategy": "a strategy's name"} if strategies else {}
        shape = {"turns": [{"speaker": "seeker", "text": "..."}, {"speaker": "supporter", **turn, "text": "..."}]}
    text = f"Answer with JSON alone, no other text, in this form: {json.dumps(shape)}"
    if exchanges > 1:
        text += f" with {2 * exchanges} turns, the seeker and the supporter in turn, the seeker first"
    if strategies:
        text += f". Every supporter turn has one of these strategies: {', '.join(strategies)}"
    return f"{text}."
