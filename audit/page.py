"""An audit's report as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import re
from html import escape

from audit.report import Check, Figure, Report, Section
from pages import Table, frame, links, terms

__all__ = ["render_page"]

_NUMERIC = re.compile(r"[-–]?[\d,.]*( %)?( \(.*\))?$")
"""A cell that is a number, with its share or its interval where it has one."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d22; --soft: #5c6270; --line: #d9dce3; --paper: #fff; --wash: #f4f5f8;
  --s0: #2f6f9f; --s1: #c2571a; --s2: #6b7a3a; --good: #1f7a46; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e9ee; --soft: #a3a9b8; --line: #3a3f4b; --paper: #15171c;
  --wash: #1e2128; --s0: #6fb1e0; --s1: #f0965a; --s2: #b3c46e; --good: #62c58c; --bad: #f28b82; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
nav a { display: inline-block; margin: 0 1rem .3rem 0; color: var(--s0); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--s0); }
.verdict h3 { margin-top: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { color: var(--soft); font-size: .85rem; }
.verdict { border-left: 4px solid var(--bad); background: var(--wash); padding: .6rem 1rem; margin: 1rem 0; }
.verdict.good { border-color: var(--good); }
.yes { color: var(--good); } .no { color: var(--bad); }
figure { margin: 1.2rem 0; } figcaption { color: var(--soft); font-size: .85rem; max-width: 46rem; }
svg { width: 100%; max-width: 44rem; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink); }
.axis { stroke: var(--soft); } .grid { stroke: var(--line); }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); }
.fill { fill: var(--c); } .step { fill: none; stroke: var(--c); stroke-width: 2; }
.whisker { stroke: var(--c); stroke-width: 2; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } figure { overflow-x: auto; }
  svg { min-width: 34rem; } }
"""


def render_page(report: Report) -> str:
    """The page, ready to be written to a file.

    Args:
        report: What the audit found.
    """
    parts = "".join(_section(part, f"part{i}") for i, part in enumerate(report.sections))
    body = (
        f"<h1>{escape(report.title)}</h1><nav>{links(part.title for part in report.sections)}</nav>"
        f"{terms(report.summary)}{_verdict(report)}"
        f"<details><summary>What was audited, and how</summary>{terms(report.facts.items())}</details>{parts}"
    )
    return frame(report.title, _STYLE, body)


def _verdict(report: Report) -> str:
    if not report.checks:
        return ""
    rows = "".join(_check(check) for check in report.checks)
    return (
        f'<section class="verdict{" good" if report.passed else ""}"><h3>{escape(report.verdict)}</h3>'
        '<div class="scroll"><table><tr><th>check</th><th></th><th>found</th><th>wanted</th></tr>'
        f"{rows}</table></div></section>"
    )


def _check(check: Check) -> str:
    return (
        f'<tr><td>{escape(check.name)}</td><td class="{"yes" if check.passed else "no"}">{check.outcome}</td>'
        f"<td>{escape(check.found)}</td><td>{escape(check.wanted)}</td></tr>"
    )


def _section(section: Section, anchor: str) -> str:
    text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in section.text)
    figures = {block.title for block in section.blocks if isinstance(block, Figure)}
    blocks = "".join(_block(block, figures) for block in section.blocks)
    return f'<section id="{anchor}"><h2>{escape(section.title)}</h2>{text}{blocks}</section>'


def _block(block: Table | Figure, figures: set[str]) -> str:
    title = f"<h3>{escape(block.title)}</h3>"
    if isinstance(block, Figure):
        return f"{title}<figure>{block.svg}<figcaption>{escape(block.note)}</figcaption></figure>"
    if block.title in figures:  # its figure shows the same
        return f"<details><summary>The numbers</summary>{_table(block)}</details>"
    return title + _table(block)


def _table(table: Table) -> str:
    cells = table.texts
    style = [
        ' class="n"' if column and all(_NUMERIC.match(row[column]) for row in cells) else ""
        for column in range(len(table.columns))
    ]
    head = "".join(f"<th{style[i]}>{escape(name)}</th>" for i, name in enumerate(table.columns))
    rows = "".join(
        "<tr>" + "".join(f"<td{style[i]}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>" for row in cells
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>{note}'
