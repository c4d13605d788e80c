"""JSON as language models write it: within prose or code fences, with commas, comments and quotes of their own."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["FENCE", "clean", "json_values"]

FENCE = re.compile(r"```[\w-]*\s*\n?(.*?)```", re.DOTALL)
"""A code fence and what is in it."""

_MOST_BRACKETS = 100
"""Opening brackets that are tried before a text counts as noise."""


def clean(text: str) -> str:
    """The text with halves of surrogate pairs, which can't be stored or sent, replaced by U+FFFD; whole ones joined."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def json_values(text: str) -> Iterator[Any]:
    """Objects and lists in a text, the outermost ones, fenced ones first; repaired where that is safe."""
    for part in (*FENCE.findall(text), text):
        place = failed = 0
        while (start := _first(part, place)) >= 0 and failed < _MOST_BRACKETS:
            end = _closing(part, start)
            value = _load(part[start:end]) if end else None
            if value is None:
                place = start + 1
                failed += 1
            else:
                yield value
                place = end


def _first(text: str, start: int) -> int:
    places = [place for bracket in "{[" if (place := text.find(bracket, start)) >= 0]
    return min(places, default=-1)


def _closing(text: str, start: int) -> int:
    """Where the bracket at `start` is closed, plus one; 0 if it isn't. Brackets within double quotes don't count."""
    depth, quoted, place = 0, False, start
    while place < len(text):
        char = text[place]
        if quoted and char == "\\":
            place += 1
        elif char == '"':
            quoted = not quoted
        elif not quoted and char in "{[":
            depth += 1
        elif not quoted and char in "}]":
            depth -= 1
            if not depth:
                return place + 1
        place += 1
    return 0


def _load(text: str) -> Any:
    """JSON with what models add to it; None where it is something else."""
    for attempt in (text, _plain(text)):
        try:
            return _cleaned(json.loads(attempt, strict=False))
        except (ValueError, RecursionError):
            continue
    try:
        return _cleaned(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _cleaned(value: Any) -> Any:
    """The value with `clean` texts: JSON can spell half a character."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(inner) for key, inner in value.items()}
    return value


_STRING_OR_EXTRA = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


def _plain(text: str) -> str:
    """Without comments and trailing commas, which strings may hold; curly quotes around strings straightened."""
    if '"' not in text:
        text = text.replace("“", '"').replace("”", '"')
    without_comments = _STRING_OR_EXTRA.sub(lambda match: match[0] if match[0][0] in '",' else "", text)
    return _STRING_OR_EXTRA.sub(lambda match: match[0] if match[0][0] == '"' else "", without_comments)
