"""Which lines of a transcript begin a turn with `NAME:`, and whose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["TIME_ALONE", "Names", "find_labels", "folded"]

_TIME = r"[\[(<]?\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?[\])>]?"
_TIME_FIRST = re.compile(rf"\A\s*{_TIME}\s*[-–]?\s*")
_TIME_LAST = re.compile(rf"\s*{_TIME}\s*\Z")
_LABEL = re.compile(
    rf"""\s*(?:{_TIME}\s*[-–]?\s*)?                                     # [00:01:02]
    (?P<speaker>[^\W_][^:?!,;<>\[\]\n]{{0,39}}?)\s*
    (?:{_TIME}\s*:(?!\d)|:)(?P<text>.*)""",
    re.VERBOSE | re.DOTALL,
)
_SPEECH = re.compile(r"[\w\"“”„«‘¿¡….\[]|['(]\w")
"""What may follow a speaker's colon without a space. Addresses (`https://`) and faces (`:)`) go on with other signs."""

TIME_ALONE = re.compile(rf"\s*{_TIME}(?:\s*[-–>]+\s*{_TIME})?\s*")
"""A line with nothing but when it was said."""

_MOST_WORDS = 4
"""Words in a speaker's name that was not given; more of them before a colon are a sentence."""

_LONGEST = 200
"""Characters of a line among which a given name is looked for."""


@dataclass(frozen=True)
class Names:
    """What is known of names before a transcript is read, all as `folded` gives them.

    Args:
        given: Speakers' names; they are found whatever they are made of.
        likely: Words that are a speaker's name even where they stand before a colon only once.
        not_speakers: Words that stand before colons and name nobody.
    """

    given: Collection[str] = ()
    likely: Collection[str] = ()
    not_speakers: Collection[str] = ()


class _Label(NamedTuple):
    """Words before a line's colon, what follows it, and whether that looks like a name and what its bearer says."""

    speaker: str
    text: str
    clear: bool


def folded(name: str) -> str:
    """A speaker's name as it is compared: without case and extra white space."""
    return " ".join(name.split()).casefold()


def find_labels(lines: Sequence[str], names: Names) -> tuple[list[tuple[str, str] | None], int]:
    """Find the lines that begin a turn, with or without a space after the colon.

    A name is one that is given, else one that begins at least two lines or is likely. Where the colon may be another's,
    as in 12:30 and in addresses, the name has to be known from elsewhere.

    Args:
        lines: The lines.
        names: What is known of names.

    Returns:
        Of each line the speaker and the text after the colon, None where it goes on with the turn before; and how many
        of those lines begin with what may be a name.
    """
    labels = [_given_label(line, names.given) or _likely_label(line) for line in lines]
    counts = Counter(folded(label.speaker) for label in labels if label and label.clear)
    found = {
        name for name, count in counts.items() if name in names.likely or (count > 1 and _words(name) <= _MOST_WORDS)
    }
    speakers = {*names.given, *found} - {*names.not_speakers}
    turns: list[tuple[str, str] | None] = []
    unclear = 0
    for label in labels:
        name = folded(label.speaker) if label else ""
        if label and name in speakers and (label.clear or not name.isdigit()):
            turns.append((" ".join(label.speaker.split()), label.text))
            continue
        turns.append(None)
        if label and name not in names.not_speakers:
            like_a_name = label.clear and (_words(name) <= _MOST_WORDS or counts[name] > 1)
            unclear += like_a_name or name in speakers
    return turns, unclear


def _given_label(line: str, given: Collection[str]) -> _Label | None:
    rest = _TIME_FIRST.sub("", line)
    for colon in re.finditer(":", rest[:_LONGEST]) if given else ():
        speaker, times = _TIME_LAST.subn("", rest[: colon.start()])
        text = rest[colon.end() :]
        if folded(speaker) in given and not (times and text[:1].isdigit()):
            return _Label(speaker, text, clear=True)
    return None


def _likely_label(line: str) -> _Label | None:
    match = None if TIME_ALONE.fullmatch(line) else _LABEL.fullmatch(line)
    if match is None:
        return None
    speaker, text = match["speaker"], match["text"]
    if not text or text[0].isspace():
        return _Label(speaker, text, clear=True)
    number = speaker[-1].isdigit() and text[0].isdigit()
    apart = line[match.start("text") - 2].isspace()
    return _Label(speaker, text, clear=_SPEECH.match(text) is not None and not (number or apart))


def _words(name: str) -> int:
    return len(name.split())
