"""What a model wrote -> levels, labels, strategies, quotes of a dialogue's responses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS, Span
from synthesis.loose_json import json_values
from synthesis.parsing import ParseError, known_strategy, unusable, without_thoughts

__all__ = ["parse_labels", "parse_levels", "parse_quotes", "parse_strategies"]


def parse_levels(text: str, responses: int) -> tuple[list[int], str]:
    """Reads an evaluator's answer.

    Args:
        text: `{"levels": [2], "reason": "..."}`; for one response also `{"level": "strong"}` or `Level: 2`.
        responses: How many responses were judged.

    Returns:
        A level a response, and the reason given.

    Raises:
        ParseError: There is no level for every response.
    """
    body = without_thoughts(text)
    for value in json_values(body):
        if isinstance(value, Mapping) and (given := value.get("levels", value.get("level"))) is not None:
            reason = value.get("reason", value.get("explanation", ""))
            return _level_list(given, responses), reason if isinstance(reason, str) else ""
    said = {
        match[1].lower()
        for match in re.finditer(r"\blevels?\b\W{0,4}(?:is\W+)?([012]\b|none\b|weak\b|strong\b)", body, re.I)
    }
    if responses == 1 and len(levels := {_level(word) for word in said}) == 1:
        return list(levels), body
    raise unusable("no level in the answer", body)


def parse_labels(text: str, responses: int) -> list[dict[str, int]]:
    """Reads the levels of all mechanisms.

    Args:
        text: `{"emotional_reactions": [0], "interpretations": [2], "explorations": [1]}`.
        responses: How many responses were judged.

    Returns:
        Mechanism -> level, a mapping a response.

    Raises:
        ParseError: A mechanism or a response is missing.
    """
    value = _mapping_with(text, MECHANISMS)
    columns = {mechanism: _level_list(value[mechanism], responses) for mechanism in MECHANISMS}
    return [{mechanism: columns[mechanism][place] for mechanism in MECHANISMS} for place in range(responses)]


def parse_strategies(text: str, responses: int, strategies: Sequence[str]) -> tuple[list[str], str]:
    """Reads the strategies that an evaluator sees in the supporter's turns.

    Args:
        text: `{"strategies": ["Question", ...], "reason": "..."}`.
        responses: How many turns were judged.
        strategies: The known names.

    Returns:
        A strategy a turn, and the reason given.

    Raises:
        ParseError: There is none for every turn, or an unknown one.
    """
    value = _mapping_with(text, ["strategies"])
    given = value["strategies"] if isinstance(value["strategies"], list) else [value["strategies"]]
    if len(given) != responses:
        raise ParseError(f"{len(given)} strategies for {responses} turns")
    reason = value.get("reason", "")
    return [known_strategy(name, strategies) for name in given], reason if isinstance(reason, str) else ""


def parse_quotes(text: str, responses: Sequence[str]) -> tuple[list[dict[str, list[Span]]], int]:
    """Reads rationales: quotes of the responses.

    Args:
        text: `{"explorations": [["how long ..."]], ...}`: mechanism -> a list of quotes a response.
        responses: The responses, as they were shown.

    Returns:
        Mechanism -> character spans, a mapping a response, of the quotes that stand in their response to the letter;
        and how many do not.

    Raises:
        ParseError: The answer is no such mapping.
    """
    body = without_thoughts(text)
    value = next((v for v in json_values(body) if isinstance(v, Mapping) and any(m in v for m in MECHANISMS)), None)
    if value is None:
        raise unusable("no mechanism in the answer", body)
    spans: list[dict[str, list[Span]]] = [{} for _ in responses]
    foreign = 0
    for mechanism in MECHANISMS:
        given = value.get(mechanism) or []
        columns = given if isinstance(given, list) else [given]
        if len(responses) == 1 and all(isinstance(quote, str) for quote in columns):
            columns = [columns]
        for response, found, quotes in zip(responses, spans, columns, strict=False):
            for quote in quotes if isinstance(quotes, list) else [quotes]:
                start = response.find(quote.strip()) if isinstance(quote, str) and quote.strip() else -1
                if start < 0:
                    foreign += 1
                else:
                    found.setdefault(mechanism, []).append((start, start + len(quote.strip())))
    for found in spans:
        found.update({mechanism: sorted(set(places)) for mechanism, places in found.items()})
    return spans, foreign


def _mapping_with(text: str, keys: Sequence[str]) -> Mapping[str, Any]:
    body = without_thoughts(text)
    for value in json_values(body):
        if isinstance(value, Mapping) and all(key in value for key in keys):
            return value
    raise unusable(f"no {' and '.join(keys)} in the answer", body)


def _level_list(given: Any, responses: int) -> list[int]:
    levels = [_level(value) for value in (given if isinstance(given, list) else [given])]
    if len(levels) != responses:
        raise ParseError(f"{len(levels)} levels for {responses} responses")
    return levels


def _level(given: Any) -> int:
    if isinstance(given, str):
        word = given.strip().lower()
        given = LEVEL_NAMES.index(word) if word in LEVEL_NAMES else int(word) if word in ("0", "1", "2") else None
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or given not in LEVELS:
        raise ParseError(f"{given!r:.40} is no level")
    return int(given)
