"""A small subset that is worth more than its size: verified, free of near-duplicates, level-balanced, diverse.

Study A found that ever more rows of the same kind add little; so rows are taken in an order in which each is as unlike
those before it as can be, and a smaller selection is the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.agreement import Judgement
from audit.vectors import Vectors
from audit.words import Ints
from datamodules.records import LEVEL_NAMES, LEVELS, Mechanism, Pair

__all__ = ["Selection", "eligible_rows", "select_rows"]


@dataclass
class Selection:
    """What was selected.

    Args:
        rows: Row numbers in order of selection; the first ones are the best smaller selection.
        left_out: Reason -> rows that could not be selected.
        short: Level name -> rows that were wanted and are missing.
    """

    rows: list[int]
    left_out: dict[str, int] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)


def eligible_rows(
    pairs: Sequence[Pair],
    duplicates: Ints,
    opinions: Mapping[str, Judgement],
    mechanism: Mechanism | None,
    excluded: NDArray[np.bool_] | None = None,
) -> tuple[list[int], dict[str, int]]:
    """The rows that may be selected.

    Args:
        pairs: The synthetic rows.
        duplicates: [N] near-duplicate groups, as `duplicate_groups` gives them.
        opinions: Who -> levels. A row is verified by one when each of its levels that this one speaks of (of
            `mechanism`, where that is given) is the intended one; a row that one has not judged is not verified.
        mechanism: The mechanism whose levels count; None: all that the row has.
        excluded: [N] rows that are out for other reasons, such as copied text.

    Returns:
        Row numbers in ascending order, one a near-duplicate group, and reason -> rows that are out.
    """
    left_out: dict[str, int] = {}
    taken: set[int] = set()
    rows = []
    for number, pair in enumerate(pairs):
        wanted: dict[str, int | None] = {mechanism: pair.levels.get(mechanism)} if mechanism else {**pair.levels}
        unverified = [who for who, judged in opinions.items() if not _verified(wanted, judged.get(number))]
        if excluded is not None and excluded[number]:
            reason = "copied or personal data"
        elif None in wanted.values() or not wanted:
            reason = "no level"
        elif unverified:
            reason = f"level not confirmed by {unverified[0]}"
        elif int(duplicates[number]) in taken:
            reason = "near-duplicate response"
        else:
            taken.add(int(duplicates[number]))
            rows.append(number)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    return rows, left_out


def _verified(wanted: Mapping[str, int | None], judged: Mapping[str, int] | None) -> bool:
    """Whether a judge has said something of the wanted levels, and nothing against them."""
    if judged is None:
        return False
    common = [mechanism for mechanism in wanted if mechanism in judged]
    return bool(common) and all(judged[mechanism] == wanted[mechanism] for mechanism in common)


def select_rows(
    pairs: Sequence[Pair], eligible: Sequence[int], vectors: Vectors, count: int, mechanism: Mechanism | None
) -> Selection:
    """Takes rows far from one another (farthest-first traversal: Gonzalez, 1985; core-sets: Sener and Savarese, 2018).

    Begins with the row nearest to the mean. Where a mechanism is given, levels take turns, so that every beginning of
    the selection is level-balanced; a level that runs out leaves its places empty.

    Args:
        pairs: The synthetic rows.
        eligible: Row numbers that may be selected.
        vectors: [E, D] unit vectors of the eligible rows.
        count: Rows wanted.
        mechanism: The mechanism whose levels are balanced; None: no balance.

    Returns:
        The selection.
    """
    if mechanism is None:
        turns = [np.ones(len(eligible), dtype=np.bool_)]
    else:
        levels = np.array([pairs[row].levels[mechanism] for row in eligible], dtype=np.int64)
        turns = [levels == level for level in LEVELS]
    mean = vectors.mean(0) if len(vectors) else np.zeros(1, dtype=np.float32)
    closest = -(vectors @ mean) - 10 if len(vectors) else np.zeros(0, dtype=np.float32)
    free = np.ones(len(eligible), dtype=np.bool_)
    selection = Selection([])
    for turn in range(count):
        places = np.flatnonzero(turns[turn % len(turns)] & free)
        if not len(places):
            name = LEVEL_NAMES[turn % len(turns)] if mechanism else "any"
            selection.short[name] = selection.short.get(name, 0) + 1
            continue
        place = int(places[np.argmin(closest[places])])
        free[place] = False
        selection.rows.append(int(eligible[place]))
        similarity = vectors @ vectors[place]
        closest = np.maximum(closest, similarity) if len(selection.rows) > 1 else similarity
    return selection
