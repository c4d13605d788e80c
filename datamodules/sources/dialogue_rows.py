"""Anyone's own dialogues: rows with `turns` in JSON Lines or Parquet, or pairs as dialogues of two turns.

Synthesis writes a row for each exchange of a longer dialogue, every one with all of its `turns`. Rows of the same
generator, group and turns are one dialogue, whose turns have the levels of all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from datamodules.dialogues import STRATEGIES, Dialogue, Turn, canonical_strategy, from_pair, turn_problems
from datamodules.records import MECHANISMS, Source
from datamodules.sources.cells import CellError, parse_level, parse_name, parse_object, parse_text, row_source
from datamodules.sources.formats import RawRow, raw_rows
from datamodules.sources.report import SourceReport, sha256_of
from datamodules.sources.table import Columns, read_table
from errors import DataError

__all__ = ["has_turns", "iterate_dialogues", "read_dialogues"]


def has_turns(path: Path) -> bool:
    """Whether a row of a table has `turns`.

    Raises:
        DataError: The file can't be read.
    """
    return any(row.cells.get("turns") is not None for row in raw_rows(path, {"turns"}))


def read_dialogues(path: Path, source: Source, categories: Collection[str] = ()) -> tuple[list[Dialogue], SourceReport]:
    """Reads a whole table of dialogues or of pairs.

    Args:
        path: A `.jsonl`, `.ndjson` or `.parquet` file of rows with `turns`, or any table of pairs; or both mixed.
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
    parser = _Parser(path, source, categories, report)
    dialogues: list[Dialogue] = []
    known: dict[bytes, Dialogue] = {}
    for _, dialogue in parser.rows():
        first = known.setdefault(_identity(dialogue), dialogue) if dialogue.group else dialogue
        if first is dialogue:
            dialogues.append(dialogue)
            continue
        report.count("rows_of_a_dialogue_joined")
        for turn, again in zip(first.turns, dialogue.turns, strict=True):
            turn.levels |= again.levels
    parser.finish()
    uids: set[str] = set()
    twice = []
    for dialogue in dialogues:
        if dialogue.uid in uids:
            twice.append(dialogue.id)
        uids.add(dialogue.uid)
    if twice:
        shown = ", ".join(twice[:5]) if source != "clinical" else "not shown"
        raise DataError([f"{path}: {len(twice)} rows have the id of an earlier one ({shown}); give each row its own"])
    return dialogues, report


def iterate_dialogues(
    path: Path, source: Source, categories: Collection[str] = (), report: SourceReport | None = None
) -> Iterator[Dialogue]:
    """Streams rows; ids may repeat. Of the rows of one dialogue the first counts.

    A row that says it is clinical, or that its prompts held clinical rows, is clinical whatever the file is said to be.

    Args:
        path: A table of rows with `turns` or of pairs.
        source: See `read_dialogues`.
        categories: See `read_dialogues`.
        report: Takes the counts.

    Raises:
        DataError: After the last row, with all that is wrong; rows that can't be used are left out.
    """
    parser = _Parser(path, source, categories, report or SourceReport(str(path), ""))
    seen: set[bytes] = set()
    for row, dialogue in parser.rows():
        if row_source(row.cells, source) == "clinical":
            dialogue.source = "clinical"
        if dialogue.group:
            before = len(seen)
            seen.add(_identity(dialogue))
            if len(seen) == before:
                continue
        yield dialogue
    parser.finish()


def _identity(dialogue: Dialogue) -> bytes:
    """The same for rows of one dialogue; rows without a group are not compared."""
    said = [(turn.speaker, turn.text, turn.strategy) for turn in dialogue.turns]
    return hashlib.sha256(repr((dialogue.generator, dialogue.group, said)).encode()).digest()


class _Parser:
    """Rows -> dialogues, with what was met on the way."""

    def __init__(self, path: Path, source: Source, categories: Collection[str], report: SourceReport) -> None:
        self.path, self.source, self.categories, self.report = path, source, categories, report
        self.quote = source != "clinical"
        self.problems: list[str] = []

    def rows(self) -> Iterator[tuple[RawRow, Dialogue]]:
        """The rows that can be used and aren't empty."""
        for row in raw_rows(self.path):
            if dialogue := self._dialogue(row):
                yield row, dialogue

    def _dialogue(self, row: RawRow) -> Dialogue | None:
        self.report.rows += 1
        where, cells = row.where(self.path), row.cells
        found = len(self.problems)
        given = _turns_of_pair(cells) if cells.get("turns") is None else cells["turns"]
        if row.problem or not isinstance(given, list):
            self.problems.append(f"{where}: {row.problem or 'no list of turns in turns'}")
            return None
        try:
            id_, group, generator = (parse_name(cells.get(key)) for key in ("id", "group", "generator"))
            levels = {name: parse_level(level) for name, level in _levels_of_row(cells).items()}
        except CellError as error:
            self.problems.append(f"{where}: column 'id', 'group', 'generator' or 'levels' {error}")
            return None
        turns = [turn for place, fields in enumerate(given) if (turn := self._turn(where, place, fields))]
        levels = {name: level for name, level in levels.items() if level is not None}
        if levels and turns:
            self._place_levels(where, turns, cells, levels)
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

    def _place_levels(self, where: str, turns: list[Turn], cells: dict[str, Any], levels: dict[str, Any]) -> None:
        """A row's levels are those of its `response_post`, which is one of the turns."""
        said = [str(cells.get(name) or "").strip() for name in ("seeker_post", "response_post")]
        places = [number for number, turn in enumerate(turns) if (turn.speaker, turn.text) == ("supporter", said[1])]
        after = [number for number in places if number and turns[number - 1].text == said[0]]
        if not places:
            self.report.count("levels_of_no_turn")
            return
        turn = turns[(after or places)[0]]
        turn.levels |= levels
        found = turn_problems(Turn(turn.speaker, "", levels=levels), quote=self.quote)
        self.problems += [f"{where}: {problem}" for problem in found]

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


def _turns_of_pair(cells: dict[str, Any]) -> list[dict[str, Any]] | None:
    if not {"seeker_post", "response_post"} <= cells.keys():
        return None
    said = (("seeker", "seeker_post"), ("supporter", "response_post"))
    return [{"speaker": speaker, "text": cells[column]} for speaker, column in said]


def _levels_of_row(cells: dict[str, Any]) -> dict[str, Any]:
    together: dict[str, Any] = parse_object(cells.get("levels"))
    return together | {mechanism: cells[mechanism] for mechanism in MECHANISMS if mechanism in cells}
