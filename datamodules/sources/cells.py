"""What a cell of a table says, whether CSV wrote it as text, JSON as a value or Parquet as a nested one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from datamodules.records import SOURCES, Source, Span

__all__ = [
    "PROMPT_SOURCES",
    "CellError",
    "parse_level",
    "parse_name",
    "parse_object",
    "parse_rationales",
    "parse_text",
    "row_source",
    "source_of",
]

PROMPT_SOURCES = "prompt_sources"
"""Optional field of a synthetic row: the sources of the rows that its prompts held, such as ["clinical"]."""

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,9}(\.0*)?\s*")


class CellError(ValueError):
    """A cell that can't be used. The message is a phrase that quotes nothing of it."""


def parse_text(cell: Any) -> str:
    """A cell of text; empty where there is none.

    Raises:
        CellError: It is no text, or text that can't be written.
    """
    if _is_missing(cell):
        return ""
    if not isinstance(cell, str):
        raise CellError(f"is of type {type(cell).__name__}, not text")
    if any("\ud800" <= char <= "\udfff" for char in cell):
        raise CellError("has half of a surrogate pair (a broken character); write the text anew")
    return cell


def source_of(said: Any, otherwise: Source = "clinical") -> Source:
    """Where a row comes from: `otherwise` where it doesn't say, clinical where what it says isn't understood."""
    if _is_missing(said) or said == "":
        return otherwise
    return next((source for source in SOURCES if source == said), "clinical")


def row_source(cells: Mapping[str, Any], otherwise: Source) -> Source:
    """Where a row's words come from: see `source_of`; clinical as well where its prompts held clinical rows."""
    made_from = cells.get(PROMPT_SOURCES)
    return "clinical" if "clinical" in str(made_from) else source_of(cells.get("source"), otherwise)


def parse_name(cell: Any) -> str:
    """A cell that names something (an id, a group): text, or a number as a table program writes it.

    Returns:
        The name, 17.0 as "17"; empty where there is none.

    Raises:
        CellError: It is neither, or has a NUL byte.
    """
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, float) and not _is_missing(cell):
        return str(int(cell)) if cell.is_integer() else str(cell)
    name = parse_text(cell)
    if "\0" in name:
        raise CellError("has a NUL byte; the file is damaged or is not text")
    return name if name.strip() else ""


def parse_level(cell: Any) -> Any:
    """A level; pandas' 2.0 and "2" included.

    Returns:
        An int; None where the cell says "not annotated" (empty, null, NaN); what is neither, as it is.
    """
    if _is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in ("", "nan", "null")):
        return None
    if isinstance(cell, str) and _WHOLE_NUMBER.fullmatch(cell):
        return int(cell.split(".")[0])
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    return cell


def parse_object(cell: Any) -> dict[str, Any]:
    """An object: JSON's, a Parquet struct or map, or JSON text; without its empty fields.

    Raises:
        CellError: It is something else.
    """
    try:
        if isinstance(cell, str):
            cell = json.loads(cell) if cell.strip() else None
        elif isinstance(cell, list):  # pyarrow gives a map as a list of keys and values
            cell = dict(cell)
    except (ValueError, TypeError, RecursionError):
        cell = ""
    if _is_missing(cell):
        return {}
    if not isinstance(cell, dict):
        raise CellError("is not an object with mechanisms as keys")
    return {key: value for key, value in cell.items() if value is not None}


def parse_rationales(cell: Any) -> tuple[list[Span], list[str]]:
    """The rationales of a mechanism: a list (JSON text in CSV), or pieces of text joined by `|`.

    Returns:
        Those that are given as offsets, and those that are given as pieces of text.

    Raises:
        CellError: It is neither.
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = _parse_list(cell)
    if _is_missing(cell):
        return [], []
    if isinstance(cell, str):
        return [], [parse_text(piece) for piece in cell.split("|")]
    if not isinstance(cell, list):
        raise CellError("neither a list of [start, end] offsets nor pieces of text joined by '|'")
    spans, pieces = [], []
    for item in cell:
        if isinstance(item, str):
            pieces.append(parse_text(item))
        else:
            spans.append(_parse_span(item))
    return spans, pieces


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell)


def _parse_list(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        if cell.lstrip().startswith("[["):
            raise CellError("begins as a list of offsets and is not whole JSON") from None
        return cell  # a piece of text may begin with a bracket


def _parse_span(item: Any) -> Span:
    ends = [parse_level(end) for end in item] if isinstance(item, list) else []
    if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int) for end in ends):
        raise CellError("an item is neither a pair [start, end] of whole numbers nor a piece of text")
    return ends[0], ends[1]
