import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.levels import LevelScores, confusion_counts, level_scores, majority_scores

KEYS = {
    "level_accuracy",
    "level_f1_macro",
    "level_f1_weighted",
    "level_kappa_quadratic",
    "level_accuracy_published",
    "level_f1_macro_published",
}


def scores_of(predicted, gold):
    return level_scores(np.array(predicted, dtype=np.int64), np.array(gold, dtype=np.int64))


def updated(metric, predicted, gold, rows, groups=None):
    metric.update(*(torch.tensor(column, dtype=torch.int64) for column in (predicted, gold, rows, groups or rows)))
    return metric


def exact(scores):
    """Values to the last digit, nan included."""
    return {key: float(score).hex() for key, score in scores.items()}


def test_values_by_hand():
    # Gold by prediction: [[2, 1, 0], [0, 1, 1], [0, 0, 1]]; F1 of the levels 4/5, 2/4 and 2/3.
    scores = scores_of([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2])
    assert scores.keys() == KEYS
    assert scores["level_accuracy"] == pytest.approx(4 / 6)
    assert scores["level_f1_macro"] == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)
    assert scores["level_f1_weighted"] == pytest.approx((3 * 4 / 5 + 2 * 2 / 4 + 2 / 3) / 6)
    # Squared distances: 2 observed, 48 / 6 = 8 expected from the margins (3, 2, 1) and (2, 2, 2).
    assert scores["level_kappa_quadratic"] == pytest.approx(1 - 2 / 8)


def test_kappa_punishes_a_distance_of_two_four_times():
    near, far = scores_of([0, 1, 2, 1], [0, 1, 2, 2]), scores_of([0, 1, 2, 0], [0, 1, 2, 2])
    # Margins gold (1, 1, 2), near (1, 2, 1), far (2, 1, 1); expected squared distances 20 / 4 and 26 / 4.
    assert near["level_kappa_quadratic"] == pytest.approx(1 - 1 / (20 / 4))
    assert far["level_kappa_quadratic"] == pytest.approx(1 - 4 / (26 / 4))


def test_macro_f1_is_over_the_levels_that_occur():
    assert scores_of([0, 0, 1], [0, 0, 1])["level_f1_macro"] == 1.0
    # Level 2 is predicted, never annotated: it counts with F1 0.
    assert scores_of([0, 2], [0, 0])["level_f1_macro"] == pytest.approx((2 / 3 + 0) / 2)


def test_unannotated_rows_are_left_out():
    assert exact(scores_of([0, 2, 1, 0], [0, -1, 1, -1])) == exact(scores_of([0, 1], [0, 1]))


def test_published_scores_average_batches_of_32():
    scores = scores_of([0] * 33, [0] * 32 + [1])
    assert scores["level_accuracy"] == pytest.approx(32 / 33)
    assert scores["level_accuracy_published"] == pytest.approx((1 + 0) / 2)
    # Batch 1 holds level 0 alone and scores 1; batch 2 holds levels 1 (gold) and 0 (predicted) and scores 0.
    assert scores["level_f1_macro_published"] == pytest.approx((1 + 0) / 2)
    assert scores["level_f1_macro"] == pytest.approx((64 / 65 + 0) / 2)


def test_published_macro_f1_overstates():
    scores = scores_of([0] * 64, [0] * 63 + [2])
    assert scores["level_f1_macro_published"] == pytest.approx((1 + 62 / 63 / 2) / 2)
    assert scores["level_f1_macro"] == pytest.approx(126 / 127 / 2)


def test_published_batches_hold_annotated_rows_only():
    with_gaps = scores_of([0, 1] * 33, [0, -1] * 32 + [1, -1])
    assert exact(with_gaps) == exact(scores_of([0] * 33, [0] * 32 + [1]))


def test_one_row():
    scores = scores_of([1], [1])
    assert {key: score for key, score in scores.items() if not np.isnan(score)} == dict.fromkeys(
        KEYS - {"level_kappa_quadratic"}, 1.0
    )


def test_no_rows_are_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        untouched = LevelScores().compute()
        unannotated = updated(LevelScores(), [0, 1], [-1, -1], [0, 1]).compute()
        empty = majority_scores(np.zeros(0, dtype=np.int64), 0)
    for scores in (untouched, unannotated, empty):
        assert scores.keys() == KEYS
        assert all(np.isnan(float(score)) for score in scores.values())


def test_majority_baseline():
    scores = majority_scores(np.array([0, 0, 1, 2, -1]), majority_level=0)
    assert scores.keys() == KEYS
    assert scores["level_accuracy"] == scores["level_accuracy_published"] == 0.5
    assert scores["level_f1_macro"] == pytest.approx(4 / 6 / 3)
    assert scores["level_f1_weighted"] == pytest.approx(2 * 4 / 6 / 4)
    assert scores["level_kappa_quadratic"] == 0.0


def test_confusion_counts_by_bin():
    counts = confusion_counts(np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2]), np.array([0, 0, 1, 1]), 3)
    assert counts.tolist() == [
        [[1, 0, 0], [0, 0, 0], [0, 1, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 2]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ]


@pytest.mark.parametrize(("predicted", "gold"), [([3], [0]), ([-1], [0]), ([0], [3])])
def test_a_level_that_does_not_exist_is_never_counted(predicted, gold):
    with pytest.raises(AssertionError, match="is not 0, 1 or 2"):
        scores_of(predicted, gold)


def test_metric_sorts_rows_and_returns_float64():
    metric = LevelScores()
    updated(metric, [0, 2], [1, 2], rows=[4, 1], groups=[7, 8])
    updated(metric, [1, 0], [-1, 0], rows=[3, 0], groups=[7, 9])
    table = metric.table()
    assert table.rows.tolist() == [0, 1, 4]
    assert table.groups.tolist() == [9, 8, 7]
    assert table.predicted.tolist() == [0, 2, 0]
    assert table.gold.tolist() == [0, 2, 1]
    scores = metric.compute()
    assert {score.dtype for score in scores.values()} == {torch.float64}
    assert exact(scores) == exact(scores_of([0, 2, 0], [0, 2, 1]))


def test_metric_batches_the_published_scores_by_row_index():
    metric = LevelScores()
    updated(metric, [0] * 33, [1] + [0] * 32, rows=[32, *range(32)])
    assert exact(metric.compute()) == exact(scores_of([0] * 33, [0] * 32 + [1]))


def test_a_row_handed_out_twice_counts_once():
    metric = LevelScores()
    updated(metric, [0, 1], [0, 0], rows=[0, 1])
    updated(metric, [0], [0], rows=[0])
    assert float(metric.compute()["level_accuracy"]) == 0.5


def test_two_rows_with_one_index_are_refused():
    metric = updated(LevelScores(), [0, 1], [0, 0], rows=[5, 5], groups=[1, 2])
    with pytest.raises(AssertionError, match="same row index"):
        metric.compute()


def test_reset_forgets_and_compute_can_go_on():
    metric = updated(LevelScores(), [0], [1], rows=[0])
    assert float(metric.compute()["level_accuracy"]) == 0.0
    updated(metric, [1], [1], rows=[1])
    assert float(metric.compute()["level_accuracy"]) == 0.5
    metric.reset()
    updated(metric, [1], [1], rows=[1])
    assert float(metric.compute()["level_accuracy"]) == 1.0


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=80),
    st.randoms(use_true_random=False),
    st.integers(1, 9),
)
@settings(deadline=None)
def test_order_and_batches_change_no_digit(pairs, random, size):
    rows = list(range(len(pairs)))
    random.shuffle(rows)
    metric = LevelScores()
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        updated(metric, [pairs[row][0] for row in batch], [pairs[row][1] for row in batch], batch)
    assert exact(metric.compute()) == exact(scores_of([pair[0] for pair in pairs], [pair[1] for pair in pairs]))
