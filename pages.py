"""What pages of findings have in common: tables, and the frame of an HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isnan

__all__ = ["Table", "frame", "links", "markdown_table", "terms"]


@dataclass
class Table:
    """A table with a heading.

    Args:
        title: What it shows.
        columns: Column names; the first column names the rows.
        rows: Cells: texts, numbers, estimates.
        note: How to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    @property
    def texts(self) -> list[list[str]]:
        """The cells as text: whole numbers with separators, others with three digits, a dash for what isn't known."""
        return [list(map(_text, row)) for row in self.rows]


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return "–" if isnan(cell) else f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def markdown_table(table: Table, say: Callable[[str], str]) -> list[str]:
    """The lines of a table in Markdown, without its title.

    Args:
        table: The table.
        say: Writes a text so that Markdown takes it for nothing but a cell.
    """
    rows = [table.columns, ["---"] * len(table.columns), *table.texts]
    lines = ["| " + " | ".join(map(say, row)) + " |" for row in rows]
    return [*lines, "", say(table.note)] if table.note else lines


def frame(title: str, style: str, body: str, *, images: bool = False) -> str:
    """An HTML page without script, font or request.

    Args:
        title: The page's title.
        style: CSS.
        body: HTML of all that it shows.
        images: Whether images may be in it, as `data:`.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'" + ("; img-src data:" if images else "")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def terms(named: Iterable[tuple[str, str]]) -> str:
    """A list of names and what is said of each, as HTML."""
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in named)
    return f"<dl>{told}</dl>"


def links(titles: Iterable[str]) -> str:
    """Links to the parts of a page, whose anchors are `part0`, `part1` and so on."""
    return "".join(f'<a href="#part{number}">{escape(title)}</a>' for number, title in enumerate(titles))
