"""Dialogues in for the commands: our own rows or ESConv's JSON, whole or a dialogue at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from datamodules.dialogues import Dialogue
from datamodules.records import Source
from datamodules.sources.dialogue_rows import has_turns, iterate_dialogues
from datamodules.sources.esconv import read_esconv
from datamodules.sources.formats import raw_rows
from datamodules.sources.report import SourceReport
from errors import DataError

__all__ = ["holds_dialogues", "iterate_file"]

_ROWS = (".jsonl", ".ndjson", ".parquet")


def holds_dialogues(path: Path) -> bool:
    """Whether a file is one of dialogues, not a table of pairs."""
    if path.suffix.lower() in (".json", ".txt"):
        return True
    if path.suffix.lower() not in _ROWS or not path.is_file():
        return False
    first = next(iter(raw_rows(path)), None)
    return first is not None and ("turns" in first.cells or "dialog" in first.cells)


def iterate_file(
    path: Path, categories: Collection[str], report: SourceReport, source: Source = "clinical"
) -> Iterator[Dialogue]:
    """The dialogues of a file, in order; nothing of them is quoted in messages.

    Args:
        path: JSON Lines or Parquet of rows with `turns`, streamed; or ESConv's JSON, one of the hub's files included.
        categories: The categories of the scheme in use.
        report: Takes the counts.
        source: What rows with `turns` are.

    Raises:
        DataError: The file can't be read, or a row can't be used.
    """
    if path.suffix.lower() in _ROWS and path.is_file() and has_turns(path):
        yield from iterate_dialogues(path, source, categories, report)
        return
    try:
        dialogues, found = read_esconv(path)
    except DataError as error:
        hint = "give dialogues: rows with 'turns' (JSON Lines, Parquet), or ESConv's JSON"
        raise DataError([*error.problems, f"{path}: {hint}"]) from None
    report.rows, report.dropped, report.counts = found.rows, found.dropped, found.counts
    yield from dialogues
