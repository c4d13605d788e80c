"""Anyone's own table of pairs: CSV, TSV, JSON Lines or Parquet; levels and rationales optional."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from datamodules.records import MECHANISMS, Pair, Source, Span, content_id, pair_problems
from datamodules.sources.cells import CellError, parse_level, parse_name, parse_object, parse_rationales, parse_text
from datamodules.sources.formats import RawRow, column_names, raw_rows
from datamodules.sources.placing import place_all
from datamodules.sources.report import SourceReport, sha256_of
from errors import DataError, UserError

__all__ = ["Columns", "check_table", "read_rows", "read_table"]

_POSTS = ("seeker_post", "response_post")
_NAMES = ("id", "group", "generator")
_IDENTIFIER = re.compile(r"[^\W\d][\w.-]{0,39}")
_Parsed = TypeVar("_Parsed")


@dataclass
class Columns:
    """Names of the columns in a table. Those named otherwise than by default must be there.

    Args:
        id: What names the row; without it a hash of the two texts does.
        group: What must not be split between training and evaluation (a person, a session); without it the seeker
            post decides.
        generator: What wrote a synthetic row; without it the file's name does, less its ending.
        seeker_post: What the person in need wrote.
        response_post: The reply.
        levels: Mechanism -> column with its level 0, 1 or 2; a mechanism's own name where none is given. Levels may
            also stand together in a column `levels`: an object in JSON Lines, a struct or map in Parquet, JSON in CSV.
        rationales: Mechanism -> column with its rationales: a list of [start, end] character offsets into the response
            (end exclusive), or pieces of its text, listed or joined by `|`; `<mechanism>_rationales` where none is
            given. They may also stand together in a column `rationales`.
    """

    id: str = "id"
    group: str = "group"
    generator: str = "generator"
    seeker_post: str = "seeker_post"
    response_post: str = "response_post"
    levels: dict[str, str] | None = None
    rationales: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no mechanism."""
        for option, names in (("levels", self.levels), ("rationales", self.rationales)):
            for mechanism in names or {}:
                if mechanism not in MECHANISMS:
                    raise UserError(f"columns.{option}: '{mechanism}' is not one of {', '.join(MECHANISMS)}")

    @property
    def level_columns(self) -> dict[str, str]:
        """Mechanism -> its level's column."""
        return {mechanism: mechanism for mechanism in MECHANISMS} | (self.levels or {})

    @property
    def rationale_columns(self) -> dict[str, str]:
        """Mechanism -> its rationales' column."""
        return {mechanism: f"{mechanism}_rationales" for mechanism in MECHANISMS} | (self.rationales or {})

    @property
    def posts(self) -> list[str]:
        """The two columns of text."""
        return [self.seeker_post, self.response_post]

    @property
    def chosen(self) -> list[str]:
        """The other columns that the user named."""
        names = [name for field in _NAMES if (name := getattr(self, field)) != field]
        return [*names, *(self.levels or {}).values(), *(self.rationales or {}).values()]

    @property
    def wanted(self) -> set[str]:
        """All the columns that are looked at."""
        mechanisms = {*self.level_columns.values(), *self.rationale_columns.values()}
        return mechanisms | {*self.posts, self.id, self.group, self.generator, "levels", "rationales"}


def read_rows(path: Path, columns: Columns, source: Source, *, annotations: bool = True) -> Iterator[Pair]:
    """Stream a table of any size in constant memory, in its order; ids and texts may repeat.

    Args:
        path: A `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet` file.
        columns: Its columns' names.
        source: What the rows are; messages about `clinical` ones quote no value.
        annotations: Whether levels and rationales are read; otherwise their columns may hold anything.

    Returns:
        The rows. The file and its header are checked before it returns; a row that can't be used raises when it is
        reached, so `check_table` first where the work on the rows is long.

    Raises:
        DataError: The file or a row can't be used.
    """
    parser = _Parser(path, columns, source, annotations=annotations)

    def stream() -> Iterator[Pair]:
        for pair in parser.pairs():
            if pair is None:
                break
            yield pair
        parser.finish()

    return stream()


def check_table(path: Path, columns: Columns, source: Source, *, annotations: bool = True) -> int:
    """Go through a table of any size in constant memory.

    Args:
        path: As in `read_rows`, like the other arguments.
        columns: Its columns' names.
        source: What the rows are.
        annotations: Whether levels and rationales are read; otherwise their columns may hold anything.

    Returns:
        The number of its rows; `read_rows` can read all of them.

    Raises:
        DataError: With all that is wrong, each problem with file and row.
    """
    parser = _Parser(path, columns, source, annotations=annotations)
    for _ in parser.pairs():
        pass
    parser.finish()
    return parser.report.rows


def read_table(path: Path, columns: Columns, source: Source) -> tuple[list[Pair], SourceReport]:
    """Read a whole table.

    Rows of the same two texts (and generator) are one pair: the first is kept. The others are counted as `duplicate`
    where their annotation is the same, else as `conflicting_duplicate`. Other rows must not share an id.

    Args:
        path: A `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet` file.
        columns: Its columns' names.
        source: What the rows are; messages about `clinical` ones quote no value.

    Returns:
        The rows in the file's order, and what was found in it.

    Raises:
        DataError: With all that is wrong, each problem with file and row.
    """
    parser = _Parser(path, columns, source)
    report = parser.report
    pairs: list[Pair] = []
    by_text: dict[tuple[str, str, str], Pair] = {}
    by_id: dict[tuple[str, str], int] = {}
    for pair in parser.pairs():
        if pair is None:
            continue
        first = by_text.setdefault((pair.generator, pair.seeker_post, pair.response_post), pair)
        if first is not pair:
            same = (first.levels, first.rationales) == (pair.levels, pair.rationales)
            report.drop("duplicate" if same else "conflicting_duplicate")
            continue
        row = by_id.setdefault((pair.generator, pair.id), report.rows)
        if row != report.rows:
            shown = f"{pair.id!r:.40}" if parser.quote else "its value"
            parser.note(f"column '{columns.id}': {shown} is the id of row {row} too; give each row its own")
        pairs.append(pair)
    parser.finish()
    report.sha256 = sha256_of(path)
    return pairs, report


class _Parser:
    """A table's rows -> pairs, with the problems met on the way."""

    def __init__(self, path: Path, columns: Columns, source: Source, *, annotations: bool = True) -> None:
        self.path, self.columns, self.source, self.annotations = path, columns, source, annotations
        self.quote = source != "clinical"
        self.report = SourceReport(str(path), "")
        self.problems: list[str] = []
        self._row = RawRow(0)
        self._unseen = set(columns.chosen)  # columns that no row has had yet
        names = column_names(path)
        if names is not None and (missing := [name for name in columns.posts + columns.chosen if name not in names]):
            raise DataError([f"{path}: {self._no_column(missing, names)}"])

    def pairs(self) -> Iterator[Pair | None]:
        """The rows in turn; None for one that can't be used."""
        try:
            for row in raw_rows(self.path, self.columns.wanted):
                self._row = row
                self.report.rows = row.number
                self._unseen.difference_update(row.cells)
                found = len(self.problems)
                pair = self._pair(row)
                yield pair if len(self.problems) == found else None
        except DataError as error:
            self.problems += error.problems

    def finish(self) -> None:
        """Raise what was met."""
        if not self.problems and not self.report.rows:
            self.problems.append(f"{self.path}: the file has no rows")
        if not self.problems and self._unseen:
            names = ", ".join(map(repr, sorted(self._unseen)))
            self.problems.append(f"{self.path}: no row has a column {names}; correct the name in the config")
        if self.problems:
            raise DataError(self.problems)

    def note(self, problem: str) -> None:
        """Keep a problem of the row in hand."""
        self.problems.append(f"{self._row.where(self.path)}: {problem}")

    def _pair(self, row: RawRow) -> Pair | None:
        if row.problem:
            self.note(row.problem)
            return None
        cells, names = row.cells, self.columns
        if missing := [name for name in names.posts if name not in cells]:
            self.note(self._no_column(missing, list(cells)))
            return None
        seeker, response = (self._cell(cells, getattr(names, field), parse_text) for field in _POSTS)
        id_, group, generator = (self._cell(cells, getattr(names, field), parse_name) for field in _NAMES)
        levels = self._levels(cells) if self.annotations else {}
        if seeker is None or response is None:
            return None
        pair = Pair(
            id=id_ or content_id(seeker, response),
            source=self.source,
            seeker_post=seeker,
            response_post=response,
            group=group or "",
            generator=(generator or self.path.stem) if self.source == "synthetic" else "",
            levels=levels,
            rationales=self._rationales(cells, response) if self.annotations else {},
        )
        for problem in pair_problems(pair, quote=self.quote):
            self.note(self._with_column_name(problem))
        return pair

    def _cell(self, cells: dict[str, Any], column: str, parse: Callable[[Any], _Parsed]) -> _Parsed | None:
        try:
            return parse(cells.get(column))
        except CellError as error:
            self.note(f"column '{column}' {error}")
            return None

    def _levels(self, cells: dict[str, Any]) -> dict[str, Any]:
        together = self._cell(cells, "levels", parse_object) or {}
        apart = {mechanism: cells.get(name) for mechanism, name in self.columns.level_columns.items()}
        given = [(mechanism, parse_level(cell)) for mechanism, cell in (*together.items(), *apart.items())]
        return {mechanism: level for mechanism, level in given if level is not None}

    def _rationales(self, cells: dict[str, Any], response: str) -> dict[str, list[Span]]:
        together = self._cell(cells, "rationales", parse_object) or {}
        given = [("rationales", mechanism, cell) for mechanism, cell in together.items()]
        given += [(name, mechanism, cells.get(name)) for mechanism, name in self.columns.rationale_columns.items()]
        rationales: dict[str, list[Span]] = {}
        for column, mechanism, cell in given:
            if mechanism not in MECHANISMS:
                self.note(f"column 'rationales': a key is no mechanism; the mechanisms are {', '.join(MECHANISMS)}")
                continue
            try:
                spans, pieces = parse_rationales(cell)
            except CellError as error:
                self.note(f"column '{column}', rationales of '{mechanism}': {error}")
                continue
            placed, outcomes = place_all(pieces, response)
            self.report.add_rationales(mechanism, ["offsets"] * len(spans) + outcomes)
            if spans or placed:
                rationales[mechanism] = sorted({*spans, *placed})
        return rationales

    def _with_column_name(self, problem: str) -> str:
        """`pair_problems` names a row's fields; who made the table knows its columns."""
        columns = (*self.columns.posts, *self.columns.level_columns.values())
        for field, name in zip((*_POSTS, *MECHANISMS), columns, strict=True):
            if problem.startswith(prefix := f"column '{field}'"):
                return f"column '{name}'{problem.removeprefix(prefix)}"
        return problem

    def _no_column(self, missing: Sequence[str], names: Sequence[str]) -> str:
        """Names the columns there are; of a clinical table's not those that look like text: it may lack its header."""
        there = "its columns are " + (", ".join(f"'{name:.60}'" for name in names[:30]) or "none")
        if not self.quote and not all(map(_IDENTIFIER.fullmatch, names)):
            there = f"it has {len(names)} columns, not shown: without a header they would be a row"
        return f"no column {', '.join(map(repr, missing))}; {there}; name yours by the options for columns"
