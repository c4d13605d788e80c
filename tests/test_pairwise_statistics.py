from math import isnan, nan

import numpy as np
import pytest

from experiments.pairwise.statistics import Outcome, bradley_terry, calibrated, preference

TEAMS = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"]
WINS = [  # American League, 1987: Agresti, Categorical Data Analysis, table 10.10; a line's team beat a column's
    [0, 7, 9, 7, 7, 9, 11],
    [6, 0, 7, 5, 11, 9, 9],
    [4, 6, 0, 7, 7, 8, 12],
    [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6],
    [2, 4, 1, 3, 1, 7, 0],
]


def test_strengths_of_the_published_baseball_season():
    games = [(one, other) for one in range(7) for other in range(7) for _ in range(WINS[one][other])]
    outcomes = [Outcome(str(n), TEAMS[one], TEAMS[other], 1) for n, (one, other) in enumerate(games)]
    strengths = bradley_terry(outcomes, TEAMS)
    over_baltimore = [strengths[team].value - strengths["Baltimore"].value for team in TEAMS]
    # the BradleyTerry2 package's vignette prints these for the same season
    assert over_baltimore == pytest.approx([1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0], abs=5e-5)
    assert {strength.n for strength in strengths.values()} == {78}


def test_strengths_with_ties_and_contexts_in_common():
    # one context a letter, each with all three pairs; statsmodels' GLM (binomial, cluster-robust, ties as 0.5) on these
    # rows gives the strengths, and the errors up to its factor sqrt(11 / 10) for few rows
    values = {"a": (1, 1, 0), "b": (1, -1, 1), "c": (-1, 1, 1), "d": (0, 1, -1)}
    pairs = [("x", "y"), ("x", "z"), ("y", "z")]
    outcomes = [Outcome(c, *pair, v) for c, row in values.items() for pair, v in zip(pairs, row, strict=True)]
    strengths = bradley_terry(outcomes, ["x", "y", "z"])
    assert [s.value for s in strengths.values()] == pytest.approx([0.534600, 0, -0.534600], abs=1e-6)
    errors = [(s.high - s.value) / 1.959964 for s in strengths.values()]
    assert errors == pytest.approx([0.364943, 0.505896, 0.364943], abs=1e-6)


def test_a_system_that_never_lost_has_no_strength():
    outcomes = [
        Outcome("a", "x", "y", 1),
        Outcome("a", "x", "z", 1),
        Outcome("a", "y", "z", 1),
        Outcome("b", "y", "z", -1),
    ]
    assert all(isnan(strength.value) for strength in bradley_terry(outcomes, ["x", "y", "z"]).values())
    rescued = [*outcomes, Outcome("b", "x", "y", 0)]
    strengths = bradley_terry(rescued, ["x", "y", "z"])
    assert strengths["x"].value > strengths["y"].value > strengths["z"].value
    assert sum(strength.value for strength in strengths.values()) == pytest.approx(0, abs=1e-9)


def test_the_sign_test_leaves_ties_out():
    found = preference([1] * 8 + [-1] * 2 + [0] * 10)
    assert found.p == pytest.approx(112 / 1024)  # 2 * (1 + 10 + 45) / 2**10
    assert (found.win.value, found.loss.value, found.tie.value) == (0.4, 0.1, 0.5)
    assert (found.decided.value, found.decided.n) == (0.8, 10)
    assert preference([0, 0]).p == 1


def test_calibration_takes_out_what_the_judge_adds():
    # the judge gives 1 too often; people judged the first four: mean error (0 + 0 - 1 - 1) / 4
    found = calibrated([1, 1, 1, 1, 1, 0, 1, 1], [1, 1, 0, 0, nan, nan, nan, nan])
    assert found.value == pytest.approx(7 / 8 - 1 / 2)
    assert found.n == 4
    # by hand: a judged context adds 1/64 + 1/8 or 1/64 - 1/8, the others 1/64, 1/64, -7/64, 1/64, squared and added up
    error = ((2 * 9**2 + 2 * 7**2 + 3 * 1 + 7**2) / 64**2) ** 0.5
    assert found.high == pytest.approx(0.375 + 1.959964 * error, abs=1e-6)
    assert found.low == 0  # 0.375 less as much is below


def test_calibration_is_what_people_said_where_they_judged_all():
    assert calibrated([1, 1, 0, 0.5], [0, 1, 0.5, 1]).value == pytest.approx(0.625)
    assert isnan(calibrated([1, 0], [nan, nan]).value)
    assert isnan(calibrated([1, 0], [nan, 1]).low)


def test_calibrated_intervals_hold_the_truth():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        human = rng.random(120) < 0.6
        judge = np.where(rng.random(120) < 0.7, human, True)  # a judge that favours the system
        shown = np.where(np.arange(120) < 60, human, nan)
        found = calibrated(judge.astype(float), shown)
        held += found.low <= 0.6 <= found.high
    assert held >= 52
