"""`python cli.py agreement`: how well annotators agree, and how a model compares with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from datamodules.files import write_json
from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS, Span
from datamodules.spans import spans_to_labels, word_bounds
from datamodules.splits import hash_ids
from errors import UserError
from experiments.agreement_figure import SUFFIXES, draw
from experiments.annotation.annotations import Annotation, Suggestion
from experiments.annotation.reading import read_annotations
from experiments.annotation.study import read_suggestions

if TYPE_CHECKING:
    from metrics.agreement import Bootstrap
    from metrics.estimates import Estimate

__all__ = ["Ratings", "agreement", "main", "table"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


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


class Ratings:
    """Annotations as arrays: N rows by A annotators, both in order of their names.

    Args:
        annotations: At most one for each annotator and row.
        scores: Row id -> what a model says of it.
    """

    def __init__(self, annotations: Sequence[Annotation], scores: Mapping[str, Suggestion]) -> None:
        self.annotators = sorted({said.annotator for said in annotations})
        self.ids = sorted({said.id for said in annotations})
        self.given = {(said.id, said.annotator): said for said in annotations}
        self.scores = scores
        own = {said.id: said.group for said in annotations}
        names = [own[row] or row for row in self.ids]
        self.groups: IntArray = np.unique(names, return_inverse=True)[1].astype(np.int64)
        self.strategies = sorted({said.strategy for said in annotations if said.strategy})

    def levels(self, mechanism: str) -> IntArray:
        """int64[N, A]: the levels; -1: not rated."""
        return self._table(lambda said: said.levels.get(mechanism, -1))

    def strategy(self) -> IntArray:
        """int64[N, A]: places in `strategies`; -1: not rated."""
        number = {name: place for place, name in enumerate(self.strategies)}
        return self._table(lambda said: number.get(said.strategy, -1))

    def predicted(self, mechanism: str) -> IntArray:
        """int64[N]: the model's levels; -1: none."""
        levels = (self.scores[row].levels.get(mechanism, -1) if row in self.scores else -1 for row in self.ids)
        return np.fromiter(levels, dtype=np.int64, count=len(self.ids))

    def _table(self, answer: Callable[[Annotation], int]) -> IntArray:
        table = np.full((len(self.ids), len(self.annotators)), -1, dtype=np.int64)
        for row, name in enumerate(self.ids):
            for column, annotator in enumerate(self.annotators):
                if said := self.given.get((name, annotator)):
                    table[row, column] = answer(said)
        return table

    def words(self, mechanism: str) -> npt.NDArray[np.bool_]:
        """bool[N, A + 1, W]: the words that each annotator, and last the model, marked in the row's response."""
        masks: dict[tuple[int, int], npt.NDArray[np.bool_]] = {}
        for row, name in enumerate(self.ids):
            said = [self.given.get((name, annotator)) for annotator in self.annotators]
            text = next((one.response_post for one in said if one and one.response_post), "")
            marked: list[Sequence[Span]] = [one.rationales.get(mechanism, ()) if one else () for one in said]
            marked.append(self.scores[name].rationales.get(mechanism, ()) if name in self.scores else ())
            bounds = np.array(word_bounds(text), dtype=np.int32).reshape(-1, 2)
            for column, spans in enumerate(marked):
                if spans and len(bounds):
                    masks[row, column] = spans_to_labels(spans, bounds).astype(bool)
        table = np.zeros(
            (len(self.ids), len(self.annotators) + 1, max((len(m) for m in masks.values()), default=1)), bool
        )
        for place, mask in masks.items():
            table[place][: len(mask)] = mask
        return table


def agreement(ratings: Ratings, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """All figures of a set of annotations.

    Args:
        ratings: The annotations, and a model's scores where there are any.
        bootstrap: How intervals are drawn.

    Returns:
        `<question>/<figure>` -> estimate, for the questions that two annotators answered of some row; and
        `mean_pairwise_kappa`, the mean over mechanisms, where there are several.
    """
    from metrics.agreement import category_agreement, human_ceiling, mean_over_questions

    estimates: dict[str, Estimate] = {}
    tables: list[IntArray] = []
    categorical = partial(category_agreement, groups=ratings.groups, annotators=ratings.annotators, bootstrap=bootstrap)
    for mechanism in MECHANISMS:
        levels = ratings.levels(mechanism)
        if not _answered_twice(levels):
            continue
        tables.append(levels)
        found = categorical(levels, categories=LEVEL_NAMES, ordered=True)
        predicted = ratings.predicted(mechanism)
        asked = (predicted >= 0) & ((levels >= 0).sum(1) > 1)
        if asked.any():
            found |= human_ceiling(levels, predicted, ratings.groups, categories=len(LEVELS), bootstrap=bootstrap)
        found |= _rationales(ratings, mechanism, levels, asked, bootstrap)
        estimates |= {f"{mechanism}/{key}": estimate for key, estimate in found.items()}
    strategy = ratings.strategy()
    if _answered_twice(strategy):
        found = categorical(strategy, categories=ratings.strategies, ordered=False)
        estimates |= {f"strategy/{key}": estimate for key, estimate in found.items()}
    if len(tables) > 1:
        estimates["mean_pairwise_kappa"] = mean_over_questions(
            tables, ratings.groups, categories=len(LEVELS), bootstrap=bootstrap
        )
    return estimates


def _answered_twice(table: IntArray) -> bool:
    return bool(((table >= 0).sum(1) > 1).any())


def _rationales(
    ratings: Ratings, mechanism: str, levels: IntArray, asked: npt.NDArray[np.bool_], bootstrap: Bootstrap
) -> dict[str, Estimate]:
    """Agreement of rationales over words.

    `rationale_f1`, `rationale_iou_f1`: rows to which both annotators give a level above none and of which at least one
    marks a word, so that differences of level don't count twice. Against a model: one side after the other is taken as
    right, on the rows where it has a level above none and marks a word, whatever the other's level (as
    `test/<mechanism>/rationale_f1` does).
    """
    from metrics.agreement import compare_means, mean_of_pairs

    words = ratings.words(mechanism)
    marked: npt.NDArray[np.bool_] = np.any(words, axis=-1)  # [N, A + 1]
    if not marked[:, :-1].any():
        return {}
    people = len(ratings.annotators)
    pairs = list(combinations(range(people), 2))
    estimates: dict[str, Estimate] = {}
    both = np.stack([(levels[:, a] > 0) & (levels[:, b] > 0) & (marked[:, a] | marked[:, b]) for a, b in pairs])
    names = [f"{ratings.annotators[a]}~{ratings.annotators[b]}" for a, b in pairs]
    gold = (levels > 0) & marked[:, :-1] & asked[:, None]
    ordered = [(a, b) for a in range(people) for b in range(people) if a != b]
    rated = levels >= 0
    between = np.stack([gold[:, a] & rated[:, b] for a, b in ordered])
    against = gold.T
    for key, values in _word_scores(words, pairs, both):
        for name, estimate in mean_of_pairs(values, ratings.groups, bootstrap=bootstrap, pairs=names).items():
            estimates[f"{name}/{key}" if name else key] = estimate
    if not against.any():
        return estimates
    with_model = [(a, people) for a in range(people)]
    human, model = (dict(_word_scores(words, *sides)) for sides in ((ordered, between), (with_model, against)))
    for key in human:
        compared = compare_means(human[key], model[key], ratings.groups, bootstrap=bootstrap)
        estimates |= {f"{side}_{key}": estimate for side, estimate in compared.items()}
    return estimates


def _word_scores(
    words: npt.NDArray[np.bool_], pairs: Sequence[tuple[int, int]], where: npt.NDArray[np.bool_]
) -> Iterator[tuple[str, FloatArray]]:
    """Scores of the words that two annotators marked: float64[P, N], nan where `where`, bool[P, N], is false."""
    import torch

    from metrics.rationales import f1, iou_f1

    sides = [
        np.concatenate([words[rows, pair[side]] for pair, rows in zip(pairs, where, strict=True)]) for side in (0, 1)
    ]
    first, second = (torch.from_numpy(side) for side in sides)
    for key, score in (("rationale_f1", f1), ("rationale_iou_f1", iou_f1)):
        values = np.full(where.shape, np.nan)
        values[where] = score(first, second).numpy()
        yield key, values


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
