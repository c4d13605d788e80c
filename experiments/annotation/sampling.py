"""Who annotates what: training rounds for everybody, then rows in common and rows of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle

from datamodules.mixing import apportion
from datamodules.splits import seeded_key
from errors import UserError

__all__ = ["MAIN", "Assignment", "SamplingOptions", "assign"]

MAIN = "main"
"""The stage after the training rounds."""


@dataclass(frozen=True)
class SamplingOptions:
    """How rows are shared out.

    Args:
        rows: Rows that are annotated at all, drawn from each dataset in proportion; None: all.
        rounds: Training rounds (study A had nine).
        round_size: Rows in a round; everybody annotates all of them, every dataset has its share (study A: 40).
        overlap: Rows of each dataset, rounds aside, that everybody annotates, so that every pair of annotators shares
            at least as many; None: all rows.
        per_row: Annotators of each other row.
        seed: Seed of the draw.
    """

    rows: int | None = None
    rounds: int = 0
    round_size: int = 40
    overlap: int | None = None
    per_row: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Assignment:
    """A row of a stage and who annotates it.

    Args:
        stage: `round-1`, `round-2`, ... or `main`.
        id: The row.
        annotators: Who annotates it.
    """

    stage: str
    id: str
    annotators: tuple[str, ...]


def assign(datasets: Mapping[str, str], annotators: Sequence[str], options: SamplingOptions) -> list[Assignment]:
    """Share rows out. Each row is in one stage.

    Everybody annotates the rows in common: no other way gives every pair its overlap with fewer annotations. The other
    rows go round among all groups of `per_row` annotators.

    Args:
        datasets: Row id -> dataset (source and generator).
        annotators: Who annotates.
        options: How.

    Returns:
        An assignment a row, stages in order and the rows of a stage shuffled, by the ids and the seed alone.

    Raises:
        UserError: There are too few rows or annotators for what is asked.
    """
    _check(datasets, annotators, options)
    by_dataset: dict[str, list[str]] = {name: [] for name in sorted({*datasets.values()})}
    for row in sorted(datasets, key=lambda row: seeded_key(options.seed, f"annotate:{row}")):
        by_dataset[datasets[row]].append(row)
    everybody = tuple(annotators)
    assignments = []
    if options.rows is not None:
        by_dataset, _ = _divided(by_dataset, options.rows)
    if options.rounds:
        training, by_dataset = _divided(by_dataset, options.rounds * options.round_size)
        drawn = [row for rows in training.values() for row in rows]
        for number in range(options.rounds):
            stage = f"round-{number + 1}"
            assignments += _shuffled(
                [Assignment(stage, row, everybody) for row in drawn[number :: options.rounds]], options.seed
            )
    _check_overlap(by_dataset, options)
    groups = cycle(combinations(everybody, options.per_row))
    rest = []
    for rows in by_dataset.values():
        common = len(rows) if options.overlap is None else options.overlap
        rest += [Assignment(MAIN, row, everybody) for row in rows[:common]]
        rest += [Assignment(MAIN, row, next(groups)) for row in rows[common:]]
    return assignments + _shuffled(rest, options.seed)


def _divided(by_dataset: Mapping[str, list[str]], count: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The first `count` rows, of each dataset in proportion, and the others."""
    shares = dict(zip(by_dataset, apportion(count, [len(rows) for rows in by_dataset.values()]), strict=True))
    first = {name: rows[: shares[name]] for name, rows in by_dataset.items()}
    return first, {name: rows[shares[name] :] for name, rows in by_dataset.items()}


def _shuffled(assignments: Sequence[Assignment], seed: int) -> list[Assignment]:
    """So that an annotator can't tell datasets, or rows in common, by their place."""
    return sorted(assignments, key=lambda assignment: seeded_key(seed, f"order:{assignment.id}"))


def _check(datasets: Mapping[str, str], annotators: Sequence[str], options: SamplingOptions) -> None:
    problems = []
    if twice := sorted({name for name in annotators if annotators.count(name) > 1}):
        problems.append(f"--annotators names {', '.join(twice)} more than once")
    if not 1 <= options.per_row <= len(annotators):
        problems.append(f"--per_row {options.per_row}: there are {len(annotators)} annotators; give 1 to that many")
    if options.overlap is not None and options.overlap < 0:
        problems.append(f"--overlap {options.overlap}: give a number of rows, 0 or more")
    if options.rows is not None and not 0 < options.rows <= len(datasets):
        problems.append(f"--rows {options.rows}: there are {len(datasets)}; give 1 to that many")
    rows = len(datasets) if options.rows is None else options.rows
    if options.rounds < 0 or options.round_size < 1:
        problems.append(f"--rounds {options.rounds} of --round_size {options.round_size}: give 0 or more of 1 or more")
    elif options.rounds * options.round_size > rows:
        asked = f"{options.rounds} rounds of {options.round_size} rows"
        problems.append(f"--rounds, --round_size: {asked} are asked for, there are {rows} rows")
    if problems:
        raise UserError("\n".join(problems))


def _check_overlap(by_dataset: Mapping[str, Sequence[str]], options: SamplingOptions) -> None:
    short = [
        f"{name} has {len(rows)} rows" + (" outside the rounds" if options.rounds else "")
        for name, rows in by_dataset.items()
        if len(rows) < (options.overlap or 0)
    ]
    if short:
        raise UserError(f"--overlap {options.overlap}: {'; '.join(short)}; lower it or add rows")
