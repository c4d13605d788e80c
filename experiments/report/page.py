"""The report as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import base64
import re
from html import escape
from itertools import pairwise
from pathlib import Path

from experiments.report.document import Answer, Block, Details, Document, Example, Examples, Picture, Section
from pages import Table, frame, links, terms

__all__ = ["render"]

_NUMBER = re.compile(r"[<+−-]?[\d.,]+( %)?|–| ")


def render(document: Document) -> str:
    """The page, ready to be written to a file."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    answers = "".join(map(_answer, document.answers))
    caveats = "".join(f'<p class="caveat">{escape(caveat)}</p>' for caveat in document.caveats)
    parts = "".join(_section(part, f"part{i}") for i, part in enumerate(document.sections))
    body = (
        f"<h1>{escape(document.title)}</h1>{caveats}{terms(document.facts.items())}"
        f'<section class="answer" aria-label="The answer"><h2>The answer</h2>{answers}</section>'
        f'<nav aria-label="Parts">{links(part.title for part in document.sections)}</nav>{parts}'
    )
    return frame(document.title, style, body, images=True)


def _answer(answer: Answer) -> str:
    details = "".join(f"<li>{escape(detail)}</li>" for detail in answer.details)
    return f"<p><strong>{escape(answer.head)}</strong></p>" + (f"<ul>{details}</ul>" if details else "")


def _section(section: Section, anchor: str) -> str:
    text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in section.text)
    blocks = "".join(map(_block, section.blocks))
    return f'<section id="{anchor}"><h2>{escape(section.title)}</h2>{text}{blocks}</section>'


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Picture):
        return _picture(block)
    if isinstance(block, Examples):
        body = "".join(map(_example, block.examples))
        return f'<h3>{escape(block.title)}</h3><p class="note">{escape(block.note)}</p>{body}'
    assert isinstance(block, Details)
    text = f'<pre tabindex="0">{escape(block.text)}</pre>'
    return f"<details><summary>{escape(block.title)}</summary>{text}</details>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.svg).decode()
    return (
        f'<h3>{escape(picture.title)}</h3><figure><div class="scroll" tabindex="0">'
        f'<img alt="{escape(picture.alt)}" src="data:image/svg+xml;base64,{data}"></div>'
        f"<figcaption>{escape(picture.note)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    cells = table.texts
    style = [
        ' class="n"' if column and all(_NUMBER.match(row[column] or " ") for row in cells) else ""
        for column in range(len(table.columns))
    ]
    head = "".join(f'<th scope="col"{style[i]}>{escape(name)}</th>' for i, name in enumerate(table.columns))
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{style[i]}>{_cell(cell)}</td>" for i, cell in enumerate(row) if i)
        + "</tr>"
        for row in cells
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _cell(cell: str) -> str:
    """A cell whose interval may go to the next line as a whole."""
    return re.sub(r" (\([^()]* to [^()]*\))", r' <span class="i">\1</span>', escape(cell))


def _example(example: Example) -> str:
    edges = sorted({0, len(example.response), *(end for span in (*example.gold, *example.predicted) for end in span)})
    pieces = []
    for start, end in pairwise(edges):
        kinds = [
            name
            for name, spans in (("gold", example.gold), ("said", example.predicted))
            if any(low <= start and end <= high for low, high in spans)
        ]
        text = escape(example.response[start:end])
        pieces.append(f'<mark class="{" ".join(kinds)}">{text}</mark>' if kinds else text)
    seeker = f'<p class="seeker">{escape(example.seeker)}</p>' if example.seeker else ""
    return (
        f'<article class="example"><p class="note">{escape(example.head)}</p>{seeker}<p>{"".join(pieces)}</p></article>'
    )
