"""The page that shows what a model predicted: every response with its rationales, levels and probabilities.

One file that needs nothing else: the rows stand in it as data, and a script writes them as text, never as markup. Its
content security policy allows that script and that style sheet by their hashes and nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any, Literal

from datamodules.files import replacing
from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS
from errors import DataError

__all__ = ["MARKUP", "marks", "write_page"]

_PARTS = Path(__file__).parent
MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""Keeps data in a page from being markup."""


def write_page(
    predictions: Iterable[Mapping[str, Any]] | Path,
    file: Path,
    *,
    title: str,
    allow_clinical_text: bool = False,
) -> None:
    """Writes the page.

    Args:
        predictions: Rows as in a run's `predictions.jsonl`, or that file. A row has `id`, `source`, `levels`
            (predicted, mechanism -> 0, 1 or 2) and, where known, `generator`, `split`, `seeker_post`, `response_post`,
            `probabilities` (mechanism -> three shares), `rationales` (mechanism -> [start, end] offsets of characters
            into the response, end exclusive; shown where the predicted level is above 0) and `gold` (`levels` and
            `rationales` of the annotators).
        file: The page to write; its folder has to exist.
        title: Headline and window title.
        allow_clinical_text: Whether rows of a `clinical` source show their texts and rationales. Otherwise neither
            gets into the file, whatever the rows hold.

    Raises:
        DataError: Rows that can't be shown, all of them, by file and line.
    """
    if isinstance(predictions, Path):
        name, rows = str(predictions), _read(predictions)
    else:
        name, rows = "predictions", iter(predictions)
    shown, problems = [], []
    for number, row in enumerate(rows, start=1):
        found = _problems(row)
        problems += [f"{name}, row {number}: {problem}" for problem in found]
        if not found:
            shown.append(_for_page(row, with_text=allow_clinical_text or row["source"] != "clinical"))
    if problems:
        raise DataError(problems)
    data = {"mechanisms": MECHANISMS, "levels": LEVEL_NAMES, "rows": shown}
    style, script = (marks(suffix) + _part(f"rationale_page.{suffix}") for suffix in ("css", "js"))
    page = Template(_part("rationale_page.html")).substitute(
        title=html.escape(title),
        policy=f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; base-uri 'none'",
        style=style,
        script=script,
        data=json.dumps(data, separators=(",", ":")).translate(MARKUP),
    )
    with replacing(file) as stream:
        stream.write(page)


def marks(suffix: Literal["css", "js"]) -> str:
    """What pages that show rationales share: colours, lines, levels; it goes before a page's own style and script."""
    return _part(f"rationale_marks.{suffix}")


def _part(name: str) -> str:
    return _PARTS.joinpath(name).read_text(encoding="utf-8")


def _source(code: str) -> str:
    """The hash by which a content security policy knows inline code."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _read(file: Path) -> Iterator[Any]:
    """The rows of a JSON Lines file; a line that is no JSON comes as None."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                yield None


def _problems(row: Any) -> list[str]:
    """Why a row can't be shown. Values are never quoted: the row may be clinical."""
    if not isinstance(row, Mapping):
        return ["this is no JSON object; the file is damaged or was cut off: predict again"]
    problems = [f"field '{field}' is missing" for field in ("id", "source", "levels") if field not in row]
    gold = row.get("gold") or {}
    for field, levels in (("levels", row.get("levels") or {}), ("gold.levels", gold.get("levels") or {})):
        problems += [f"field '{field}': {m} is not 0, 1 or 2" for m in MECHANISMS if levels.get(m, 0) not in LEVELS]
    probabilities = row.get("probabilities") or {}
    return problems + [
        f"field 'probabilities': {m} has {len(probabilities[m])} shares instead of {len(LEVELS)}"
        for m in MECHANISMS
        if m in probabilities and len(probabilities[m]) != len(LEVELS)
    ]


def _for_page(row: Mapping[str, Any], *, with_text: bool) -> dict[str, Any]:
    """What the page may know of a row: fields by name, so that nothing else slips in."""
    gold = row.get("gold") or {}
    page_row: dict[str, Any] = {
        "id": str(row["id"]),
        "source": " · ".join(str(row[field]) for field in ("source", "generator") if row.get(field)),
        "split": str(row.get("split", "")),
        "levels": _by_mechanism(row["levels"]),
        "probabilities": [
            shares and [round(share, 3) for share in shares] for shares in _by_mechanism(row.get("probabilities") or {})
        ],
        "gold": _by_mechanism(gold.get("levels") or {}),
    }
    if with_text and row.get("response_post") is not None:
        response = str(row["response_post"])
        page_row["seeker"] = str(row.get("seeker_post") or "")
        page_row["response"] = response
        expressed = {m: spans for m, spans in (row.get("rationales") or {}).items() if row["levels"].get(m, 1) > 0}
        page_row["spans"] = _browser_spans(expressed, response)
        page_row["goldSpans"] = _browser_spans(gold.get("rationales") or {}, response)
    return page_row


def _by_mechanism(values: Mapping[str, Any]) -> list[Any]:
    return [values.get(mechanism) for mechanism in MECHANISMS]


def _browser_spans(rationales: Mapping[str, Any], text: str) -> list[list[list[int]]]:
    """Spans a mechanism in UTF-16 units, as a browser counts: an emoji is one character here and two there."""

    def units(offset: int) -> int:
        return len(text[:offset].encode("utf-16-le", "surrogatepass")) // 2

    return [[[units(start), units(end)] for start, end in spans or []] for spans in _by_mechanism(rationales)]
