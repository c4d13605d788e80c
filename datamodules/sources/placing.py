"""Where a rationale stands in a text: annotated pieces of text -> character spans.

Three rules, tried in turn:

1. `exact`: the rationale is a part of the text.
2. `loose`: it is, but for white space, case, Unicode form (NFC, NFD, compatibility characters), invisible characters
   and HTML character references (`&amp;lt;3` and `<3`).
3. `aligned`: the words of the rationale are matched in order with those of the text (`difflib`); where the rationale
   came with another version of the text, that version is matched as a whole, so that the words around the rationale
   say where it belongs. Accepted only if `MATCHED_SHARE` of the rationale's characters are matched and no more than
   half of the span found is foreign to it: a rationale that can't be placed is better than a misplaced one.

Nothing is read as a regular expression.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

from datamodules.records import Span

__all__ = ["MATCHED_SHARE", "Rule", "merge_spans", "place", "place_all"]

Rule = Literal["exact", "loose", "aligned"]

MATCHED_SHARE = 0.8
"""Share of a rationale's non-space characters that must be matched for an aligned span."""

_MIN_DENSITY = 0.5
"""Share of an aligned span's non-space characters that must be matched ones."""

_REFERENCE = re.compile(r"&(?:amp;)*(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z]\w{1,30});", re.IGNORECASE)
_WORD = re.compile(rf"{_REFERENCE.pattern}|[\w\u0300-\u036f]+|[^\w\s]", re.IGNORECASE)


def place(
    rationale: str, text: str, *, origin: str | None = None, taken: Sequence[Span] = ()
) -> tuple[Span, Rule] | None:
    """Find a rationale in a text.

    Args:
        rationale: The piece of text that an annotator marked.
        text: Where to find it.
        origin: The version of the text that the annotator saw, where that is another one.
        taken: Spans of earlier rationales. Where the rationale stands in the text several times, the first place that
            overlaps none of them is taken, else the first.

    Returns:
        The span, which neither begins nor ends with white space, and the rule that found it; None where none did.
    """
    rationale = rationale.strip()
    if not rationale:
        return None
    if span := _first_free(_find_exact(rationale, text), taken):
        return span, "exact"
    if span := _first_free(_find_loose(rationale, text), taken):
        return span, "loose"
    versions = [(rationale, (0, len(rationale)))]
    if origin is not None and (found := place(rationale, origin)):
        versions.insert(0, (origin, found[0]))
    for version, part in versions:
        if span := _align(version, part, text):
            return span, "aligned"
    return None


def place_all(pieces: Iterable[str], text: str, *, origin: str | None = None) -> tuple[list[Span], list[str]]:
    """Place the rationales of one annotation, each beside the others where the text repeats itself.

    Args:
        pieces: Pieces of text; blank ones are no rationales.
        text: Where to find them.
        origin: The version of the text that the annotator saw, where that is another one.

    Returns:
        The spans in order of the text, without repeats, and for each piece that is not blank its outcome as
        `SourceReport.rationales` counts it: `placed_<rule>` or `unplaced`.
    """
    spans: list[Span] = []
    outcomes = []
    for piece in pieces:
        if not piece.strip():
            continue
        found = place(piece, text, origin=origin, taken=spans)
        if found:
            spans.append(found[0])
        outcomes.append(f"placed_{found[1]}" if found else "unplaced")
    return sorted(set(spans)), outcomes


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """The same characters in the fewest spans: sorted, those that overlap or touch joined."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _first_free(candidates: Iterator[Span], taken: Sequence[Span]) -> Span | None:
    first = None
    for start, end in candidates:
        first = first or (start, end)
        if all(end <= low or high <= start for low, high in taken):
            return start, end
    return first


def _find_exact(rationale: str, text: str) -> Iterator[Span]:
    start = text.find(rationale)
    while start >= 0:
        yield start, start + len(rationale)
        start = text.find(rationale, start + 1)


def _find_loose(rationale: str, text: str) -> Iterator[Span]:
    wanted, _ = _fold(rationale)
    folded, origins = _fold(text)
    start = folded.find(wanted) if wanted else -1
    while start >= 0:
        yield origins[start][0], origins[start + len(wanted) - 1][1]
        start = folded.find(wanted, start + 1)


@lru_cache(maxsize=64)
def _fold(text: str) -> tuple[str, list[Span]]:
    """The text as the loose rule compares it, and for each of its characters where it comes from."""
    folded: list[str] = []
    origins: list[Span] = []
    for start, end in _units(text):
        plain = text[start:end] if end - start == 1 else _unescape(text[start:end])
        for char in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", plain).casefold()):
            if not (char.isspace() or unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"):
                folded.append(char)
                origins.append((start, end))
    return "".join(folded), origins


def _units(text: str) -> Iterator[Span]:
    """Spans of what can't be cut: character references, and characters with their combining marks."""
    references = {match.start(): match.end() for match in _REFERENCE.finditer(text)} if "&" in text else {}
    start = 0
    while start < len(text):
        end = references.get(start, start + 1)
        while end < len(text) and not text[start].isspace() and unicodedata.category(text[end]).startswith("M"):
            end += 1
        yield start, end
        start = end


def _unescape(text: str) -> str:
    while (plain := html.unescape(text)) != text:
        text = plain
    return text


def _align(version: str, part: Span, text: str) -> Span | None:
    """The span of `text` that the part of another version of it corresponds to, by matching words in order."""
    words, others = _words(version), _words(text)
    # autojunk: in texts of 200 words and more, frequent ones match beside rarer ones only; without it time is cubic
    matcher = SequenceMatcher(None, [word for word, _ in words], [word for word, _ in others], autojunk=True)
    wanted = {i for i, (_, (start, end)) in enumerate(words) if start < part[1] and part[0] < end}
    blocks = matcher.get_matching_blocks()
    matched = [b + k for a, b, size in blocks for k in range(size) if a + k in wanted]
    size = sum(len(others[j][0]) for j in matched)
    if not matched or size < MATCHED_SHARE * sum(len(words[i][0]) for i in wanted):
        return None
    first, last = matched[0], matched[-1]
    if size < _MIN_DENSITY * sum(len(word) for word, _ in others[first : last + 1]):
        return None
    return others[first][1][0], others[last][1][1]


def _words(text: str) -> list[tuple[str, Span]]:
    words = ((_fold(match[0])[0], match.span()) for match in _WORD.finditer(text))
    return [(word, span) for word, span in words if word]
