import math

import numpy as np
import pytest

from metrics.calibration import reliability
from metrics.comparison import bend, condition, difference, estimate, level_samples, mean_samples, slope
from metrics.levels import level_scores
from metrics.statistics import bootstrap_level_intervals, bootstrap_mean_intervals

NAN = math.nan


def rows(count=120, groups=60, seed=0, errors=0.3):
    draw = np.random.default_rng(seed)
    gold = np.random.default_rng(99).choice(3, size=count, p=(0.6, 0.1, 0.3))
    predicted = np.where(draw.random(count) < errors, draw.integers(3, size=count), gold)
    return predicted, gold, np.arange(count) % groups


def constant(*values):
    """Samples whose draws are all the score itself."""
    return [np.full(101, value) for value in values]


def test_samples_are_the_score_and_the_bootstrap_of_the_statistics():
    predicted, gold, groups = rows()
    samples = level_samples(predicted, gold, groups, resamples=1000)
    scores, intervals = level_scores(predicted, gold), bootstrap_level_intervals(predicted, gold, groups)
    for key, each in samples.items():
        found = estimate(each, 120)
        assert found.value == pytest.approx(scores[key])
        assert (found.low, found.high) == pytest.approx(intervals[key])


def test_means_are_drawn_with_the_rows_of_levels():
    predicted, gold, groups = rows()
    right = (predicted == gold).astype(float)
    some = np.where(gold > 0, right, NAN)
    found = mean_samples(np.stack((right, some), axis=1), groups, ("all", "some"), 1000)
    assert np.allclose(found["all"], level_samples(predicted, gold, groups, 1000)["level_accuracy"])
    assert found["some"][0] == pytest.approx(right[gold > 0].mean())
    interval = bootstrap_mean_intervals(some[:, None], groups, keys=["some"])["some"]
    assert estimate(found["some"], 1)[1:3] == pytest.approx(interval)


def test_one_group_has_a_score_and_nothing_to_say_how_it_varies():
    predicted, gold, groups = rows()
    right = (predicted == gold).astype(float)
    of_one = np.where(groups == 7, right, NAN)
    found = {seed: level_samples(predicted, gold, np.zeros(120, np.int64), 100)["level_f1_macro"] for seed in (1, 2)}
    means = mean_samples(np.stack((right, of_one), axis=1), groups, ("all", "one"), 100)
    for samples, value in (
        (found[1], level_scores(predicted, gold)["level_f1_macro"]),
        (condition(found), level_scores(predicted, gold)["level_f1_macro"]),
        (means["one"], np.nanmean(of_one)),
    ):
        told = estimate(samples, 1)
        assert told.value == pytest.approx(value)
        assert np.isnan(told[1:3]).all()
    assert not np.isnan(means["all"]).any()
    gap = difference(found, {seed: samples - 0.25 for seed, samples in found.items()})
    assert gap.value == pytest.approx(0.25)
    assert np.isnan([gap.low, gap.high, gap.error, gap.p]).all()


def test_unannotated_rows_are_left_out():
    predicted, gold, groups = rows()
    extra = [np.append(each, value) for each, value in zip((predicted, gold, groups), (2, -1, 500), strict=True)]
    one, other = level_samples(predicted, gold, groups, 50), level_samples(*extra, 50)
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_a_condition_is_the_mean_over_seeds_and_draws_the_seeds_too():
    samples = dict(zip((3, 1), constant(0.4, 0.8), strict=True))
    found = condition(samples)
    assert found[0] == pytest.approx(0.6)
    # Of two seeds a draw takes one: its variance is that of their mean, (0.8 - 0.4) ** 2 / 2 / 2.
    assert set(np.round(found[1:], 9)) == {0.4, 0.8}
    assert found[1:].var() == pytest.approx(0.04, rel=0.05)
    three = condition(dict(enumerate(constant(0.1, 0.4, 0.7))))
    assert set(np.round(three[1:], 9)) == {0.1, 0.25, 0.4, 0.55, 0.7}
    assert (condition(samples, [3]) == 0.4).all()
    assert (condition({1: samples[1]}) == samples[1]).all()


def test_a_difference_is_paired_by_seed():
    # Seeds vary by .4, the gap is .1 for each: paired, nothing varies.
    one = dict(zip((1, 2), constant(0.5, 0.9), strict=True))
    other = dict(zip((1, 2, 3), constant(0.4, 0.8, 0.1), strict=True))
    found = difference(one, other)
    assert found[:4] == pytest.approx((0.1, 0.1, 0.1, 2))
    assert found.error == pytest.approx(0)
    assert found.p == pytest.approx(2 / 101)  # no draw of 100 on the other side


def test_a_difference_is_paired_by_row():
    predicted, gold, groups = rows()
    better = predicted.copy()
    better[np.flatnonzero(predicted != gold)[:6]] = gold[np.flatnonzero(predicted != gold)[:6]]
    one, other = (level_samples(each, gold, groups)["level_accuracy"] for each in (better, predicted))
    found = difference({1: one}, {1: other})
    assert found.value == pytest.approx(6 / 120)
    # Six rows of six groups changed: the draws' share of them is binomial, error sqrt(6 (1 - 6 / 60)) / 60 of groups.
    assert found.error == pytest.approx(math.sqrt(6 * 54 / 60) / 120, rel=0.05)
    assert 0 < found.low < found.value < found.high
    # No draw falls to 0 unless it misses all six: (54 / 60) ** 60 = .0018, doubled.
    assert found.p == pytest.approx(2 * 0.9**60, abs=0.003)
    assert difference({1: other}, {1: one}).p == pytest.approx(found.p)
    assert difference({1: one}, {1: one}).p == 1


def test_differences_that_cannot_be_said():
    found = difference({1: constant(0.5)[0]}, {2: constant(0.5)[0]})
    assert found.n == 0
    assert all(math.isnan(each) for each in (found.value, found.low, found.p))


def test_intervals_cover_the_true_difference():
    held = 0
    for number in range(200):
        draw = np.random.default_rng(number)
        gold = np.zeros(150, dtype=np.int64)
        both = draw.random(150)
        one, other = (both < 0.75).astype(np.int64), (draw.random(150) < 0.6).astype(np.int64)
        pair = [{1: level_samples(1 - each, gold, np.arange(150), 400)["level_accuracy"]} for each in (one, other)]
        found = difference(*pair)
        held += found.low <= 0.15 <= found.high
    assert 0.9 <= held / 200 <= 0.99


def test_a_slope_by_hand():
    # scipy.stats.linregress([0, 30, 60, 90], [.5, .52, .53, .57]).slope
    found = slope([0, 30, 60, 90], constant(0.5, 0.52, 0.53, 0.57))
    assert found.value == pytest.approx(0.22 / 300)
    assert (found.low, found.high, found.n) == (pytest.approx(found.value), pytest.approx(found.value), 4)


def test_a_bend_where_the_gain_stops():
    # .02 for 30 rows up to 90, nothing from there on
    dose = [0, 30, 60, 90, 120, 150, 180]
    found = bend(dose, constant(0.50, 0.52, 0.54, 0.56, 0.56, 0.56, 0.56))
    assert found.point[:3] == (90, 90, 90)
    assert found.before.value == pytest.approx(0.02 / 30)
    assert found.after.value == pytest.approx(0)
    assert found.change.value == pytest.approx(-0.02 / 30)


def test_a_bend_says_how_unsure_its_place_is():
    draw = np.random.default_rng(0)
    dose = np.arange(0, 300, 30)
    clear = np.minimum(dose, 120) * 0.001
    for noise, low, high in ((0.002, 120, 120), (0.05, 30, 240)):
        noisy = [np.concatenate(([y], y + draw.normal(0, noise, 2000))) for y in clear]
        point = bend(dose, noisy).point
        assert (point.value, point.low, point.high) == (120, low, high)


def test_a_bend_needs_five_doses():
    assert bend([0, 1, 2, 3], constant(0, 1, 1, 1)) is None
    assert bend([0, 0, 1, 2, 3], constant(0, 0, 1, 1, 1)) is None


def test_undefined_draws_are_left_out():
    samples = np.array([0.5, 0.4, NAN, 0.6])
    assert estimate(samples, 3)[1:3] == pytest.approx((0.405, 0.595))
    found = bend([0, 1, 2, 3, 4], [np.array([y, y, NAN]) for y in (0.0, 1, 2, 2, 2)])
    assert found.point[:3] == (2, 2, 2)
    assert math.isnan(estimate(np.array([NAN, NAN]), 1).low)


def test_reliability_by_hand():
    found = reliability(np.array([0.55, 0.65, 0.95, 1.0]), np.array([1.0, 0.0, 1.0, 1.0]), bins=2)
    assert found.rows.tolist() == [0, 4]
    assert found.right[1] == 0.75
    assert found.confidence[1] == pytest.approx(3.15 / 4)
    assert found.error == pytest.approx(0.0375)
    fine = reliability(np.array([0.55, 0.65, 0.95, 1.0]), np.array([1.0, 0.0, 1.0, 1.0]), bins=10)
    assert fine.error == pytest.approx((0.45 + 0.65 + 0.05) / 4)
    assert math.isnan(fine.right[0])
    assert math.isnan(reliability(np.zeros(0), np.zeros(0)).error)
