"""Dialogues in for the commands: our own rows or ESConv's JSON, whole or a dialogue at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from datamodules.dialogues import Dialogue
from datamodules.records import Source
from datamodules.sources.dialogue_rows import iterate_dialogues
from datamodules.sources.esconv import read_esconv
from datamodules.sources.formats import SUFFIXES, raw_rows
from datamodules.sources.report import SourceReport
from errors import DataError

__all__ = ["iterate_file"]


def _has_own_rows(path: Path) -> bool:
    """Whether a file has rows as we write them, of dialogues or of pairs; else it is one of ESConv's."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    first = next(iter(raw_rows(path)), None)
    return first is not None and not {"turns", "seeker_post"}.isdisjoint(first.cells)


def iterate_file(
    path: Path, categories: Collection[str], report: SourceReport, source: Source = "clinical"
) -> Iterator[Dialogue]:
    """The dialogues of a file, in order; messages quote nothing of what was said or by whom.

    Args:
        path: A table of rows with `turns` or of pairs, streamed; or ESConv's JSON, one of the hub's files included.
        categories: The categories of the scheme in use.
        report: Takes the counts.
        source: What rows with `turns` are.

    Raises:
        DataError: The file can't be read, or a row can't be used.
    """
    if _has_own_rows(path):
        yield from iterate_dialogues(path, source, categories, report)
        return
    try:
        dialogues, found = read_esconv(path, quote=False)
    except DataError as error:
        hint = "give dialogues: rows with 'turns' (JSON Lines, Parquet), or ESConv's JSON"
        raise DataError([*error.problems, f"{path}: {hint}"]) from None
    report.rows, report.dropped, report.counts = found.rows, found.dropped, found.counts
    yield from dialogues
