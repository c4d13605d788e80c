"""Annotation in tables: a sheet for each annotator, and any table with columns `id`, `annotator` and a mechanism's."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datamodules.files import replacing_path
from datamodules.records import MECHANISMS, Span
from datamodules.sources.cells import CellError, parse_name, parse_object, parse_rationales, parse_text
from datamodules.sources.formats import RawRow, column_names, raw_rows
from datamodules.sources.placing import place_all
from errors import DataError
from experiments.annotation.annotations import Annotation, Collected, Task, level_of
from experiments.annotation.guidelines import Questions

__all__ = ["read_table", "sheet_rows", "write_csv", "write_sheet"]

_Parsed = TypeVar("_Parsed")


def sheet_rows(tasks: Sequence[Task], questions: Questions) -> list[dict[str, Any]]:
    """The rows of an annotator's sheet: the two posts, what a model suggests, and empty cells to fill in.

    Args:
        tasks: The tasks.
        questions: What is asked.

    Returns:
        Column -> cell a task; the same columns in each. Rationales are written as pieces of the response joined by `|`.
    """
    suggesting = any(task.suggestion for task in tasks)
    rows = []
    for task in tasks:
        row: dict[str, Any] = {"id": task.id, "stage": task.stage, "annotator": task.annotator}
        row |= {"seeker_post": task.pair.seeker_post, "response_post": task.pair.response_post}
        for mechanism in questions.mechanisms:
            if suggesting:
                suggested = task.suggestion.levels.get(mechanism) if task.suggestion else None
                row[f"suggested_{mechanism}"] = suggested
            row[mechanism] = None
            if questions.rationales:
                row[f"{mechanism}_rationales"] = None
        if questions.strategies:
            row["strategy"] = None
        rows.append({**row, "comment": None})
    return rows


def write_sheet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a sheet as CSV or JSON Lines, by the file's name."""
    if path.suffix == ".csv":
        write_csv(path, list(rows[0]), rows)
        return
    with replacing_path(path) as part:
        part.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows for a spreadsheet program.

    Cells that a row lacks stay empty. UTF-8 with the mark by which Excel knows it. A post that a spreadsheet would run
    as a formula gets an apostrophe.
    """
    with replacing_path(path) as part, part.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({name: _harmless(name, cell) for name, cell in row.items()} for row in rows)


def _harmless(column: str, cell: Any) -> Any:
    formula = column.endswith("_post") and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if formula else cell


def read_table(path: Path, collected: Collected, *, texts: Mapping[str, str] | None) -> None:
    """Read a table of annotations: CSV, TSV, JSON Lines or Parquet, a row an annotator and row annotated.

    Columns: `id`, `annotator`, one or more mechanisms (or `levels`, an object) and `strategy`; `<mechanism>_rationales`
    (or `rationales`, an object), `comment`, `stage`, `group`, `dataset` and `response_post` where there are any.

    Args:
        path: The file.
        collected: Where annotations, problems and counts go.
        texts: Row id -> response of the rows of the study; None: any row, with the text that the table has.
    """
    try:
        names = column_names(path)
        if names is not None and (missing := _missing(names)):
            raise DataError([f"{path}: {missing}"])
        for row in raw_rows(path):
            _Row(row, path, collected).read(texts)
    except DataError as error:
        collected.problems += error.problems


def _missing(names: Iterable[str]) -> str:
    """What a table lacks to be one of annotations; empty where it lacks nothing."""
    names = set(names)
    lacking = [f"no column '{name}'" for name in ("id", "annotator") if name not in names]
    if not names & {*MECHANISMS, "levels", "strategy"}:
        lacking.append(f"none of the columns {', '.join(MECHANISMS)}, strategy")
    return "; ".join(lacking) + "; rename yours" if lacking else ""


class _Row:
    """A row of a table, and where its problems go."""

    def __init__(self, row: RawRow, path: Path, collected: Collected) -> None:
        self.row, self.cells, self.collected = row, row.cells, collected
        self.where = row.where(path)
        self.sound = True

    def read(self, texts: Mapping[str, str] | None) -> None:
        """Keep the row's annotation, or note why not."""
        if self.row.problem or (missing := _missing(self.cells)):
            self._note(self.row.problem or missing)
            return
        annotation = Annotation(
            id=self._cell("id", parse_name) or "", annotator=self._cell("annotator", parse_name) or "", where=self.where
        )
        for name in ("stage", "group", "dataset", "updated"):
            setattr(annotation, name, self._cell(name, parse_name) or "")
        for name in ("comment", "strategy"):
            setattr(annotation, name, (self._cell(name, parse_text) or "").strip())
        self._levels(annotation)
        for name in ("id", "annotator"):
            if not getattr(annotation, name):
                self._note(f"column '{name}' is empty; fill it in")
        if texts is not None and annotation.id not in texts:
            self._note("column 'id': not a row of the study; take the ids from the study's sheets")
        own = (self._cell("response_post", parse_text) or "") if texts is None else texts.get(annotation.id, "")
        annotation.response_post = own
        self._rationales(annotation)
        if self.sound:
            self.collected.annotations.append(annotation)

    def _note(self, problem: str) -> None:
        self.sound = False
        self.collected.problems.append(f"{self.where}: {problem}")

    def _cell(self, column: str, parse: Callable[[Any], _Parsed]) -> _Parsed | None:
        try:
            return parse(self.cells.get(column))
        except CellError as error:
            self._note(f"column '{column}' {error}")
            return None

    def _levels(self, annotation: Annotation) -> None:
        together = self._cell("levels", parse_object) or {}
        for mechanism in MECHANISMS:
            answer = self.cells.get(mechanism)
            try:
                level = level_of(together.get(mechanism) if answer is None else answer)
            except ValueError as error:
                self._note(f"column '{mechanism}': {error}")
                continue
            if level is not None:
                annotation.levels[mechanism] = level

    def _rationales(self, annotation: Annotation) -> None:
        together = self._cell("rationales", parse_object) or {}
        for mechanism in MECHANISMS:
            column = f"{mechanism}_rationales"
            given = self.cells.get(column)
            try:
                spans, pieces = parse_rationales(together.get(mechanism) if given is None else given)
            except CellError as error:
                self._note(f"column '{column}' {error}")
                continue
            text = annotation.response_post
            if any(not 0 <= start < end <= len(text) for start, end in spans) and text:
                self._note(f"column '{column}': a span does not lie within the response (0 <= start < end <= length)")
                continue
            placed, outcomes = place_all(pieces, text)
            lost = outcomes.count("unplaced") + (0 if text else len(spans))
            if lost:
                self.collected.counts["rationales that could not be placed"] += lost
            kept: set[Span] = {*placed, *(spans if text else ())}
            if kept:
                annotation.rationales[mechanism] = sorted(kept)
