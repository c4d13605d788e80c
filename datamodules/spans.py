"""Character spans of a response to token labels and back, for any fast tokenizer.

Legend: R tokens of one response (special ones included), offsets int [R, 2] in characters, (0, 0) for special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.records import Span

__all__ = ["labels_to_spans", "published_labels", "spans_to_labels", "token_clauses", "trim_offsets", "word_bounds"]

IntArray = npt.NDArray[np.int32]


def trim_offsets(offsets: Sequence[tuple[int, int]], text: str) -> IntArray:
    """Offsets without the white space that byte-level tokenizers count to a token.

    Args:
        offsets: Start and end of each token in `text`, as the tokenizer gives them.
        text: The text that was tokenised.

    Returns:
        int32 [R, 2]; a token of white space alone becomes zero-width.
    """
    trimmed = []
    for start, end in offsets:
        piece = text[start:end]
        core = piece.strip()
        if len(core) < len(piece):
            start += piece.index(core)
            end = start + len(core)
        trimmed.append((start, end))
    return np.array(trimmed, dtype=np.int32).reshape(-1, 2)


def word_bounds(text: str) -> list[Span]:
    """Character spans of the words of a text: its runs of non-space characters."""
    return [match.span() for match in re.finditer(r"\S+", text)]


_CLAUSE_END = re.compile(r"""[.!?…,;:–—]["'”’)\]]*$""")


def token_clauses(text: str, offsets: IntArray) -> npt.NDArray[np.int32]:
    """The clause that each token belongs to.

    A clause is a run of words up to one that ends with a stop, comma, colon, semicolon or dash, or up to a line break:
    what annotators mark is nearly always one or several of them.

    Args:
        text: The response.
        offsets: Trimmed offsets of its tokens, int32 [R, 2].

    Returns:
        int32 [R]: the clause's number, from 0; -1 for special and zero-width tokens.
    """
    words = word_bounds(text)
    ends = [
        end
        for (start, end), (following, _) in zip(words, [*words, (len(text), 0)][1:], strict=True)
        if _CLAUSE_END.search(text[start:end]) or "\n" in text[end:following]
    ]
    clauses = np.searchsorted(np.array(ends, dtype=np.int64), offsets[:, 0], side="right").astype(np.int32)
    clauses[offsets[:, 1] <= offsets[:, 0]] = -1
    return clauses


def spans_to_labels(spans: Sequence[Span], offsets: IntArray) -> npt.NDArray[np.int8]:
    """Which tokens (or words) a rationale touches.

    Args:
        spans: Character spans, end exclusive; they may overlap.
        offsets: Trimmed offsets of the tokens, or bounds of the words, int32 [R, 2].

    Returns:
        int8 [R]: 1 where at least one character of the token lies in a span, else 0; special and zero-width tokens 0.
    """
    labels = np.zeros(len(offsets), dtype=np.int8)
    starts, ends = offsets[:, 0], offsets[:, 1]
    for start, end in spans:
        labels[(starts < end) & (ends > start) & (ends > starts)] = 1
    return labels


def labels_to_spans(labels: npt.NDArray[np.bool_], offsets: IntArray) -> list[Span]:
    """Character spans of the runs of chosen tokens; the inverse of `spans_to_labels` up to token borders.

    Args:
        labels: bool [R], the chosen tokens.
        offsets: Trimmed offsets, int32 [R, 2].

    Returns:
        Spans in order, end exclusive, none touching another's characters (byte-level tokens may share a character).
        Neighbouring chosen tokens form one span, the white space between them included.
    """
    spans: list[Span] = []
    open_run = False
    for chosen, (start, end) in zip(labels.tolist(), offsets.tolist(), strict=True):
        if end <= start:
            continue
        if chosen and spans and (open_run or start < spans[-1][1]):
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        elif chosen:
            spans.append((start, end))
        open_run = bool(chosen)
    return spans


def published_labels(
    text: str, rationales: Sequence[str], tokenizer: Any, max_tokens: int
) -> tuple[npt.NDArray[np.int8], bool]:
    """Token labels as the published code of EPITOME finds them, its defects included (SPEC, section 4, defect 3).

    A rationale is searched as an unescaped regular expression in the decoded tokens and dropped silently where it
    doesn't match; characters map to tokens as if a space followed each of them, so the map drifts over sub-words.

    Args:
        text: The response.
        rationales: Texts of its rationales.
        tokenizer: A fast Hugging Face tokenizer.
        max_tokens: Window in tokens, special ones included.

    Returns:
        int8 [R] labels, and whether the decoded tokens tokenise to the same length again (the published code drops
        rows for which they don't).
    """
    ids = tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    pieces = tokenizer.tokenize(decoded)
    position_of = np.zeros(len(text), dtype=np.int64)
    position = 0
    for index, piece in enumerate(pieces):
        width = len(piece.removeprefix("Ġ")) + 1
        position_of[position : position + width] = index
        position += width
    labels = np.zeros(max(len(ids), len(pieces)), dtype=np.int8)
    for rationale in rationales:
        pattern = tokenizer.decode(tokenizer(rationale, add_special_tokens=False, verbose=False)["input_ids"])
        try:
            match = re.search(pattern, decoded)
        except re.error:
            continue
        if match is not None:
            labels[position_of[match.start() : match.start() + len(pattern)]] = 1
    return labels[: len(ids)], len(pieces) == len(ids)
