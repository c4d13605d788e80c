import math
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.levels import level_scores
from metrics.statistics import (
    Interval,
    bootstrap_intervals,
    bootstrap_level_intervals,
    bootstrap_mean_intervals,
    group_weights,
)

NAN = math.nan


def drawn_rows(count, groups, seed=0):
    """Levels with 30 % errors, values with gaps, groups of uneven sizes."""
    draw = np.random.default_rng(seed)
    gold = draw.choice(3, size=count, p=(0.6, 0.1, 0.3))
    predicted = np.where(draw.random(count) < 0.3, draw.integers(3, size=count), gold)
    values = np.where(draw.random((count, 4)) < 0.3, NAN, draw.random((count, 4)))
    return predicted, gold, values, np.sort(draw.integers(groups, size=count))[draw.permutation(count)]


def nan_means(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(zip("abcd", np.nanmean(values, axis=0).tolist(), strict=True))


def as_lists(intervals):
    return {key: list(interval) for key, interval in intervals.items()}


def test_group_weights_draw_as_many_groups_as_there_are():
    weights = group_weights(np.array([7, 3, 3, 9]), resamples=500, seed=1)
    assert weights.shape == (500, 3)
    assert (weights.sum(1) == 3).all()
    assert set(weights.ravel().tolist()) == {0, 1, 2, 3}
    # A group is drawn once on average; its standard error here is .037.
    assert weights.mean(0) == pytest.approx([1, 1, 1], abs=0.15)


def test_seeds_decide():
    groups = np.arange(20)
    assert np.array_equal(group_weights(groups, 50, seed=3), group_weights(groups, 50, seed=3))
    assert not np.array_equal(group_weights(groups, 50, seed=3), group_weights(groups, 50, seed=4))


def test_levels_as_the_slow_way():
    predicted, gold, _, groups = drawn_rows(90, 40)
    slow = bootstrap_intervals(lambda rows: level_scores(predicted[rows], gold[rows]), groups, resamples=200, seed=5)
    fast = bootstrap_level_intervals(predicted, gold, groups, resamples=200, seed=5)
    assert list(fast) == ["level_accuracy", "level_f1_macro", "level_f1_weighted", "level_kappa_quadratic"]
    for key, interval in fast.items():
        assert interval == pytest.approx(slow[key], abs=1e-12)
        assert interval.low < level_scores(predicted, gold)[key] < interval.high


def test_means_as_the_slow_way():
    _, _, values, groups = drawn_rows(90, 40)
    slow = bootstrap_intervals(lambda rows: nan_means(values[rows]), groups, resamples=200, level=0.8, seed=5)
    fast = bootstrap_mean_intervals(values, groups, keys="abcd", resamples=200, level=0.8, seed=5)
    assert list(fast) == list("abcd")
    for key, interval in fast.items():
        assert interval == pytest.approx(slow[key], abs=1e-12)
        assert interval.low < nan_means(values)[key] < interval.high


def test_means_by_hand():
    # Two groups of a row: a resample is (1, 1), (1, 2) or (2, 2), so the means are 1, 2 or 3.
    values, groups = np.array([[1.0], [3.0]]), np.array([4, 8])
    drawn = group_weights(groups, 1000, seed=0) @ values / 2
    assert set(drawn.ravel().tolist()) == {1.0, 2.0, 3.0}
    assert bootstrap_mean_intervals(values, groups, keys=["m"]) == {"m": Interval(1.0, 3.0)}
    low, high = bootstrap_mean_intervals(values, groups, keys=["m"], level=0.4)["m"]
    assert (low, high) == tuple(np.quantile(drawn, [0.3, 0.7]))


def test_whole_groups_are_drawn():
    # Every group is half right: accuracy can't vary between draws of groups, as it would between draws of rows.
    predicted, gold, groups = np.array([0, 1] * 30), np.zeros(60, dtype=np.int64), np.repeat(np.arange(30), 2)
    assert bootstrap_level_intervals(predicted, gold, groups)["level_accuracy"] == Interval(0.5, 0.5)
    rows = bootstrap_level_intervals(predicted, gold, np.arange(60))["level_accuracy"]
    assert rows.low < 0.45 < 0.55 < rows.high


def test_groups_of_uneven_size_weigh_by_their_rows():
    # Group 0 has three rows of 1, group 1 one row of 0: drawn once each, the mean is 3/4, not 1/2.
    values, groups = np.array([[1.0], [1.0], [1.0], [0.0]]), np.array([0, 0, 0, 1])
    assert bootstrap_mean_intervals(values, groups, keys=["m"], level=0.01)["m"] == Interval(0.75, 0.75)


def test_width_agrees_with_the_normal_approximation():
    draw = np.random.default_rng(0)
    right = (draw.random(600) < 0.8).astype(np.int64)
    low, high = bootstrap_level_intervals(right, np.ones(600, dtype=np.int64), np.arange(600))["level_accuracy"]
    error = math.sqrt(right.mean() * (1 - right.mean()) / 600)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_unannotated_rows_and_missing_values_are_left_out():
    predicted, gold, values, groups = drawn_rows(60, 20)
    without = bootstrap_level_intervals(predicted, gold, groups)
    extra = np.array([0, 1, 2])
    assert without == bootstrap_level_intervals(
        np.concatenate((predicted, extra)), np.concatenate((gold, [-1] * 3)), np.concatenate((groups, extra + 500))
    )
    gaps = np.concatenate((values, np.full((3, 4), NAN)))
    assert as_lists(bootstrap_mean_intervals(gaps, np.concatenate((groups, groups[:3])))) == as_lists(
        bootstrap_mean_intervals(values, groups)
    )


def test_order_of_rows_and_names_of_groups_do_not_matter():
    predicted, gold, _, groups = drawn_rows(80, 30)
    order = np.random.default_rng(1).permutation(80)
    expected = bootstrap_level_intervals(predicted, gold, groups)
    assert bootstrap_level_intervals(predicted[order], gold[order], groups[order]) == expected
    assert bootstrap_level_intervals(predicted, gold, groups * 10 - 3) == expected


def test_what_cannot_be_said_is_nan_without_a_warning():
    none = np.zeros(0, dtype=np.int64)
    one_group = np.zeros(5, dtype=np.int64)
    values = np.array([[1.0, NAN], [2.0, NAN], [0.0, 3.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unknown = [
            *bootstrap_level_intervals(none, none, none).values(),
            *bootstrap_level_intervals(one_group, one_group, one_group).values(),
            *bootstrap_mean_intervals(np.zeros((0, 4)), none).values(),
            *bootstrap_intervals(lambda rows: {"m": float(rows.sum())}, one_group).values(),
        ]
        partly = bootstrap_mean_intervals(values, np.array([0, 1, 2]), keys=["known", "in one group"])
        perfect = bootstrap_level_intervals(one_group, one_group, np.arange(5))
    assert len(unknown) == 4 + 4 + 4 + 1
    assert all(math.isnan(end) for interval in unknown for end in interval)
    assert not math.isnan(partly["known"].low)
    assert math.isnan(partly["in one group"].low)
    assert perfect["level_accuracy"] == (1.0, 1.0)
    assert math.isnan(perfect["level_kappa_quadratic"].low)


def test_draws_without_the_score_are_left_out():
    # In draws of group 1 alone no row has a value.
    values = np.array([[0.2], [NAN], [0.6]])
    interval = bootstrap_mean_intervals(values, np.array([0, 1, 2]), keys=["m"])["m"]
    assert interval == pytest.approx((0.2, 0.6))


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(2, 12))
@settings(deadline=None, max_examples=25)
def test_intervals_hold_what_they_must(seed, count, groups):
    predicted, gold, values, names = drawn_rows(count, groups, seed)
    options = {"resamples": 60, "seed": seed}
    narrow = bootstrap_mean_intervals(values, names, level=0.5, **options)
    for key, (low, high) in bootstrap_mean_intervals(values, names, level=0.9, **options).items():
        if not math.isnan(low):
            assert -1e-12 <= low <= narrow[key].low <= narrow[key].high <= high <= 1 + 1e-12
    for low, high in bootstrap_level_intervals(predicted, gold, names, **options).values():
        assert math.isnan(low) or -1 <= low <= high <= 1


def test_a_whole_evaluation_takes_about_a_second():
    predicted, gold, values, groups = drawn_rows(600, 550)
    start = time.process_time()
    for seed in range(3):
        bootstrap_level_intervals(predicted, gold, groups, seed=seed)
        bootstrap_mean_intervals(values, groups, seed=seed)
        bootstrap_mean_intervals(values, groups, seed=seed)
    assert time.process_time() - start < 3
