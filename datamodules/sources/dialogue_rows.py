"""Anyone's own dialogues: rows with `turns` in JSON Lines or Parquet, or a table of pairs as dialogues of two turns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from datamodules.dialogues import STRATEGIES, Dialogue, Turn, canonical_strategy, from_pair, turn_problems
from datamodules.records import Source
from datamodules.sources.cells import CellError, parse_level, parse_name, parse_object, parse_text
from datamodules.sources.formats import RawRow, raw_rows
from datamodules.sources.report import SourceReport, sha256_of
from datamodules.sources.table import Columns, read_table
from errors import DataError

__all__ = ["has_turns", "iterate_dialogues", "read_dialogues"]


def has_turns(path: Path) -> bool:
    """Whether the first row of a table has `turns`.

    Raises:
        DataError: The file can't be read.
    """
    return any("turns" in row.cells for row, _ in zip(raw_rows(path), range(1), strict=False))


def read_dialogues(path: Path, source: Source, categories: Collection[str] = ()) -> tuple[list[Dialogue], SourceReport]:
    """Reads a whole table of dialogues or of pairs.

    Args:
        path: A `.jsonl`, `.ndjson` or `.parquet` file of rows with `turns`, or any table of pairs.
        source: What the rows are; messages about `clinical` ones quote no value.
        categories: Names that a turn's `strategy` may have besides ESConv's: the categories of the scheme in use.

    Returns:
        The dialogues in the file's order and what was found in it. An id that is not given is the row's number,
        counted from 0.

    Raises:
        DataError: With all that is wrong, each problem with file, row and turn.
    """
    if not has_turns(path):
        pairs, report = read_table(path, Columns(), source)
        return [from_pair(pair) for pair in pairs], report
    report = SourceReport(str(path), sha256_of(path))
    dialogues = list(iterate_dialogues(path, source, categories, report))
    uids: set[str] = set()
    twice = [dialogue.id for dialogue in dialogues if dialogue.uid in uids or uids.add(dialogue.uid)]  # type: ignore[func-returns-value]
    if twice:
        shown = ", ".join(twice[:5]) if source != "clinical" else "not shown"
        raise DataError([f"{path}: {len(twice)} rows have the id of an earlier one ({shown}); give each row its own"])
    return dialogues, report


def iterate_dialogues(
    path: Path, source: Source, categories: Collection[str] = (), report: SourceReport | None = None
) -> Iterator[Dialogue]:
    """Streams rows with `turns` in constant memory; ids may repeat.

    Args:
        path: A `.jsonl`, `.ndjson` or `.parquet` file.
        source: See `read_dialogues`.
        categories: See `read_dialogues`.
        report: Takes the counts.

    Raises:
        DataError: After the last row, with all that is wrong; rows that can't be used are left out.
    """
    parser = _Parser(path, source, categories, report or SourceReport(str(path), ""))
    for row in raw_rows(path):
        if dialogue := parser.dialogue(row):
            yield dialogue
    parser.finish()


class _Parser:
    """Rows -> dialogues, with what was met on the way."""

    def __init__(self, path: Path, source: Source, categories: Collection[str], report: SourceReport) -> None:
        self.path, self.source, self.categories, self.report = path, source, categories, report
        self.quote = source != "clinical"
        self.problems: list[str] = []

    def dialogue(self, row: RawRow) -> Dialogue | None:
        """The dialogue of a row; None where it can't be used or is empty."""
        self.report.rows += 1
        where = row.where(self.path)
        found = len(self.problems)
        given = row.cells.get("turns")
        if row.problem or not isinstance(given, list):
            self.problems.append(f"{where}: {row.problem or 'no list of turns in turns'}")
            return None
        try:
            id_, group, generator = (parse_name(row.cells.get(key)) for key in ("id", "group", "generator"))
        except CellError as error:
            self.problems.append(f"{where}: column 'id', 'group' or 'generator' {error}")
            return None
        turns = [turn for place, fields in enumerate(given) if (turn := self._turn(where, place, fields))]
        if len(self.problems) > found:
            return None
        if not turns:
            self.report.drop("empty_dialogue")
            return None
        generator = (generator or self.path.stem) if self.source == "synthetic" else ""
        return Dialogue(id_ or str(row.number - 1), self.source, turns, group, generator)

    def finish(self) -> None:
        """Raises what was met."""
        if not self.problems and not self.report.rows:
            self.problems.append(f"{self.path}: the file has no rows")
        if self.problems:
            raise DataError(self.problems)

    def _turn(self, where: str, place: int, fields: Any) -> Turn | None:
        if not isinstance(fields, dict):
            self.problems.append(f"{where}, turn {place}: not an object with 'speaker' and 'text'")
            return None
        self.report.count("turns")
        try:
            text, strategy = parse_text(fields.get("text")), parse_text(fields.get("strategy"))
            levels = {name: parse_level(level) for name, level in parse_object(fields.get("levels")).items()}
        except CellError as error:
            self.problems.append(f"{where}, turn {place}: 'text', 'strategy' or 'levels' {error}")
            return None
        turn = Turn(fields.get("speaker"), text.strip(), levels=levels, place=place)  # type: ignore[arg-type]
        problems = turn_problems(turn, quote=self.quote)
        if strategy:
            turn.strategy = strategy if strategy in self.categories else canonical_strategy(strategy) or ""
            if not turn.strategy:
                shown = f"{strategy!r:.60}" if self.quote else "its value"
                names = dict.fromkeys((*STRATEGIES, *self.categories))
                problems.append(f"field 'strategy': {shown} is unknown; known are {', '.join(names)}")
        self.problems += [f"{where}, turn {place}: {problem}" for problem in problems]
        if not turn.text:
            self.report.count("empty_turns")
            return None
        return turn
