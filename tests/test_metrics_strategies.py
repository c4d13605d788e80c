"""Strategy metrics against scikit-learn and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score

from lightning_modules.networks.strategy_encoder import fit_temperature
from metrics.confusion_picture import confusion_svg
from metrics.row_table import RowTable
from metrics.strategies import (
    StrategyRows,
    calibration_error,
    confusion,
    evaluate_strategies,
    majority_rows,
    preference_bias,
    strategy_samples,
    strategy_scores,
)


def rows_from(probabilities, targets, gold=None, predicted=None, groups=None):
    probabilities = np.asarray(probabilities, float)
    targets = np.asarray(targets, float)
    count, size = probabilities.shape
    if predicted is None:
        predicted = np.eye(size)[probabilities.argmax(axis=1)]
    return StrategyRows(
        np.arange(count),
        np.arange(count) if groups is None else np.asarray(groups),
        probabilities,
        probabilities,
        np.asarray(predicted, float),
        targets,
        targets if gold is None else np.asarray(gold, float),
    )


def test_several_labels_have_no_calibration_and_a_baseline_that_says_them_all():
    targets = np.tile([1.0, 1.0, 0.0, 0.0], (40, 1))
    rows = rows_from(targets / 2, targets, predicted=targets)._replace(several=True)
    scores = strategy_scores(rows)
    assert (scores["f1_macro"], scores["accuracy"]) == (1.0, 1.0)
    assert np.isnan([scores["calibration_error"], scores["log_loss"]]).all()
    trivial = majority_rows(rows, np.array([30.0, 20.0, 5.0, 5.0]))
    assert trivial.predicted.tolist() == np.ones((40, 4)).tolist()
    assert strategy_scores(trivial)["f1_macro"] == pytest.approx((1 + 1 + 0 + 0) / 4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(5, 40))
def test_single_label_scores_are_scikit_learns(seed, count):
    chooser = np.random.default_rng(seed)
    probabilities = chooser.dirichlet(np.ones(5), count)
    gold = chooser.integers(5, size=count)
    scores = strategy_scores(rows_from(probabilities, np.eye(5)[gold]))
    predicted = probabilities.argmax(axis=1)
    assert scores["accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    assert scores["accuracy_any"] == scores["accuracy"]
    assert scores["f1_macro"] == pytest.approx(f1_score(gold, predicted, average="macro"))
    assert scores["f1_weighted"] == pytest.approx(f1_score(gold, predicted, average="weighted"))
    assert scores["top3_accuracy"] == pytest.approx(top_k_accuracy_score(gold, probabilities, k=3, labels=range(5)))
    assert scores["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(count), gold]).mean())


@settings(deadline=None, max_examples=40)
@given(arrays(int, (12, 4), elements=st.integers(0, 1)), arrays(int, (12, 4), elements=st.integers(0, 1)))
def test_multi_label_f1_is_scikit_learns(predicted, targets):
    found = strategy_scores(rows_from(np.full((12, 4), 0.25), targets, predicted=predicted))
    occurring = [place for place in range(4) if predicted[:, place].any() or targets[:, place].any()]
    if not occurring:
        assert math.isnan(found["f1_macro"])
        return
    expected = f1_score(targets, predicted, labels=occurring, average="macro", zero_division=0)
    assert found["f1_macro"] == pytest.approx(expected)


def test_any_label_of_the_turn():
    rows = rows_from([[0.6, 0.4], [0.6, 0.4]], [[1, 0], [0, 1]], gold=[[1, 1], [1, 1]])
    scores = strategy_scores(rows)
    assert (scores["accuracy"], scores["accuracy_any"]) == (0.5, 1.0)
    assert confusion(rows).tolist() == [[1, 0], [1, 0]]


def test_preferences_satisfy_newmans_equation():
    table = np.array([[9, 4, 1], [2, 7, 3], [5, 1, 8]], float)
    bias, strengths = preference_bias(table)
    wins = table.T - np.diag(np.diag(table))
    for i in range(3):
        others = [j for j in range(3) if j != i]
        won = sum(wins[i, j] * strengths[j] / (strengths[i] + strengths[j]) for j in others)
        lost = sum(wins[j, i] / (strengths[i] + strengths[j]) for j in others)
        assert strengths[i] == pytest.approx(won / lost)
    assert strengths.mean() == pytest.approx(1)
    assert bias == pytest.approx(np.sqrt(((strengths - 1) ** 2).mean()))


def test_preferences_of_the_extremes():
    even = np.full((4, 4), 5.0)
    assert preference_bias(even)[0] == pytest.approx(0, abs=1e-9)
    one = np.zeros((4, 4))
    one[:, 2] = 10  # always says the third
    bias, strengths = preference_bias(one)
    assert strengths.tolist() == pytest.approx([0, 0, 4, 0])
    assert bias == pytest.approx(math.sqrt(3))
    assert math.isnan(preference_bias(np.eye(3) * 5)[0])  # no error to judge by
    # twice as often said in the other's place as the other in its place: strengths 4/3 and 2/3
    assert preference_bias(np.array([[0, 10], [20, 0]]))[1].tolist() == pytest.approx([4 / 3, 2 / 3])


def test_calibration_error_by_hand():
    rows = rows_from([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[1, 0], [0, 1], [1, 0], [0, 1]])
    # bins of 0.9: |1.8 - 1|, of 0.6: |0.6 - 1|, of 0.8: |0.8 - 1|; over four rows
    assert calibration_error(rows) == pytest.approx((0.8 + 0.4 + 0.2) / 4)


def test_majority_and_intervals():
    chooser = np.random.default_rng(0)
    gold = chooser.integers(3, size=90)
    rows = rows_from(chooser.dirichlet(np.ones(3), 90), np.eye(3)[gold], groups=np.arange(90) // 3)
    scores = evaluate_strategies(rows, np.array([1.0, 5.0, 2.0]))
    assert scores["accuracy_majority"].value == pytest.approx((gold == 1).mean())
    assert scores["accuracy"].low < scores["accuracy"].value < scores["accuracy"].high
    assert scores["accuracy"].n == 90
    assert math.isnan(scores["calibration_error"].low)
    assert math.isnan(strategy_scores(rows_from(np.zeros((0, 3)), np.zeros((0, 3))))["accuracy"])


def test_temperature_is_found():
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(4_000, 4, generator=generator, dtype=torch.float64) * 2
    drawn = torch.multinomial(true.softmax(dim=1), 1, generator=generator)[:, 0]
    targets = torch.nn.functional.one_hot(drawn, 4).double()
    assert fit_temperature(true * 2.5, targets, multi_label=False) == pytest.approx(2.5, rel=0.1)
    several = (torch.rand(true.shape, generator=generator) < true.sigmoid()).double()
    assert fit_temperature(true * 0.5, several, multi_label=True) == pytest.approx(0.5, rel=0.1)
    assert fit_temperature(torch.zeros(0, 4), torch.zeros(0, 4), multi_label=False) == 1


def test_row_table_counts_a_row_once_in_any_order():
    table = RowTable(2)
    table.update(torch.tensor([5, 2]), torch.tensor([1, 1]), torch.tensor([[0.5, 1.0], [0.25, 2.0]]))
    table.update(torch.tensor([2]), torch.tensor([1]), torch.tensor([0.25]), torch.tensor([2.0]))
    assert table.compute().tolist() == [[2, 1, 0.25, 2], [5, 1, 0.5, 1]]
    table.reset()
    assert table.compute().shape == (0, 4)


def test_row_table_in_half_precision_keeps_every_digit():
    table = RowTable(1)
    table.update(torch.tensor([100_001]), torch.tensor([70_001]), torch.tensor([1 / 3], dtype=torch.float64))
    assert table.to(torch.bfloat16).compute().tolist() == [[100_001, 70_001, 1 / 3]]


def test_confusion_picture():
    picture = confusion_svg(np.array([[3.0, 1.0], [0.0, 0.0]]), ["A & B", "C"], "t<1>")
    assert picture.startswith("<svg")
    assert "A &amp; B" in picture
    assert "t&lt;1&gt;" in picture
    assert 'fill-opacity="0.750"' in picture
    assert ">3</text>" in picture
    assert "75 %" in picture


def test_samples_are_the_scores_and_their_draws():
    chooser = np.random.default_rng(3)
    targets = np.eye(4)[chooser.integers(4, size=60)]
    rows = rows_from(chooser.dirichlet(np.ones(4), 60), targets, groups=np.arange(60) // 2)
    scores, samples = evaluate_strategies(rows, np.ones(4)), strategy_samples(rows)
    for key, found in samples.items():
        assert found[0] == pytest.approx(scores[key].value)
        ends = np.quantile(found[1:], (0.025, 0.975))
        assert ends == pytest.approx((scores[key].low, scores[key].high))
