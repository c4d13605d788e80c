"""Which lines of a transcript begin a turn with `NAME:`, and whose."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from datamodules.sources.transcript_roles import role_of_word

__all__ = ["TIME_ALONE", "Names", "find_labels", "folded"]

_TIME = r"[\[(<]?\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?[\])>]?"
_TIMES = rf"{_TIME}(?:\s*[-–—>]+\s*{_TIME})?"
_LABEL = re.compile(
    rf"""\s*(?:{_TIMES}\s*[-–]?\s*)?                                    # [00:01:02], [00:05 - 00:06]
    (?P<speaker>[^\W_][^:：?!,;<>\[\]\n]{{0,39}}?)\s*
    (?:{_TIME}\s*:(?!\d)|[:：])(?P<text>.*)""",
    re.VERBOSE | re.DOTALL,
)
_COLON = re.compile(r"(?:(?<!\b\d)(?<!\b\d\d):|:(?!\d)|：)")
"""A colon that is not a time's."""

_REMARK = r"(?:\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>)"
_BEFORE_NAME = re.compile(rf"(?:[\s:|*•·>\"“”„«»‘'–—-]|{_TIMES}|\#\d+|\d+[.)](?=\s)|{_REMARK}(?=.*\w))+")
_AFTER_NAME = re.compile(rf"\s*(?:{_REMARK}|{_TIMES}|[\s*\"“”»’'–—-])\Z")
_WRAPPED = re.compile(r"[\[(<](.*)[\])>]")
"""What may stand around a known name: marks, times, numbers and remarks; brackets around it must be closed, since
"(Client: yes)" may be a remark."""

_SPEECH = re.compile(r"[\w\"“”„«‘¿¡….\[]|['(]\w")
"""What may follow a speaker's colon without a space. Addresses (`https://`) and faces (`:)`) go on with other signs."""

TIME_ALONE = re.compile(rf"\s*{_TIMES}\s*")
"""A line with nothing but when it was said."""

_MOST_WORDS = 4
"""Words in a speaker's name that was not given; more of them before a colon are a sentence."""

_LONGEST = 200
"""Characters of a line among which the colon after a speaker's name is looked for."""

_BEGINNING = 80
"""Characters of a line that isn't read as a turn in which a speaker's name before a colon is counted."""


@dataclass(frozen=True)
class Names:
    """What is known of names before a transcript is read, all as `folded` gives them.

    Args:
        given: Speakers' names; they are found whatever they are made of.
        not_speakers: Words that stand before colons and name nobody.
    """

    given: Collection[str] = ()
    not_speakers: Collection[str] = ()


class _Label(NamedTuple):
    """Words before a line's colon, what follows it, and whether that looks like a name and what its bearer says."""

    speaker: str
    text: str
    clear: bool


def folded(name: str) -> str:
    """A speaker's name as it is compared: without case, extra white space, and ways to write the same character."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def find_labels(lines: Sequence[str], names: Names) -> tuple[list[tuple[str, str] | None], int]:
    """Find the lines that begin a turn, with or without a space after the colon.

    A name is one that is given, else one that begins at least two lines or says a role. Known names are found with
    numbers, marks, times and remarks around them. Words that say a role and come once, before the first turn of two
    or more other speakers, are a head's, as in "Client: J. D.".

    Args:
        lines: The lines.
        names: What is known of names.

    Returns:
        Of each line the speaker and the text after the colon, None where it goes on with the turn before; and how many
        of those lines begin with what may be a name, or have a speaker's at their beginning.
    """
    labels = [_likely_label(line) for line in lines]
    counts = Counter(folded(label.speaker) for label in labels if label and label.clear)
    speakers = _speakers(counts, names)
    turns = [_turn(line, names.given, names) or _turn(line, speakers, names) for line in lines]
    _drop_head(turns, {name for name in speakers - {*names.given} if counts[name] == 1})
    speaker = _any_of(speakers)
    unclear = 0
    for line, label, turn in zip(lines, labels, turns, strict=True):
        name = folded(label.speaker) if label else ""
        if turn or name in names.not_speakers or TIME_ALONE.fullmatch(line):
            continue
        like_a_name = label and label.clear and (_words(name) <= _MOST_WORDS or counts[name] > 1)
        unclear += bool(like_a_name or _mentions(line, speaker))
    return turns, unclear


def _speakers(counts: Counter[str], names: Names) -> set[str]:
    """The given names and those found, without what is another's with a remark."""
    found = {
        name for name, count in counts.items() if role_of_word(name) or (count > 1 and _words(name) <= _MOST_WORDS)
    }
    known = {*names.given, *found} - {*names.not_speakers}
    remarked = {name for name in known if not known.isdisjoint({folded(bare) for bare in _names(name)} - {name})}
    return known - (remarked - {*names.given})


def _turn(line: str, speakers: Collection[str], names: Names) -> tuple[str, str] | None:
    for colon in _COLON.finditer(line, 0, _LONGEST):
        before = line[: colon.start()]
        if folded(before) in names.not_speakers:
            return None
        for name in _names(before):
            if folded(name) in speakers and folded(name) not in names.not_speakers:
                return " ".join(name.split()), line[colon.end() :]
    return None


def _names(before: str) -> Iterator[str]:
    """What stands before a colon: whole, then with less and less of what may stand around a name.

    What follows a comma is a remark after a word that says a role ("Client, crying:"); after other names it may be what
    is said to their bearers ("Jane, listen:").
    """
    longer = ""
    while before != longer:
        yield before
        start = _BEFORE_NAME.match(before)
        bare = before[start.end() :] if start else before
        wrapped = _WRAPPED.fullmatch(bare)
        yield wrapped[1] if wrapped else bare
        name, comma, _ = bare.partition(",")
        if comma and role_of_word(folded(name)):
            yield name
        longer, before = before, _AFTER_NAME.sub("", before)


def _drop_head(turns: list[tuple[str, str] | None], once: Collection[str]) -> None:
    steady = [number for number, turn in enumerate(turns) if turn and folded(turn[0]) not in once]
    if len({folded(turn[0]) for turn in turns if turn} - {*once}) > 1:
        turns[: steady[0]] = [None] * steady[0]


def _any_of(speakers: Collection[str]) -> re.Pattern[str]:
    """Finds the speakers' folded names as whole words; without speakers nothing."""
    longest_first = sorted(speakers, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})(?!\w)")


def _mentions(line: str, speaker: re.Pattern[str]) -> bool:
    """Whether a line begins with a speaker's name, or has one before its first colon."""
    colon = _COLON.search(line, 0, _BEGINNING)
    if colon and speaker.search(folded(line[: colon.start()])):
        return True
    start = _BEFORE_NAME.match(line)
    for beginning in (line, line[start.end() :] if start else ""):
        rest = folded(beginning[:_LONGEST])
        if (name := speaker.match(rest)) and not _of_a_sentence(name[0], rest[name.end() :]):
            return True
    return False


def _of_a_sentence(name: str, rest: str) -> bool:
    """Whether a name at a line's beginning is part of a word or sentence: "Ada's", and "A friend", "T-shirt"."""
    return re.match(r"['’]\w" if len(name) > 1 else r"\s?['’-]?\w", rest) is not None


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
