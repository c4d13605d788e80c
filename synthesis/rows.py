"""An accepted dialogue -> rows in DESIGN's row format.

Empathy: a row for each supporter turn with the seeker turn before it; all rows of a dialogue share its `group`, and
where there is more than one exchange each carries the whole dialogue as `turns`. Strategies: one row a dialogue, with
its `turns` and, as the pair, the last exchange, which was made for the strategy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from datamodules.records import Pair, pair_problems
from synthesis.parsing import Turn
from synthesis.reflexion import Outcome
from synthesis.targets import Cell

__all__ = ["generator_name", "to_rows"]


def generator_name(engine: str, method: str) -> str:
    """Names what wrote a row; the same letters on every file system."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', engine).strip('-')}-{method}"


def to_rows(
    outcome: Outcome, cell: Cell, dialogue: str, generator: str, problem: str, sources: frozenset[str]
) -> list[dict[str, Any]]:
    """The rows of a dialogue.

    Args:
        outcome: With its turns and labels.
        cell: What was asked for.
        dialogue: Its id.
        generator: What wrote it.
        problem: What it is about.
        sources: Sources of real rows that its prompts held.

    Returns:
        Rows with the fields of `Pair`, and `target`, `method`, `turns` (longer dialogues) and `prompt_sources`.
    """
    turns = outcome.turns
    exchanges = list(zip(turns[::2], turns[1::2], strict=True))
    keep = range(len(exchanges)) if cell.mechanism else [len(exchanges) - 1]
    extra: dict[str, Any] = {"target": {"problem": problem, **cell.target}, "method": cell.method}
    if len(exchanges) > 1 or cell.strategy:
        extra["turns"] = [_turn(turn) for turn in turns]
    if sources:
        extra["prompt_sources"] = sorted(sources)
    rows = []
    for place in keep:
        seeker, response = exchanges[place]
        pair = Pair(
            id=f"{dialogue}-{place + 1}" if len(keep) > 1 else dialogue,
            source="synthetic",
            seeker_post=seeker.text,
            response_post=response.text,
            group=f"{generator}/{dialogue}",
            generator=generator,
            levels=_at(outcome.levels, place),
            rationales=_at(outcome.rationales, place),
        )
        problems = pair_problems(pair, quote=False)
        assert not problems, problems
        rows.append({key: value for key, value in asdict(pair).items() if value not in ("", {})} | extra)
    return rows


def _at(values: Sequence[Mapping[str, Any]], place: int) -> dict[str, Any]:
    return dict(values[place]) if values else {}


def _turn(turn: Turn) -> dict[str, str]:
    return {key: value for key, value in asdict(turn).items() if value}
