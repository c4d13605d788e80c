"""What a model reads of a dialogue: the turns before a supporter's turn, as tokens, within a window.

Turns are never torn apart but for the one case that there is no other way: the last turn of a context that is longer
than the window keeps its end. What a window leaves out is counted.
Legend: T tokens of a row, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from datamodules.dialogues import Speaker, Turn
from errors import UserError

__all__ = [
    "ClassifierFormat",
    "ClassifierRow",
    "ResponderFormat",
    "ResponderRow",
    "Target",
    "TurnEncoder",
    "Window",
    "take_window",
]

IntArray = npt.NDArray[np.int32]
Target = Literal["next", "given"]
"""What a classifier says: the category of the `next` supporter turn from its context alone, or that of a `given` one,
the easier task."""

IGNORED = -100
"""Label of tokens that no loss counts."""


class TurnEncoder:
    """Texts to token ids without special tokens, from a tokenizer's own description alone.

    Args:
        description: JSON of a `tokenizers.Tokenizer`.
    """

    def __init__(self, description: str) -> None:
        from tokenizers import Tokenizer

        self.description = description
        self.tokenizer: Any = Tokenizer.from_str(description)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # a text that spells a special token doesn't become one

    def encode(self, texts: Sequence[str]) -> list[IntArray]:
        """Token ids int32 [T] of each text."""
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(item.ids, np.int32) for item in encoded]


class Window(NamedTuple):
    """The turns that fit.

    Args:
        turns: Tokens of the turns kept, in order.
        first: Number of turns left out before them.
        cut: Tokens cut off the beginning of the first one kept; above 0 only where it is the only one.
    """

    turns: list[IntArray]
    first: int
    cut: int


def take_window(turns: Sequence[IntArray], limit: int, max_turns: int | None = None) -> Window:
    """The last turns whose tokens, with one separator each, fit.

    Args:
        turns: Tokens of the turns of a context, in order.
        limit: Room in tokens, separators included; at least 2.
        max_turns: Turns to keep at most; None: no limit.
    """
    start = len(turns)
    earliest = 0 if max_turns is None else max(0, start - max_turns)
    room = limit
    while start > earliest and len(turns[start - 1]) + 1 <= room:
        start -= 1
        room -= len(turns[start]) + 1
    if turns and start == len(turns) and earliest < start:
        last = turns[-1]
        return Window([last[len(last) - limit + 1 :]], start - 1, len(last) - limit + 1)
    return Window(list(turns[start:]), start, 0)


class ClassifierRow(NamedTuple):
    """What the classifier reads.

    Args:
        ids: int32 [T].
        speakers: int8 [T]: 0 special tokens, 1 seeker, 2 supporter.
        distances: int16 [T]: turns between this one and the last, 0 in the last; special tokens have their turn's.
        dropped_turns: Turns of the context that the window left out.
        cut_tokens: Tokens cut off a turn.
    """

    ids: IntArray
    speakers: npt.NDArray[np.int8]
    distances: npt.NDArray[np.int16]
    dropped_turns: int
    cut_tokens: int


@dataclass(frozen=True)
class _Format:
    """What both formats have: an encoder of turns, and a form in which a checkpoint keeps them."""

    encoder: TurnEncoder

    def to_state(self) -> dict[str, Any]:
        """As plain values for a checkpoint."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "encoder": self.encoder.description}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Rebuilds it."""
        return cls(**{**state, "encoder": TurnEncoder(state["encoder"])})


SPEAKER_NUMBER: dict[Speaker, int] = {"seeker": 1, "supporter": 2}


@dataclass(frozen=True)
class ClassifierFormat(_Format):
    """`[CLS] turn [SEP] turn [SEP] ...`, the context of a supporter turn; with target `given` that turn at the end.

    An empty context (the supporter speaks first) is `[CLS] [SEP]`.

    Args:
        encoder: Turns to tokens.
        first_id: Token id of `[CLS]`.
        separator_id: Token id of `[SEP]`.
        pad_id: Token id of padding.
        max_tokens: Window in tokens, special tokens included.
        max_turns: Turns of the context read at most.
        target: What is predicted.
        merged: Whether consecutive turns of one speaker were joined in training.
    """

    first_id: int
    separator_id: int
    pad_id: int
    max_tokens: int
    max_turns: int | None = None
    target: Target = "next"
    merged: bool = False

    def __post_init__(self) -> None:
        """Checks the window."""
        _check_window(self.max_tokens, self.max_turns, 8)

    def row(self, turns: Sequence[Turn], tokens: Sequence[IntArray], turn: int) -> ClassifierRow:
        """The row of a supporter turn.

        Args:
            turns: The dialogue's turns; with target `next` those from `turn` on are not looked at.
            tokens: Their tokens.
            turn: Which turn's strategy is asked for; with target `next` it may be the number of turns.
        """
        room, cut, kept = self.max_tokens - 1, 0, []
        if self.target == "given":
            response = tokens[turn][: room - 1]
            cut = len(tokens[turn]) - len(response)
            room -= len(response) + 1
            kept = [response]
        window = take_window(tokens[:turn], room, self.max_turns) if room > 1 else Window([], turn, 0)
        numbers = [*range(window.first, turn), *([turn] if kept else [])]
        kept = [*window.turns, *kept]
        last = len(kept) - 1
        ids = [np.array([self.first_id], np.int32)]
        speakers, distances = [np.zeros(1, np.int8)], [np.full(1, max(last, 0), np.int16)]
        for place, (number, values) in enumerate(zip(numbers, kept, strict=True)):
            ids += [values, np.array([self.separator_id], np.int32)]
            speakers += [np.full(len(values), SPEAKER_NUMBER[turns[number].speaker], np.int8), np.zeros(1, np.int8)]
            distances.append(np.full(len(values) + 1, last - place, np.int16))
        if not kept:
            ids.append(np.array([self.separator_id], np.int32))
            speakers.append(np.zeros(1, np.int8))
            distances.append(np.zeros(1, np.int16))
        return ClassifierRow(
            np.concatenate(ids), np.concatenate(speakers), np.concatenate(distances), window.first, window.cut + cut
        )


class ResponderRow(NamedTuple):
    """What the responder reads and writes.

    Args:
        ids: int32 [T]: the context, the tag where there is one, the response, the end token.
        labels: int32 [T]: the ids of tag, response and end; -100 before, and at the end of a response that was cut.
        dropped_turns: Turns of the context that the window left out.
        cut_tokens: Tokens cut off a turn or the response.
    """

    ids: IntArray
    labels: IntArray
    dropped_turns: int
    cut_tokens: int


@dataclass(frozen=True)
class ResponderFormat(_Format):
    """`turn <end> turn <end> ... [tag] response <end>`, DialoGPT's form (Zhang et al., ACL 2020, demo) with a tag.

    An empty context (the supporter speaks first) is a single end token.

    Args:
        encoder: Turns to tokens.
        end_id: Token id that ends a turn.
        tags: Label -> token id of its tag; empty: no tags.
        max_tokens: Window in tokens for the whole row.
        max_response_tokens: Tokens of a response at most, the end token left out of the count.
        max_turns: Turns of the context read at most.
        merged: Whether consecutive turns of one speaker were joined in training.
    """

    end_id: int
    tags: dict[str, int]
    max_tokens: int
    max_response_tokens: int
    max_turns: int | None = None
    merged: bool = False

    def __post_init__(self) -> None:
        """Checks the window."""
        _check_window(self.max_tokens, self.max_turns, self.max_response_tokens + 8)

    def prompt(self, tokens: Sequence[IntArray], label: str | None) -> tuple[IntArray, Window]:
        """What the response is written after.

        The room of a response of full length is kept free.

        Args:
            tokens: Tokens of the context's turns.
            label: The tag; None: none.

        Returns:
            Token ids int32 [T], and the window.
        """
        window = take_window(tokens, self.max_tokens - self.max_response_tokens - 2, self.max_turns)
        end = np.array([self.end_id], np.int32)
        parts = [part for turn in window.turns for part in (turn, end)] or [end]
        if label is not None:
            parts.append(np.array([self.tags[label]], np.int32))
        return np.concatenate(parts), window

    def row(self, tokens: Sequence[IntArray], turn: int, label: str | None) -> ResponderRow:
        """The row of a supporter turn.

        Args:
            tokens: Tokens of the dialogue's turns; those after `turn` are not looked at.
            turn: Which turn is the response.
            label: Its tag; None: none.
        """
        prompt, window = self.prompt(tokens[:turn], label)
        response = tokens[turn][: self.max_response_tokens]
        ids = np.concatenate([prompt, response, np.array([self.end_id], np.int32)])
        labels = ids.copy()
        labels[: len(prompt) - (label is not None)] = IGNORED
        cut = len(tokens[turn]) - len(response)
        if cut:
            labels[-1] = IGNORED  # the turn doesn't end here
        return ResponderRow(ids, labels, window.first, window.cut + cut)


def _check_window(max_tokens: int, max_turns: int | None, least: int) -> None:
    if max_tokens < least:
        raise UserError(f"--data.max_tokens is {max_tokens}; a row needs at least {least} tokens: raise it")
    if max_turns is not None and max_turns < 1:
        raise UserError(f"--data.max_turns is {max_turns}; it is a number of turns, 1 or more, or null for no limit")
