"""CSV, TSV, JSON Lines and Parquet as numbered rows of cells, one row in memory at a time.

No message here quotes what a file holds, so it can be shown for any source.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import DataError

__all__ = ["SUFFIXES", "RawRow", "column_names", "raw_rows"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

_LONGEST_CELL = 1 << 24
"""Characters; a quote left open would otherwise read the rest of a file of any size into memory."""


@dataclass(slots=True)
class RawRow:
    """One row as the file has it.

    Args:
        number: Counted from 1, without the header and blank lines.
        cells: Column name -> value: text in CSV, JSON's types in JSON Lines, Python's in Parquet.
        line: The line on which it begins, counted from 1; 0 in Parquet.
        problem: Why the row can't be read; empty where it can. The rows after it are still good.
    """

    number: int
    cells: dict[str, Any] = field(default_factory=dict)
    line: int = 0
    problem: str = ""

    def where(self, path: Path) -> str:
        """File and row, and the line where it is another number."""
        return f"{path}, row {self.number}" + (f" (line {self.line})" if self.line not in (0, self.number) else "")


def column_names(path: Path) -> list[str] | None:
    """The columns of a table.

    Returns:
        Their names in the file's order; None for JSON Lines, where each row has its own.

    Raises:
        DataError: There is no such file, it is a folder, empty or damaged, or its suffix or its header is not usable.
    """
    _check_file(path)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return None
    if suffix == ".parquet":
        names: list[str] = _open_parquet(path).schema_arrow.names
    else:
        names = next((cells for _, cells in _csv_records(path)), [])
    if any("\0" in name for name in names):
        raise DataError([f"{path}: the header has NUL bytes; the file is damaged or not UTF-8 text: save it as UTF-8"])
    if twice := [str(i) for i, name in enumerate(names, 1) if names.count(name) > 1]:
        raise DataError([f"{path}: columns {', '.join(twice)} (counted from 1) share names; rename them"])
    return names


def raw_rows(path: Path, columns: Collection[str] | None = None) -> Iterator[RawRow]:
    """Read a table row by row in constant memory.

    Args:
        path: A file with one of `SUFFIXES`.
        columns: The columns wanted; others may be left out of the rows (Parquet doesn't read them at all).

    Raises:
        DataError: The file can't be read (on): a quote is left open, the encoding is wrong, Parquet is damaged, ...
    """
    names = column_names(path)
    if names is None:
        yield from _jsonl_rows(path)
    elif path.suffix.lower() == ".parquet":
        yield from _parquet_rows(path, [name for name in names if columns is None or name in columns])
    else:
        yield from _csv_rows(path, names)


def _check_file(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        problem = f"unknown kind of file; the name must end in one of {', '.join(SUFFIXES)}"
    elif path.is_dir():
        problem = "is a folder; name a file in it"
    elif not path.exists():
        problem = "no such file; check the path"
    elif not path.is_file():
        problem = "is not a regular file; save its content as one"
    elif path.stat().st_size == 0:
        problem = "the file is empty; make it anew"
    else:
        return
    raise DataError([f"{path}: {problem}"])


def _lines(path: Path) -> Iterator[str]:
    """The lines with their ends. Split before they are decoded, so that a wrong byte's line is known."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = _decode(line)
            if text is None:
                raise DataError([f"{path}, line {number}: not UTF-8 text; save the file with the encoding UTF-8"])
            yield text.removeprefix("\ufeff") if number == 1 else text


def _decode(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, with the lines on which they begin."""
    csv.field_size_limit(max(_LONGEST_CELL, csv.field_size_limit()))
    reader = csv.reader(_lines(path), delimiter=_separator(path), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                [
                    f"{path}, line {line}: the record that begins here can't be read ({error}): a quote left open, a "
                    "stray quote or a truncated file; close the quote (a quote within quotes is doubled) or write the "
                    "file anew"
                ]
            ) from None
        if cells:
            yield line, cells


def _separator(path: Path) -> str:
    """What stands between a file's cells: a semicolon or tab only where the header has no comma outside quotes."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = next((line for line in _lines(path) if line.strip()), "")
    unquoted = re.sub(r'"[^"]*("|$)', "", header)
    return max(",;\t", key=unquoted.count) if "," not in unquoted else ","


def _csv_rows(path: Path, names: list[str]) -> Iterator[RawRow]:
    records = _csv_records(path)
    next(records, None)  # the header
    for number, (line, cells) in enumerate(records, 1):
        if len(cells) == len(names):
            yield RawRow(number, dict(zip(names, cells, strict=True)), line)
        else:
            problem = (
                f"{len(cells)} cells where the header names {len(names)}; the row is cut off or a cell with a "
                "delimiter or a line break is not quoted"
            )
            yield RawRow(number, line=line, problem=problem)


def _jsonl_rows(path: Path) -> Iterator[RawRow]:
    number = 0
    for line, text in enumerate(_lines(path), 1):
        if not text.strip():
            continue
        number += 1
        try:
            cells = json.loads(text)
            problem = "" if isinstance(cells, dict) else "not a JSON object; each line must hold one"
        except json.JSONDecodeError as error:
            what = f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
            what = "a NUL byte" if "\0" in text else what
            problem = f"not JSON ({what}); each line must hold one whole object"
        except (RecursionError, ValueError):
            problem = "not usable JSON: nested too deep, or a number of too many digits"
        yield RawRow(number, {} if problem else cells, line, problem)


def _open_parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        # as its defaults are, pyarrow holds whole row groups in memory, and many files are a single one
        return pyarrow.parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False)
    except (pyarrow.ArrowException, OSError):
        raise DataError([f"{path}: not a whole Parquet file; write it anew"]) from None


def _parquet_rows(path: Path, names: list[str]) -> Iterator[RawRow]:
    import pyarrow

    number = 0
    with _open_parquet(path) as file:
        batches = file.iter_batches(batch_size=512, columns=names)
        while True:
            try:
                rows = next(batches).to_pylist()
            except StopIteration:
                return
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError):
                problem = "can't be read: the file is damaged or text in it is not UTF-8; write it anew"
                raise DataError([f"{path}, row {number + 1} or one of the 511 after it: {problem}"]) from None
            for cells in rows:
                number += 1
                yield RawRow(number, cells, 0)
