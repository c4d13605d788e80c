"""The supporter turns of a file of dialogues: which there are, and one window after the other through a model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from datamodules.dialogues import Dialogue, Turn
from datamodules.sources.report import SourceReport, sha256_of
from errors import UserError
from inference.dialogue_files import iterate_file
from inference.streaming import write_stream

if TYPE_CHECKING:
    from datamodules.contexts import ClassifierFormat, ResponderFormat

__all__ = ["SupporterTurn", "Which", "count_turns", "note_cuts", "stream_turns", "supporter_turns"]

Which = Literal["all", "next"]
"""`all`: each supporter turn that is there; `next`: the one that comes after the last turn."""


class SupporterTurn(NamedTuple):
    """A supporter's turn that a command works on.

    Args:
        id: `<dialogue>:<turn>`.
        turns: The dialogue's turns.
        number: The turn's number in them; their number, where it is still to come.
    """

    id: str
    turns: Sequence[Turn]
    number: int


def supporter_turns(dialogue: Dialogue, which: Which) -> Iterator[SupporterTurn]:
    """The turns of a dialogue that are asked for."""
    if which == "next":
        yield SupporterTurn(f"{dialogue.id}:{dialogue.turns[-1].place + 1}", dialogue.turns, len(dialogue.turns))
        return
    for number, turn in enumerate(dialogue.turns):
        if turn.speaker == "supporter":
            yield SupporterTurn(f"{dialogue.id}:{turn.place}", dialogue.turns, number)


def count_turns(file: Path, categories: Collection[str], which: Which) -> int:
    """Reads the whole file once, so that nothing that is wrong with it shows late.

    Args:
        file: The dialogues.
        categories: The categories of the scheme in use.
        which: The turns that are asked for.

    Returns:
        How many there are; a note says what is left out.

    Raises:
        DataError: With all that is wrong with the file.
    """
    report = SourceReport(str(file), "")
    total = 0
    names: set[str] = set()
    for dialogue in iterate_file(file, categories, report):
        turns = [turn.id for turn in supporter_turns(dialogue, which)]
        total += len(turns)
        names.update(turns)
    if len(names) < total:
        print(f"note: {total - len(names)} turns have the id of another; give each dialogue its own", file=sys.stderr)
    left_out = {
        "empty dialogues": report.dropped.get("empty_dialogue", 0),
        "empty turns": report.counts.get("empty_turns", 0),
    }
    if any(left_out.values()):
        found = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        print(f"note: left out: {found}", file=sys.stderr)
    return total


def stream_turns(
    file: Path,
    categories: Collection[str],
    work: Callable[[Sequence[SupporterTurn]], Sequence[dict[str, Any]]],
    output: Path,
    *,
    which: Which,
    window: int,
    verb: str,
    checkpoints: Sequence[str],
    options: Sequence[Any],
) -> None:
    """Works on the turns of a file as a stream, after a check of the whole file; see `write_stream`.

    Args:
        file: The dialogues.
        categories: The categories of the scheme in use.
        work: A window of turns -> an entry each.
        output: A `.jsonl` file, replaced at the end.
        which: The turns that are asked for.
        window: Turns worked on together.
        verb: What is done to them, for the progress line.
        checkpoints: Runs or checkpoints that a continued call must share.
        options: Plain values that it must share.

    Raises:
        UserError: The file or the output can't be used.
    """
    from lightning_modules.checkpoints import find_checkpoint

    total = count_turns(file, categories, which)
    dialogues = iterate_file(file, categories, SourceReport(str(file), ""))
    try:
        write_stream(
            (turn for dialogue in dialogues for turn in supporter_turns(dialogue, which)),
            work,
            output,
            total=total,
            window=window,
            same={
                "file": sha256_of(file),
                "checkpoints": [sha256_of(find_checkpoint(checkpoint)) for checkpoint in checkpoints],
                "options": list(options),
            },
            verb=verb,
        )
    except OSError as error:
        raise UserError(f"--output {output}: {error.strerror or error}; what is there so far is kept") from None


def note_cuts(cut: int, row_format: ClassifierFormat | ResponderFormat, reader: str = "") -> None:
    """Says of how many contexts the window left something out.

    Args:
        cut: The number, of those that were read in this call.
        row_format: Whose window.
        reader: Whose it is, where several models read the contexts.
    """
    if cut:
        window = f"{row_format.max_tokens} tokens" + (f", {row_format.max_turns} turns" if row_format.max_turns else "")
        whose = f"the {reader}'s window" if reader else "the window"
        print(
            f"note: of those read now, {cut} contexts are longer than {whose} ({window}); the last turns were read",
            file=sys.stderr,
        )
