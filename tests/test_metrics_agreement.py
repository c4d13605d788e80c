"""Agreement: worked examples with their published values, properties, and known kappas of simulated annotators."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.agreement import Bootstrap, category_agreement, human_ceiling, mean_of_pairs
from metrics.agreement_coefficients import cohen_kappa, coincidences, krippendorff_alpha, pair_confusions

LEVELS = ("none", "weak", "strong")
QUICK = Bootstrap(resamples=50)


def _table(text: str) -> np.ndarray:
    """Ratings written as in the papers, a line an annotator: 1-based categories, `.` where missing."""
    rows = [[-1 if cell == "." else int(cell) - 1 for cell in line.split()] for line in text.strip().splitlines()]
    return np.array(rows).T


CANONICAL = """
    1 2 3 3 2 1 4 1 2 . . .
    1 2 3 3 2 2 4 1 2 5 . 3
    . 3 3 3 2 3 4 2 2 5 1 .
    1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Krippendorff (2011), section D: four observers, twelve units, five values, missing data."""


@pytest.mark.parametrize(("distance", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_canonical_example(distance, published):
    matrix = coincidences(_table(CANONICAL), 5).sum(0)
    assert krippendorff_alpha(matrix, distance) == pytest.approx(published, abs=5e-4)


def test_coincidences_of_the_canonical_example():
    # The coincidence matrix printed in section D of the paper; its 40 pairable values.
    expected = [
        [7, 4 / 3, 1 / 3, 1 / 3, 0],
        [4 / 3, 10, 4 / 3, 1 / 3, 0],
        [1 / 3, 4 / 3, 8, 1 / 3, 0],
        [1 / 3, 1 / 3, 1 / 3, 4, 0],
        [0, 0, 0, 0, 3],
    ]
    np.testing.assert_allclose(coincidences(_table(CANONICAL), 5).sum(0), expected)


def test_alpha_of_two_observers_and_five_nominal_values():
    # Krippendorff (2011), section B: alpha = 0.692.
    pair = _table("1 1 2 2 4 3 3 3 5 4 4 1\n2 1 2 2 2 3 3 3 5 4 4 4")
    assert krippendorff_alpha(coincidences(pair, 5).sum(0)) == pytest.approx(0.692, abs=5e-4)


def test_alpha_of_two_observers_and_binary_values():
    # Krippendorff (2011), section A: alpha = 0.095.
    pair = _table("1 2 1 1 1 1 1 1 2 1\n2 2 2 1 1 2 1 1 1 1")
    assert krippendorff_alpha(coincidences(pair, 2).sum(0)) == pytest.approx(0.095, abs=5e-4)


def test_kappa_by_hand():
    # 70 of 100 agree; by chance .5 * .6 + .5 * .4 = .5 would: (.7 - .5) / (1 - .5).
    assert cohen_kappa(np.array([[40, 10], [20, 30]])) == pytest.approx(0.4)


def test_weighted_kappa_by_hand():
    confusion = np.array([[4, 1, 1], [0, 2, 0], [0, 0, 2]])
    # Marginals 6 2 2 and 4 3 3 of 10 rows. Linear: observed (1 + 2) / 10; expected (6*3 + 6*3*2 + 2*4 + 2*3 + 2*4*2 +
    # 2*3) / 100 = .9. Quadratic: observed (1 + 4) / 10; expected (18 + 72 + 8 + 6 + 32 + 6) / 100 = 1.42.
    assert cohen_kappa(confusion, "linear") == pytest.approx(1 - 0.3 / 0.9)
    assert cohen_kappa(confusion, "quadratic") == pytest.approx(1 - 0.5 / 1.42)


def test_kappa_is_undefined_where_all_say_the_same():
    assert math.isnan(cohen_kappa(np.array([[7, 0], [0, 0]])))
    assert math.isnan(krippendorff_alpha(np.array([[7.0, 0], [0, 0]])))


def test_pair_confusions_count_shared_rows_by_group():
    ratings = np.array([[0, 1, -1], [2, 2, 2], [1, -1, 0], [-1, -1, 1]])
    tables = pair_confusions(ratings, np.array([0, 1, 1, 0]), 3)
    assert tables.shape == (3, 2, 3, 3)
    found = {tuple(map(int, place)): int(tables[tuple(place)]) for place in np.argwhere(tables)}
    assert found == {(0, 0, 0, 1): 1, (0, 1, 2, 2): 1, (1, 1, 2, 2): 1, (1, 1, 1, 0): 1, (2, 1, 2, 2): 1}


def test_keys_and_rows_of_category_agreement():
    ratings = np.array([[0, 0, -1], [1, 2, -1], [2, 2, -1], [0, 1, 0], [1, -1, -1]])
    found = category_agreement(
        ratings, np.arange(5), annotators=["a", "b", "c"], categories=LEVELS, ordered=True, bootstrap=QUICK
    )
    assert found["a~b/agreement"].value == 0.5
    assert found["a~b/agreement"].n == 4
    assert found["a~c/agreement"][:1] == (1.0,)
    assert found["mean_pairwise_agreement"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["mean_pairwise_agreement"].n == 4  # the fifth row has one annotator
    assert math.isnan(found["a~c/kappa"].value)  # one shared row
    assert found["mean_pairwise_kappa"].value == pytest.approx((found["a~b/kappa"].value + 0) / 2)  # b~c: 0
    assert {"alpha_nominal", "alpha_ordinal", "strong/mean_pairwise_kappa", "strong/alpha_nominal"} <= found.keys()
    # Strong against the rest, a and b: [[2, 1], [0, 1]] of 4 rows, 3/4 agree, 1/2 by chance.
    assert found["strong/mean_pairwise_kappa"].value == pytest.approx(0.5)


def test_unordered_answers_have_no_weighted_scores():
    found = category_agreement(
        np.array([[0, 1], [1, 1]]), np.arange(2), annotators="ab", categories="xyz", ordered=False, bootstrap=QUICK
    )
    assert not [key for key in found if "linear" in key or "quadratic" in key or "ordinal" in key]


def test_the_whole_group_is_drawn():
    ratings = np.array([[0, 0], [1, 1], [2, 2], [0, 1]] * 5)
    kwargs = {"annotators": "ab", "categories": LEVELS, "ordered": True, "bootstrap": Bootstrap(resamples=200)}
    together = category_agreement(ratings, np.zeros(20, dtype=int), **kwargs)["mean_pairwise_kappa"]
    apart = category_agreement(ratings, np.arange(20), **kwargs)["mean_pairwise_kappa"]
    assert math.isnan(together.low)
    assert together.value == apart.value
    assert apart.low < apart.value < apart.high


def test_mean_of_pairs_by_hand():
    values = np.array([[1.0, 0.0, np.nan], [np.nan, np.nan, 0.5], [np.nan, np.nan, np.nan]])
    found = mean_of_pairs(values, np.arange(3), bootstrap=QUICK, pairs=["a~b", "a~c", "b~c"])
    assert found[""].value == 0.5
    assert found[""].n == 3
    assert found["a~b"].value == 0.5
    assert found["a~b"].n == 2
    assert "b~c" not in found


def test_ceiling_asks_people_and_model_the_same_rows():
    ratings = np.array([[0, 0], [1, 2], [2, 2], [1, 1], [0, -1], [2, 0]])
    predicted = np.array([0, 1, 2, 0, 1, -1])  # the last two rows don't count
    found = human_ceiling(ratings, predicted, np.arange(6), categories=3, bootstrap=QUICK)
    assert found["human_level_accuracy"].value == 0.75
    assert found["model_level_accuracy"].value == pytest.approx((0.75 + 0.5) / 2)
    assert found["model_minus_human_level_accuracy"].value == pytest.approx(-0.125)
    assert found["human_level_accuracy"].n == 4
    # a, b on rows 0-3: level 0 f1 1, level 1 2/3, level 2 2/3.
    assert found["human_level_f1_macro"].value == pytest.approx(7 / 9)


def simulated(copies: list[float], rows: int, seed: int, shares: tuple[float, ...] = (0.55, 0.25, 0.2)) -> np.ndarray:
    """Annotators who see a row's true level with their own probability and draw one by the shares otherwise.

    Two of them agree beyond chance exactly when both see the truth, so their kappa, weighted or not, is the product of
    their probabilities.
    """
    generator = np.random.default_rng(seed)
    truth = generator.choice(len(shares), size=rows, p=shares)
    guesses = generator.choice(len(shares), size=(rows, len(copies)), p=shares)
    return np.where(generator.random((rows, len(copies))) < copies, truth[:, None], guesses)


def test_known_kappas_of_simulated_annotators_are_recovered():
    copies = [0.95, 0.85, 0.75]
    known = {"a~b": 0.95 * 0.85, "a~c": 0.95 * 0.75, "b~c": 0.85 * 0.75}
    keys = ["kappa", "kappa_linear", "kappa_quadratic"]
    wanted = {f"{pair}/{key}": value for pair, value in known.items() for key in keys}
    wanted |= {f"mean_pairwise_{key}": sum(known.values()) / 3 for key in keys}
    inside = dict.fromkeys(wanted, 0)
    for seed in range(60):
        found = category_agreement(
            simulated(copies, 400, seed),
            np.arange(400),
            annotators="abc",
            categories=LEVELS,
            ordered=True,
            bootstrap=Bootstrap(resamples=300, seed=seed),
        )
        for key, value in wanted.items():
            inside[key] += found[key].low <= value <= found[key].high
    # 95 % intervals: 57 of 60 expected; fewer than 51 has a probability of about 1 in 2,000.
    assert min(inside.values()) >= 51, inside


ratings_tables = st.integers(2, 4).flatmap(
    lambda annotators: st.lists(
        st.lists(st.integers(-1, 2), min_size=annotators, max_size=annotators), min_size=1, max_size=12
    )
)


@settings(max_examples=50, deadline=None)
@given(ratings_tables)
def test_agreement_doesn_t_depend_on_the_order_of_rows_or_annotators(table):
    ratings = np.array(table)
    names = [f"a{number}" for number in range(ratings.shape[1])]
    kwargs = {"categories": LEVELS, "ordered": True, "bootstrap": Bootstrap(resamples=2)}
    rows = np.arange(len(ratings))
    plain = category_agreement(ratings, rows, annotators=names, **kwargs)
    turned = category_agreement(ratings[::-1, ::-1], rows, annotators=names[::-1], **kwargs)
    for key in ("mean_pairwise_kappa", "mean_pairwise_kappa_quadratic", "alpha_ordinal", "weak/alpha_nominal"):
        np.testing.assert_allclose(plain[key].value, turned[key].value, atol=1e-12)
        assert math.isnan(plain[key].value) or plain[key].value <= 1 + 1e-12
