"""Agreement against scikit-learn (kappas, F1) and the krippendorff package (alpha)."""

from __future__ import annotations

import math
import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from metrics.agreement import Bootstrap, category_agreement, human_ceiling

LEVELS = ("none", "weak", "strong")
ONCE = Bootstrap(resamples=1)

tables = st.lists(st.lists(st.integers(-1, 2), min_size=3, max_size=3), min_size=2, max_size=30).map(np.array)


def _agreement(ratings):
    return category_agreement(
        ratings, np.arange(len(ratings)), annotators="abc", categories=LEVELS, ordered=True, bootstrap=ONCE
    )


@settings(max_examples=40, deadline=None)
@given(tables)
@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_pairwise_kappas_are_scikit_learn_s(weights, ratings):
    found = _agreement(ratings)
    suffix = f"_{weights}" if weights else ""
    kappas = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        both = (ratings[:, [a, b]] >= 0).all(1)
        key = f"{'abc'[a]}~{'abc'[b]}/kappa{suffix}"
        if not both.any():
            assert key not in found
            continue
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            reference = cohen_kappa_score(ratings[both, a], ratings[both, b], labels=[0, 1, 2], weights=weights)
        np.testing.assert_allclose(found[key].value, reference, atol=1e-12)
        kappas += [] if math.isnan(reference) else [reference]
    mean = np.mean(kappas) if kappas else math.nan
    np.testing.assert_allclose(found[f"mean_pairwise_kappa{suffix}"].value, mean, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(tables)
@pytest.mark.parametrize("distance", ["nominal", "ordinal"])
def test_alpha_is_the_krippendorff_package_s(distance, ratings):
    pairable = ratings[(ratings >= 0).sum(1) > 1]
    assume(len(np.unique(pairable[pairable >= 0])) > 1)  # the package refuses what is undefined
    reference = krippendorff.alpha(
        reliability_data=np.where(ratings < 0, np.nan, ratings).T,
        level_of_measurement=distance,
        value_domain=[0, 1, 2],
    )
    np.testing.assert_allclose(_agreement(ratings)[f"alpha_{distance}"].value, reference, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(tables)
def test_ceiling_scores_are_scikit_learn_s(table):
    ratings = np.abs(table)  # nobody left out
    found = human_ceiling(ratings[:, :2], ratings[:, 2], np.arange(len(ratings)), categories=3, bootstrap=ONCE)
    a, b, model = ratings.T
    for key, score in {
        "level_accuracy": accuracy_score,
        "level_f1_macro": lambda x, y: f1_score(x, y, average="macro"),
    }.items():
        np.testing.assert_allclose(found[f"human_{key}"].value, score(a, b))
        np.testing.assert_allclose(found[f"model_{key}"].value, (score(a, model) + score(b, model)) / 2)
