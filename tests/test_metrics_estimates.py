import math
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.estimates import Estimate, detectable_difference, holm, mcnemar, over_runs, wilson


def test_a_share_with_its_wilson_interval():
    assert wilson(27, 40) == pytest.approx((0.675, 0.520177, 0.799155, 40), abs=1e-6)
    low_end = wilson(0, 10)
    assert low_end[:2] == (0, 0)
    assert low_end.high == pytest.approx(0.277533, abs=1e-6)  # z^2 / (n + z^2)
    assert isnan(wilson(0, 0).value)


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p):
    adjusted = holm(p)
    assert all(new >= old for new, old in zip(adjusted, p, strict=True))
    assert [adjusted[i] for i in np.argsort(p, kind="stable")] == sorted(adjusted)
    assert max(adjusted) <= 1


def test_holm_as_in_the_multiple_testing_tables():
    # statsmodels' multipletests(method="holm") gives the same; Holm's own steps: 4 * .005, 3 * .01, 2 * .03, then .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_mcnemar_on_the_approval_ratings():
    # Agresti, Categorical Data Analysis, table 10.1: 1,600 voters asked twice, 150 and 86 of them changed their minds;
    # statsmodels' mcnemar(exact=True) gives the p-value
    one = [True] * 794 + [True] * 150 + [False] * 86 + [False] * 570
    other = [True] * 794 + [False] * 150 + [True] * 86 + [False] * 570
    found = mcnemar(one, other)
    assert found[:2] == (150, 86)
    assert found.p == pytest.approx(3.7159361395713866e-05, rel=1e-9)


def test_mcnemar_by_hand():
    # 1 against 7 unlike rows: 2 * (1 + 8) / 2 ** 8
    found = mcnemar([1, 0, 0, 0, 0, 0, 0, 0, 1, 0], [0, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    assert found == (1, 7, pytest.approx(18 / 256))
    assert mcnemar([True, False], [True, False]).p == 1


def test_runs_vary_with_rows_and_seeds():
    # half widths .1: variance over rows (.1 / 1.959964) ** 2 = .00260318; between seeds .0008, over 2 seeds .0004
    found = over_runs([Estimate(0.50, 0.40, 0.60, 50), Estimate(0.54, 0.44, 0.64, 50)])
    half = 1.959964 * math.sqrt(0.00260318 + 0.0004)
    assert found == pytest.approx((0.52, 0.52 - half, 0.52 + half, 2), abs=1e-6)
    agreeing = over_runs([Estimate(0.22, 0.12, 0.32, 50)] * 2)
    assert agreeing[:3] == pytest.approx((0.22, 0.12, 0.32)), "seeds that agree leave the rows' variance"
    assert over_runs([Estimate(0.98, 0.90, 1.0)] * 2, 0, 1).high == 1
    assert over_runs([Estimate(0.02, 0.0, 0.1)] * 2, 0, 1).low == 0


def test_runs_without_an_interval_over_rows_get_none():
    assert over_runs([Estimate(0.5, 0.3, 0.6, 9)]) == (0.5, 0.3, 0.6, 1)
    found = over_runs([Estimate(0.4), Estimate(0.6, 0.5, 0.7)])
    assert found.value == 0.5
    assert isnan(found.low)
    assert isnan(over_runs([]).value)


def test_what_a_test_can_find():
    # z(.975) + z(.8) = 1.959964 + .841621
    assert detectable_difference(0.01) == pytest.approx(0.02801585, abs=1e-8)
    assert detectable_difference(0.01, power=0.5) == pytest.approx(0.01959964, abs=1e-8)


def test_the_detectable_difference_is_found_as_often_as_stated():
    rng = np.random.default_rng(0)
    found = rng.normal(detectable_difference(1.0), 1.0, 20_000)
    assert (np.abs(found) > 1.959964).mean() == pytest.approx(0.8, abs=0.01)


def test_an_estimate_as_text():
    assert str(Estimate(0.5, 0.4, 0.6, 10)) == "0.500 (0.400 to 0.600)"
    assert str(Estimate(0.5, float("nan"), float("nan"), 1)) == "0.500"
    assert str(Estimate(float("nan"), 0, 1, 0)) == "–"
