"""The row that everything else handles: one pair of a seeker post and a response post.

The same fields stand in memory, in JSON Lines and in Parquet. `levels` and `rationales` are keyed by mechanism; an
absent mechanism means "not annotated", which is not level 0.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

__all__ = [
    "LEVELS",
    "LEVEL_NAMES",
    "MECHANISMS",
    "SOURCES",
    "Mechanism",
    "Pair",
    "Source",
    "SourcedRow",
    "Span",
    "content_id",
    "normalise",
    "pair_problems",
]

Mechanism = Literal["emotional_reactions", "interpretations", "explorations"]
MECHANISMS: tuple[Mechanism, ...] = get_args(Mechanism)
"""EPITOME's three ways of communicating empathy, in the order of every table and tensor axis."""

LEVELS = (0, 1, 2)
LEVEL_NAMES = ("none", "weak", "strong")

Source = Literal["reddit", "clinical", "esconv", "synthetic"]
SOURCES: tuple[Source, ...] = get_args(Source)

Span = tuple[int, int]
"""Character offsets into the response post: start inclusive, end exclusive."""

_NOT_WORD = re.compile(r"[^\w\s]|_")


@dataclass(slots=True)
class Pair:
    """One seeker post with one response to it, and what annotators said of the response.

    Args:
        id: Unique within its source and generator.
        source: Where the row comes from.
        seeker_post: What the person in need wrote.
        response_post: The reply.
        group: What must not be split between training and evaluation; empty: the seeker post alone decides.
        generator: What wrote the row (synthetic rows only).
        levels: Mechanism -> 0, 1 or 2; absent mechanisms are not annotated.
        rationales: Mechanism -> character spans of `response_post`, end exclusive; absent where none is given.
    """

    id: str
    source: Source
    seeker_post: str
    response_post: str
    group: str = ""
    generator: str = ""
    levels: dict[str, int] = field(default_factory=dict)
    rationales: dict[str, list[Span]] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        """A name that is unique over all sources: `source:generator:id`."""
        return f"{self.source}:{self.generator}:{self.id}"

    def to_json(self) -> str:
        """The row as one JSON line; empty optional fields are left out."""
        fields = {key: value for key, value in asdict(self).items() if value not in ("", {})}
        return json.dumps(fields, ensure_ascii=False)


class SourcedRow(Protocol):
    """What mixes and manifests ask of a row of any kind."""

    @property
    def uid(self) -> str:
        """A name that is unique over all sources."""

    @property
    def source(self) -> Source:
        """Where the row comes from."""

    @property
    def generator(self) -> str:
        """What wrote the row; empty where it is not synthetic."""


def content_id(seeker_post: str, response_post: str) -> str:
    """A stable id for a pair without one: the first 16 hex digits of the SHA-256 of its two texts."""
    return hashlib.sha256(f"{seeker_post}\0{response_post}".encode()).hexdigest()[:16]


def normalise(text: str) -> str:
    """The text without what doesn't make it another text: case, punctuation, accents' encoding, white space."""
    text = unicodedata.normalize("NFKC", text).casefold()
    words = _NOT_WORD.sub(" ", text).split()
    return " ".join(words or text.split())


def pair_problems(pair: Pair, *, quote: bool) -> list[str]:
    """What is wrong with a row, a phrase a problem.

    Args:
        pair: The row as read; `levels` may hold any value.
        quote: Whether values may be quoted. Rows of a clinical source must not be, since a mistaken
            column name puts their text in any field.

    Returns:
        Phrases such as ``column 'interpretations': level 3 is not 0, 1 or 2``; empty when the row is sound.
    """
    problems = []
    for column in ("seeker_post", "response_post"):
        text = getattr(pair, column)
        if not text.strip():
            problems.append(f"column '{column}' is empty; give the text or take the row out")
        elif "\0" in text:
            problems.append(f"column '{column}' has a NUL byte; the file is damaged or is not text")
    problems += _level_problems(pair.levels, quote=quote)
    for mechanism, spans in pair.rationales.items():
        for start, end in spans:
            if not 0 <= start < end <= len(pair.response_post):
                problems.append(
                    f"rationale of '{mechanism}': span [{start}, {end}] does not lie within the response's "
                    f"{len(pair.response_post)} characters (0 <= start < end <= length)"
                )
    return problems


def _level_problems(levels: Mapping[str, Any], *, quote: bool) -> list[str]:
    problems = []
    for mechanism, level in levels.items():
        if mechanism not in MECHANISMS:
            shown = f"'{mechanism}'" if quote else "a key"
            problems.append(f"column 'levels': {shown} is no mechanism; the mechanisms are {', '.join(MECHANISMS)}")
        elif isinstance(level, bool) or not isinstance(level, int) or level not in LEVELS:
            shown = f"level {level!r:.40}" if quote else "a value"
            problems.append(f"column '{mechanism}': {shown} is not 0 (none), 1 (weak) or 2 (strong)")
    return problems
