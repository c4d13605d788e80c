"""`python cli.py agreement`: how well annotators agree, and how a model compares with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.files import write_json
from datamodules.splits import hash_ids
from errors import UserError
from experiments.agreement_figure import SUFFIXES, draw
from experiments.annotation.agreement import Ratings, agreement
from experiments.annotation.annotations import Annotation
from experiments.annotation.reading import read_annotations
from experiments.annotation.study import read_suggestions

if TYPE_CHECKING:
    from metrics.estimates import Estimate

__all__ = ["main", "table"]


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: What follows `agreement` on the command line; None takes it from the process.

    Returns:
        Exit status 0.

    Raises:
        UserError: A file or an option can't be used.
    """
    options = _parser().parse_args(argv)
    if options.resamples < 1 or not 0 < options.level < 1:
        raise UserError("--resamples must be 1 or more, --level between 0 and 1")
    if options.figure and options.figure.suffix.lower() not in SUFFIXES:
        raise UserError(f"--figure {options.figure}: the name must end in one of {', '.join(SUFFIXES)}")
    annotations, counts = read_annotations(options.files, by_account=options.by_account)
    scores = read_suggestions(options.scores, {said.id: said.id for said in annotations}) if options.scores else {}
    if options.scores and not scores:
        raise UserError("--scores: no id there is the id of an annotated row; score the annotated rows")
    from metrics.agreement import Bootstrap

    bootstrap = Bootstrap(options.resamples, options.level, options.seed)
    estimates: dict[str, Estimate] = {}
    for prefix, part in _parts(annotations, options.by):
        ratings = Ratings(part, scores)
        estimates |= {f"{prefix}{key}": estimate for key, estimate in agreement(ratings, bootstrap).items()}
    if not estimates:
        rows = len({said.id for said in annotations})
        raise UserError(
            f"none of the {rows} rows has answers by two annotators to a question: name the files of all annotators, "
            "or export tasks with --overlap"
        )
    for reason, count in sorted(counts.items()):
        print(f"{count} {reason}", file=sys.stderr)
    print(table(estimates, options.level))
    protocol = {
        **asdict(bootstrap),
        "annotators": sorted({said.annotator for said in annotations}),
        "ids_sha256": hash_ids({said.id for said in annotations}),
    }
    try:
        if options.output:
            found = {key: {**estimate._asdict(), "protocol": protocol} for key, estimate in estimates.items()}
            write_json(options.output, found)
        if options.figure:
            draw(estimates, options.figure, options.level)
    except OSError as error:
        raise UserError(f"--output, --figure: {error.strerror}; check room and rights there") from None
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py agreement",
        description="Agreement of annotators on levels, strategies and rationales, with bootstrap intervals.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="tables with columns id, annotator and a mechanism's each (CSV, TSV, JSON Lines, Parquet), "
        "annotations.jsonl of `annotate import`, or exports of Label Studio (JSON) or Argilla (records.json)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="all figures under flat keys")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="a picture (.svg, .png or .pdf)")
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="what `score` wrote: compare a model with people",
    )
    parser.add_argument("--by", choices=("dataset", "stage"), help="apart for each dataset, or for each round")
    parser.add_argument(
        "--by_account", action="store_true", help="annotators are accounts, not whom tasks were assigned to"
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="bootstrap resamples (1000)")
    parser.add_argument("--level", type=float, default=0.95, help="confidence of the intervals (0.95)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")
    return parser


def _parts(annotations: Sequence[Annotation], by: str | None) -> Iterator[tuple[str, list[Annotation]]]:
    if by is None:
        yield "", list(annotations)
        return
    if not all(getattr(said, by) for said in annotations):
        raise UserError(f"--by {by}: some annotations don't say; they need a column '{by}'")
    for value in sorted({getattr(said, by) for said in annotations}):
        yield f"{value}/", [said for said in annotations if getattr(said, by) == value]


def table(estimates: Mapping[str, Estimate], level: float) -> str:
    """The estimates as text, a line each, under a heading for each question.

    Args:
        estimates: Key -> estimate.
        level: The intervals' confidence.

    Returns:
        Lines for a terminal.
    """
    questions: dict[str, list[tuple[str, Estimate]]] = {}
    for key, estimate in estimates.items():
        question, _, figure = key.rpartition("/")
        questions.setdefault(question, []).append((figure, estimate))
    width = max(len(figure) for found in questions.values() for figure, _ in found)
    blocks = []
    for question, found in questions.items():
        lines = [f"{question or 'all mechanisms':<{width + 2}} value   {level:.0%} interval       rows"]
        for figure, estimate in found:
            interval = f"[{_number(estimate.low)}, {_number(estimate.high)}]"
            lines.append(f"  {figure:<{width}} {_number(estimate.value)}   {interval:<16} {estimate.n:>6}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _number(value: float) -> str:
    return "   -  " if value != value else f"{value:6.3f}"
