"""The row of the strategy tasks: a dialogue of turns, supporter turns with the strategy they use.

The same fields stand in memory, in JSON Lines and in Parquet. A turn without `strategy` and `levels` is not annotated,
which is not the strategy "Others".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from datamodules.records import LEVELS, MECHANISMS, Pair, Source

__all__ = [
    "SPEAKERS",
    "STRATEGIES",
    "Dialogue",
    "Speaker",
    "Turn",
    "canonical_strategy",
    "from_pair",
    "merge_turns",
    "turn_problems",
]

Speaker = Literal["seeker", "supporter"]
SPEAKERS: tuple[Speaker, ...] = get_args(Speaker)

STRATEGIES = (
    "Question",
    "Restatement or Paraphrasing",
    "Reflection of feelings",
    "Self-disclosure",
    "Affirmation and Reassurance",
    "Providing Suggestions",
    "Information",
    "Others",
)
"""ESConv's eight strategies (Liu et al., ACL 2021), in the order of its `strategy.json` and of every table here."""

_ALIASES = {
    "questions": "Question",
    "restatement": "Restatement or Paraphrasing",
    "paraphrasing": "Restatement or Paraphrasing",
    "reflection of feeling": "Reflection of feelings",
    "self disclosure": "Self-disclosure",
    "approval and reassurance": "Affirmation and Reassurance",
    "direct guidance": "Providing Suggestions",
    "providing suggestion": "Providing Suggestions",
    "suggestions": "Providing Suggestions",
    "providing information": "Information",
    "other": "Others",
}
"""Other spellings, in lower case and without hyphens, of ESConv's files and of the literature on them."""


@dataclass(slots=True)
class Turn:
    """What one speaker said at once.

    Args:
        speaker: Who spoke.
        text: What was said.
        strategy: One of `STRATEGIES`, or a category of the scheme in use; empty: not annotated. Supporter turns only.
        levels: Mechanism -> 0, 1 or 2, for a turn that EPITOME's annotators judged.
        place: Its place in the dialogue as the source has it, counted from 0; readers set it.
    """

    speaker: Speaker
    text: str
    strategy: str = ""
    levels: dict[str, int] = field(default_factory=dict)
    place: int = 0


@dataclass(slots=True)
class Dialogue:
    """Turns of a seeker and a supporter.

    Args:
        id: Unique within its source and generator.
        source: Where the row comes from.
        turns: At least one, in order.
        group: What must not be split between training and evaluation; empty: the dialogue alone.
        generator: What wrote the row (synthetic rows only).
    """

    id: str
    source: Source
    turns: list[Turn]
    group: str = ""
    generator: str = ""

    @property
    def uid(self) -> str:
        """A name that is unique over all sources: `source:generator:id`."""
        return f"{self.source}:{self.generator}:{self.id}"

    def to_json(self) -> str:
        """The row as one JSON line; empty optional fields are left out."""
        turns = []
        for turn in self.turns:
            fields: dict[str, Any] = {"speaker": turn.speaker, "text": turn.text}
            fields |= {"strategy": turn.strategy} if turn.strategy else {}
            turns.append(fields | ({"levels": turn.levels} if turn.levels else {}))
        named = {"id": self.id, "source": self.source, "group": self.group, "generator": self.generator}
        return json.dumps({key: value for key, value in named.items() if value} | {"turns": turns}, ensure_ascii=False)


def from_pair(pair: Pair) -> Dialogue:
    """A pair as the dialogue of two turns that it is; the response carries the levels."""
    turns = [
        Turn("seeker", pair.seeker_post, place=0),
        Turn("supporter", pair.response_post, levels=dict(pair.levels), place=1),
    ]
    return Dialogue(pair.id, pair.source, turns, pair.group, pair.generator)


def merge_turns(turns: list[Turn]) -> list[Turn]:
    """Joins consecutive turns of one speaker by a space.

    Turns of unlike strategies or levels stay apart, since the joined one would have two labels. The place is the
    first's.
    """
    merged: list[Turn] = []
    for turn in turns:
        last = merged[-1] if merged else None
        if last and (last.speaker, last.strategy, last.levels) == (turn.speaker, turn.strategy, turn.levels):
            merged[-1] = Turn(last.speaker, f"{last.text} {turn.text}", last.strategy, last.levels, last.place)
        else:
            merged.append(turn)
    return merged


def canonical_strategy(name: str) -> str | None:
    """One of `STRATEGIES` for any spelling of it; None for a name that is none.

    Case, white space, hyphens and the square brackets of `strategy.json` don't matter.
    """
    plain = " ".join(name.strip().removeprefix("[").removesuffix("]").replace("-", " ").lower().split())
    return _ALIASES.get(plain) or _PLAIN.get(plain)


_PLAIN = {name.replace("-", " ").lower(): name for name in STRATEGIES}


def turn_problems(turn: Turn, *, quote: bool) -> list[str]:
    """What is wrong with a turn, a phrase a problem.

    Args:
        turn: The turn as read; `speaker` and `levels` may hold any value.
        quote: Whether values may be quoted. Rows of a clinical source must not be.

    Returns:
        Phrases such as ``field 'speaker': 'doctor' is not seeker or supporter``; empty when the turn is sound.
    """
    problems = []
    if turn.speaker not in SPEAKERS:
        shown = f"{turn.speaker!r:.40}" if quote else "the value"
        problems.append(f"field 'speaker': {shown} is not {' or '.join(SPEAKERS)}")
    if "\0" in turn.text:
        problems.append("field 'text' has a NUL byte; the file is damaged or is not text")
    for mechanism, level in turn.levels.items():
        if mechanism not in MECHANISMS:
            shown = f"{mechanism!r:.40}" if quote else "a key"
            problems.append(f"field 'levels': {shown} is no mechanism; the mechanisms are {', '.join(MECHANISMS)}")
        elif isinstance(level, bool) or level not in LEVELS:
            shown = f"level {level!r:.40}" if quote else "a value"
            problems.append(f"field 'levels', '{mechanism}': {shown} is not 0 (none), 1 (weak) or 2 (strong)")
    return problems
