"""Diversity, coverage and intervals against plain computations."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from audit.coverage import divergence
from audit.diversity import coverage, distinct, lexical_diversity, self_bleu, spread
from audit.intervals import auc, mean_difference
from audit.vectors import EncoderVectors, TfidfVectors, nearest
from audit.words import encode_words
from metrics.agreement_coefficients import cohen_kappa
from metrics.estimates import wilson


def _plain_bleu(text, references):
    words = text.split()
    logs, orders = 0.0, min(4, len(words))
    for n in range(1, orders + 1):
        grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        counts = [Counter(tuple(r.split()[i : i + n]) for i in range(len(r.split()) - n + 1)) for r in references]
        matched = sum(min(count, max(c[gram] for c in counts)) for gram, count in grams.items())
        logs += math.log(max(matched, 0.1) / sum(grams.values()))
    closest = min((len(r.split()) for r in references), key=lambda length: (abs(length - len(words)), length))
    return math.exp(logs / orders) * math.exp(min(0.0, 1 - closest / len(words)))


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=8).map(" ".join), min_size=2, max_size=6))
def test_self_bleu_is_bleu_against_all_the_others(texts):
    expected = [_plain_bleu(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]
    assert self_bleu(encode_words(texts)) == pytest.approx(expected)


def test_repeating_texts_score_one_and_unlike_ones_near_zero():
    assert self_bleu(encode_words(["we are here now", "we are here now"])).tolist() == pytest.approx([1, 1])
    assert self_bleu(encode_words(["we are here now", "do not go yet"])).max() < 0.05


def test_distinct_ngrams_are_counted():
    words = encode_words(["a b a b", "a c"])
    assert distinct(words, 1) == 3 / 6
    assert distinct(words, 2) == 3 / 4  # ab ba ab, ac


def test_a_larger_set_does_not_look_poorer_at_the_same_budget():
    texts = ["one two three", "four five six", "one two three"]
    assert lexical_diversity(texts, 6)["distinct_1"] == 1.0
    assert lexical_diversity(texts, 9)["distinct_1"] == pytest.approx(6 / 9)


def test_spread_of_equal_and_of_unrelated_vectors():
    equal = np.tile(np.array([[1, 0, 0, 0]], dtype=np.float32), (4, 1))
    assert spread(equal) == pytest.approx({"mean_distance": 0, "nearest_distance": 0, "vendi": 1 / 4})
    assert spread(np.eye(4, dtype=np.float32)) == pytest.approx({"mean_distance": 1, "nearest_distance": 1, "vendi": 1})


def test_coverage_of_rows_of_one_source_and_of_another():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(800, 6)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    groups = [str(i) for i in range(400)]
    assert coverage(points[:400], points[400:], groups) == pytest.approx(1 - 2**-5, abs=0.03)
    assert coverage(points[:400], np.tile(points[:1], (400, 1)), groups) < 0.1


def test_neighbours_come_from_other_groups():
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], dtype=np.float32)
    similarity, rows = nearest(vectors, vectors, groups=["a", "a", "b", "b"], count=2, block=3)
    assert rows.tolist() == [[3, 2], [3, 2], [1, 0], [1, 0]]
    assert similarity[0].tolist() == pytest.approx([0.6, 0.0])


def test_vectors_have_length_one_and_like_texts_are_near(encoder):
    texts = ["the garden is wet", "the garden is so wet", "my brother plays chess", ""]
    for vectoriser in (TfidfVectors(), EncoderVectors(encoder, batch=2)):
        vectors = vectoriser(texts)
        assert np.linalg.norm(vectors[:3], axis=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert EncoderVectors(encoder, batch=1)(texts) == pytest.approx(EncoderVectors(encoder, batch=4)(texts), abs=1e-5)


def test_divergence_of_topics():
    one = np.array([0, 0, 1, 1])
    assert divergence(one, one, 2) == 0
    assert divergence(one, np.array([2, 2]), 3) == pytest.approx(1)


def test_wilson_interval_of_a_share():
    found = wilson(0, 10)
    assert (found.value, found.low, found.n) == (0, pytest.approx(0), 10)
    assert found.high == pytest.approx(0.2775, abs=1e-4)
    assert wilson(5, 10).low == pytest.approx(0.2366, abs=1e-4)
    assert math.isnan(wilson(0, 0).value)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_auc_is_the_one_of_scikit_learn_and_lies_in_its_interval(high, low):
    found = auc(high, low)
    labels = [1] * len(high) + [0] * len(low)
    assert found.value == pytest.approx(roc_auc_score(labels, high + low))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high > found.low, "also where the two are wholly apart"
    turned = auc(low, high)
    assert (turned.low, turned.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-6)


def test_the_interval_of_an_auc_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        found = auc(generator.normal(1, 1, 30), generator.normal(0, 1, 40))
        held += found.low <= 0.76025 <= found.high  # Phi(1 / sqrt 2)
    assert 0.92 <= held / 400 <= 0.98


def test_mean_interval_is_students_where_rows_are_independent_and_wider_where_they_repeat():
    values = np.array([0.1, -0.3, 0.4, 0.9, 0.2])
    found = mean_difference(values, np.arange(5))
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    doubled = mean_difference(np.tile(values, 2), np.tile(np.arange(5), 2))
    assert (doubled.low, doubled.high, doubled.n) == (pytest.approx(low), pytest.approx(high), 10)


def test_kappa_is_the_quadratic_one():
    one, two = [0, 1, 2, 2, 1, 0, 0], [0, 2, 2, 1, 1, 0, 1]
    table = np.zeros((3, 3), dtype=np.int64)
    np.add.at(table, (one, two), 1)
    assert cohen_kappa(table, "quadratic") == pytest.approx(cohen_kappa_score(one, two, weights="quadratic"))
    assert math.isnan(cohen_kappa(np.diag([4, 0, 0]), "quadratic"))
