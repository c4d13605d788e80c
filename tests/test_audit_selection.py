"""Which rows are selected, in which order."""

from __future__ import annotations

import numpy as np
import pytest

from audit.agreement import judge_levels
from audit.selection import eligible_rows, select_rows
from datamodules.records import Pair


def _pairs(levels):
    return [
        Pair(
            str(i),
            "synthetic",
            "post",
            "answer",
            generator="g",
            levels={} if level is None else {"explorations": level},
        )
        for i, level in enumerate(levels)
    ]


def test_rows_that_repeat_or_are_not_confirmed_are_out():
    pairs = _pairs([0, 1, 1, None, 2, 2, 2])
    model = {0: {"explorations": 0}, 1: {"explorations": 1}, 2: {"explorations": 1}, 3: {}, 4: {"explorations": 1}}
    model |= {5: {"explorations": 2}, 6: {"interpretations": 2}}
    duplicates = np.array([0, 1, 1, 3, 4, 5, 6])
    suspects = np.array([True, False, False, False, False, False, False])
    rows, left_out = eligible_rows(pairs, duplicates, {"model": model}, "explorations", suspects)
    assert rows == [1, 5]
    assert left_out == {
        "copied or personal data": 1,
        "near-duplicate response": 1,
        "no level": 1,
        "level not confirmed by model": 2,
    }
    assert eligible_rows(pairs, duplicates, {}, None)[0] == [0, 1, 4, 5, 6]


def test_an_unconfirmed_row_does_not_keep_its_duplicate_out():
    pairs = _pairs([1, 1])
    rows, _ = eligible_rows(pairs, np.array([0, 0]), {"judge": {1: {"explorations": 1}}}, "explorations")
    assert rows == [1]


def test_rows_far_apart_are_taken_first_and_levels_take_turns():
    angles = np.radians([0, 10, 90, 100, 180, 40])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    pairs = _pairs([0, 0, 1, 1, 2, 0])
    chosen = select_rows(pairs, [0, 1, 2, 3, 4, 5], vectors, 5, "explorations")
    # the mean points to 69 degrees: of level 0 row 5 is nearest to it; then each farthest from those before
    assert chosen.rows == [5, 3, 4, 0, 2]
    assert chosen.short == {}
    chosen = select_rows(pairs, [0, 1, 2, 3, 4, 5], vectors, 6, "explorations")
    assert chosen.rows == [5, 3, 4, 0, 2], "a smaller selection begins a larger one"
    assert chosen.short == {"strong": 1}
    assert select_rows(pairs, [1, 4], vectors[[1, 4]], 9, None).short == {"any": 7}


def test_a_selection_without_levels_goes_for_the_farthest():
    vectors = np.array([[1, 0], [0.96, 0.28], [0, 1], [-1, 0]], dtype=np.float32)
    assert select_rows(_pairs([0] * 4), [10, 11, 12, 13], vectors, 3, None).rows == [11, 13, 12]


def test_a_judges_rows_are_found_by_generator_and_id():
    pairs = [*_pairs([0, 1]), Pair("1", "synthetic", "p", "r", generator="other"), *_pairs([2])]
    judged = [Pair("1", "synthetic", "p", "r", generator="g", levels={"explorations": 2}), *_pairs([1])]
    assert judge_levels(pairs, judged) == {1: {"explorations": 2}}, "id 0 of g is not unique"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_selected_rows_are_distinct(count):
    vectors = np.ones((5, 1), dtype=np.float32)
    assert len(set(select_rows(_pairs([0] * 5), range(5), vectors, count, None).rows)) == count
