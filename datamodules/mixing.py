"""Mixes of sources: augment, substitute, ratio. Pure functions from row numbers to row numbers.

Every draw takes the first rows of an order that a seed and the rows' ids fix, so the rows of a smaller count or share
are contained in those of a larger one (**nested**), whatever the order of files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from datamodules.records import LEVEL_NAMES, LEVELS, Mechanism, Pair, SourcedRow
from datamodules.splits import seeded_key
from errors import UserError

__all__ = [
    "Mix",
    "MixOptions",
    "apportion",
    "augment",
    "draw_as_asked",
    "draw_ratio",
    "mix_rows",
    "seeded_order",
    "substitute",
]

Rows = Sequence[int]


@dataclass
class MixOptions:
    """How synthetic (and other) rows join the training rows. Evaluation rows are never touched.

    Args:
        mode: `augment` adds synthetic rows to the base; `substitute` replaces a share of the base by synthetic rows and
            keeps its size and level distribution; `ratio` draws rows of the sources by weight.
        count: augment: rows to add, evenly over the levels of `mechanism` (null: every synthetic row). ratio: rows in
            all (null: as many as the scarcest source allows without replacement, the number of rows at hand with it).
        share: substitute: the share of the base that is replaced, from 0 to 1.
        weights: ratio: source -> weight, for instance {reddit: 0.7, synthetic: 0.3}; sources without one don't train.
        mechanism: The mechanism whose levels are balanced or kept (null: the only one, in a single-mechanism model).
        seed: Seed of the draw.
        replacement: ratio: draw with replacement.
    """

    mode: Literal["augment", "substitute", "ratio"] = "augment"
    count: int | None = None
    share: float = 0.0
    weights: dict[str, float] | None = None
    mechanism: Mechanism | None = None
    seed: int = 0
    replacement: bool = False

    def __post_init__(self) -> None:
        """Checks each value and that no option is set which the mode ignores."""
        problems = []
        if self.count is not None and self.count < 0:
            problems.append(f"--data.mix.count is {self.count}; it is a number of rows, 0 or more")
        if not 0 <= self.share <= 1:
            problems.append(f"--data.mix.share is {self.share}; it is a share from 0 to 1")
        if self.share and self.mode != "substitute":
            problems.append(f"--data.mix.share needs --data.mix.mode substitute (it is {self.mode})")
        if self.count is not None and self.mode == "substitute":
            problems.append("--data.mix.count has no meaning with --data.mix.mode substitute; use --data.mix.share")
        if (self.mode == "ratio") != bool(self.weights):
            problems.append("--data.mix.weights and --data.mix.mode ratio go together; one of them is missing")
        if self.weights and (min(self.weights.values()) < 0 or sum(self.weights.values()) <= 0):
            problems.append(f"--data.mix.weights is {self.weights}; weights are 0 or more and not all 0")
        if self.replacement and self.mode != "ratio":
            problems.append(f"--data.mix.replacement needs --data.mix.mode ratio (it is {self.mode})")
        if problems:
            raise UserError("\n".join(problems))


@dataclass
class Mix:
    """The rows that train.

    Args:
        rows: Row numbers; a number occurs more than once only in a draw with replacement.
        added: Those that the mix brought in.
        removed: Base rows that it left out.
    """

    rows: list[int]
    added: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


def apportion(total: int, sizes: Sequence[float]) -> list[int]:
    """Divides `total` in proportion to `sizes` by largest remainder, monotone in `total`.

    Seats are handed out one by one to the part that is furthest below its exact quota. This is the largest-remainder
    division (Hamilton), except next to its Alabama paradox, where one seat more in all would take a seat from a part
    and a smaller draw would not be contained in a larger one.

    Args:
        total: What is divided.
        sizes: The parts' sizes or weights; ties go to the earlier part.

    Returns:
        A whole number a part; they add up to `total`.
    """
    quota = np.asarray(sizes, dtype=np.float64) / sum(sizes)
    seats = np.zeros(len(quota), dtype=np.int64)
    for house in range(1, total + 1):
        seats[np.argmax(np.round(house * quota - seats, 9))] += 1
    return [int(number) for number in seats]


def seeded_order(named: Sequence[SourcedRow], rows: Rows, seed: int, what: str) -> list[int]:
    """Row numbers in the order of a draw, which the seed, its purpose and the rows' names fix."""
    return sorted(rows, key=lambda row: seeded_key(seed, f"{what}:{named[row].uid}"))


def _by_level(pairs: Sequence[Pair], rows: Rows, mechanism: Mechanism) -> dict[int, list[int]]:
    return {level: [row for row in rows if pairs[row].levels.get(mechanism) == level] for level in LEVELS}


def _check_supply(wanted: Sequence[int], pool: Mapping[int, list[int]], mechanism: Mechanism, option: str) -> None:
    short = [
        f"{wanted[level]} {LEVEL_NAMES[level]} rows (level {level}) of {mechanism} are wanted, "
        f"the synthetic rows have {len(pool[level])}"
        for level in LEVELS
        if wanted[level] > len(pool[level])
    ]
    if short:
        raise UserError(f"{option}: {'; '.join(short)}. Lower it, or add synthetic rows of that level")


def augment(
    pairs: Sequence[Pair], base: Rows, synthetic: Rows, *, count: int | None, mechanism: Mechanism | None, seed: int
) -> Mix:
    """Adds `count` synthetic rows, evenly over the levels of a mechanism (study A, augmentation).

    Args:
        pairs: All rows; row numbers index into it.
        base: The training rows.
        synthetic: The synthetic rows that may be added.
        count: How many; where it is no multiple of three, the lower levels get the extra rows. None: all of them.
        mechanism: The mechanism whose levels are balanced (not needed for none or all rows).
        seed: Seed of the draw.

    Returns:
        The mix.

    Raises:
        UserError: A level has too few rows, or the mechanism is missing.
    """
    if count is None:
        return Mix([*base, *synthetic], added=list(synthetic))
    if count == 0:
        return Mix(list(base))
    mechanism = _need_mechanism(mechanism)
    pool = _by_level(pairs, seeded_order(pairs, synthetic, seed, "add"), mechanism)
    wanted = [count // len(LEVELS) + (level < count % len(LEVELS)) for level in LEVELS]
    _check_supply(wanted, pool, mechanism, f"--data.mix.count {count}")
    added = [row for level in LEVELS for row in pool[level][: wanted[level]]]
    return Mix([*base, *added], added=added)


def substitute(
    pairs: Sequence[Pair], base: Rows, synthetic: Rows, *, share: float, mechanism: Mechanism | None, seed: int
) -> Mix:
    """Replaces a share of the base, level by level (study A, substitution).

    Args:
        pairs: All rows; row numbers index into it.
        base: The training rows.
        synthetic: The synthetic rows that may take their place.
        share: Share of the base's rows that are annotated for the mechanism, rounded to the nearest whole number.
        mechanism: The mechanism whose level distribution is kept.
        seed: Seed of the draw.

    Returns:
        The mix; it is as large as the base and has as many rows of each level.

    Raises:
        UserError: A level has too few synthetic rows, or the mechanism is missing.
    """
    if share == 0:
        return Mix(list(base))
    mechanism = _need_mechanism(mechanism)
    leaving = _by_level(pairs, seeded_order(pairs, base, seed, "remove"), mechanism)
    coming = _by_level(pairs, seeded_order(pairs, synthetic, seed, "add"), mechanism)
    sizes = [len(leaving[level]) for level in LEVELS]
    if not sum(sizes):
        raise UserError(f"--data.mix.share {share}: no row of the base is annotated for {mechanism}")
    wanted = apportion(round(share * sum(sizes)), sizes)
    _check_supply(wanted, coming, mechanism, f"--data.mix.share {share}")
    removed = [row for level in LEVELS for row in leaving[level][: wanted[level]]]
    added = [row for level in LEVELS for row in coming[level][: wanted[level]]]
    gone = set(removed)
    return Mix([*(row for row in base if row not in gone), *added], added=added, removed=removed)


def draw_ratio(
    pairs: Sequence[SourcedRow],
    rows: Rows,
    *,
    weights: Mapping[str, float],
    count: int | None,
    replacement: bool,
    seed: int,
) -> Mix:
    """Draws rows of the sources in proportion to their weights.

    Args:
        pairs: All rows, of any kind; row numbers index into it.
        rows: The rows that may train, of every source.
        weights: Source -> weight.
        count: Rows in all; None: as `MixOptions.count` says.
        replacement: Whether a row may be drawn more than once.
        seed: Seed of the draw.

    Returns:
        The mix.

    Raises:
        UserError: A source with a weight has no rows, or too few without replacement.
    """
    sources = sorted(source for source, weight in weights.items() if weight > 0)
    at_hand = {source: [row for row in rows if pairs[row].source == source] for source in sources}
    total_weight = sum(weights[source] for source in sources)
    missing = [source for source in sources if not at_hand[source]]
    if missing:
        present = ", ".join(f"{k} {v}" for k, v in sorted(Counter(pairs[row].source for row in rows).items()))
        raise UserError(
            f"--data.mix.weights names {', '.join(missing)}, of which no row may train; there are: {present or 'none'}"
        )
    if count is None and replacement:
        count = sum(len(at_hand[source]) for source in sources)
    elif count is None:
        count = int(min(len(at_hand[source]) * total_weight / weights[source] + 1e-9 for source in sources))
    wanted = dict(zip(sources, apportion(count, [weights[source] for source in sources]), strict=True))
    drawn: list[int] = []
    short = []
    for source in sources:
        order = seeded_order(pairs, at_hand[source], seed, "draw")
        if replacement:
            generator = np.random.default_rng(int.from_bytes(seeded_key(seed, f"draw:{source}")))
            drawn += [order[int(place * len(order))] for place in generator.random(wanted[source])]
        elif wanted[source] > len(order):
            short.append(f"{wanted[source]} rows of {source} are wanted, there are {len(order)}")
        else:
            drawn += order[: wanted[source]]
    if short:
        raise UserError(
            f"--data.mix.weights with --data.mix.count {count}: {'; '.join(short)}. "
            "Lower the count or the weight, add rows, or set --data.mix.replacement true"
        )
    used = set(drawn)
    added = [row for row in drawn if pairs[row].source == "synthetic"]
    return Mix(drawn, added=added, removed=[row for row in rows if row not in used])


def draw_as_asked(pairs: Sequence[SourcedRow], rows: Rows, options: MixOptions) -> Mix:
    """`draw_ratio` with the values of the options."""
    return draw_ratio(
        pairs,
        rows,
        weights=options.weights or {},
        count=options.count,
        replacement=options.replacement,
        seed=options.seed,
    )


def mix_rows(pairs: Sequence[Pair], base: Rows, synthetic: Rows, options: MixOptions) -> Mix:
    """Carries out `options` (see the three functions above).

    Args:
        pairs: All rows; row numbers index into it.
        base: Real training rows.
        synthetic: Synthetic rows that may train.
        options: What to do.

    Returns:
        The mix.
    """
    if options.mode == "ratio":
        return draw_as_asked(pairs, [*base, *synthetic], options)
    if options.mode == "substitute":
        return substitute(pairs, base, synthetic, share=options.share, mechanism=options.mechanism, seed=options.seed)
    return augment(pairs, base, synthetic, count=options.count, mechanism=options.mechanism, seed=options.seed)


def _need_mechanism(mechanism: Mechanism | None) -> Mechanism:
    if mechanism is None:
        raise UserError(
            "--data.mix.mechanism is missing: the mix balances the levels of one mechanism, and the model has several"
        )
    return mechanism
