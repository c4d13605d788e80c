"""Every metric against scikit-learn, where it has it, and against a plain loop over rows, words and positions."""

import math
import random
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from datamodules.spans import word_bounds
from metrics.levels import LevelScores, confusion_counts, confusion_scores, level_scores, majority_scores
from metrics.rationales import (
    RATIONALE_KEYS,
    RationaleScores,
    f1,
    iou_f1,
    predicted_words,
    published_iou_f1,
    published_token_f1,
)

# Levels


def drawn_levels(seed, count, weights=(0.6, 0.1, 0.3)):
    draw = np.random.default_rng(seed)
    gold = draw.choice(3, size=count, p=weights)
    return np.where(draw.random(count) < 0.3, draw.integers(3, size=count), gold), gold


def reference_levels(predicted, gold):
    with warnings.catch_warnings():  # scikit-learn warns of kappa on one level
        warnings.simplefilter("ignore")
        batches = [(predicted[start : start + 32], gold[start : start + 32]) for start in range(0, len(gold), 32)]
        return {
            "level_accuracy": accuracy_score(gold, predicted),
            "level_f1_macro": f1_score(gold, predicted, average="macro"),
            "level_f1_weighted": f1_score(gold, predicted, average="weighted"),
            "level_kappa_quadratic": cohen_kappa_score(gold, predicted, weights="quadratic"),
            "level_accuracy_published": np.mean([accuracy_score(right, said) for said, right in batches]),
            "level_f1_macro_published": np.mean([f1_score(right, said, average="macro") for said, right in batches]),
        }


@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 33, 64, 616])
@pytest.mark.parametrize("weights", [(0.6, 0.1, 0.3), (0.9, 0.0, 0.1), (1.0, 0.0, 0.0)])
def test_levels(count, weights):
    predicted, gold = drawn_levels(count, count, weights)
    expected = reference_levels(predicted, gold)
    assert level_scores(predicted, gold) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    metric = LevelScores()
    rows = torch.arange(count)
    metric.update(torch.from_numpy(predicted), torch.from_numpy(gold), rows, rows)
    assert {key: float(score) for key, score in metric.compute().items()} == pytest.approx(expected, nan_ok=True)


def test_majority_baseline():
    _, gold = drawn_levels(3, 200)
    for level in range(3):
        expected = reference_levels(np.full(200, level), gold)
        assert majority_scores(gold, level) == pytest.approx(expected, abs=1e-12)


def test_many_tables_at_once():
    predicted, gold = drawn_levels(4, 300)
    bins = np.random.default_rng(5).integers(7, size=300)
    scores = confusion_scores(confusion_counts(predicted, gold, bins, 7))
    for number in range(7):
        expected = reference_levels(predicted[bins == number], gold[bins == number])
        for key, values in scores.items():
            assert values[number] == pytest.approx(expected[key], abs=1e-12)


# Rationales


def plain_runs(mask):
    found, start = [], None
    for position, value in enumerate(mask):
        if value and start is None:
            start = position
        if not value and start is not None:
            found.append((start, position))
            start = None
    return found, start


def plain_matches(predicted_runs, gold_runs):
    """Precision, recall and their harmonic mean over runs, 0 where any is undefined."""
    right = 0
    for start, end in predicted_runs:
        best = 0.0
        for other_start, other_end in gold_runs:
            one, other = set(range(start, end)), set(range(other_start, other_end))
            best = max(best, len(one & other) / len(one | other) if one | other else 0.0)
        right += best >= 0.5
    precision = right / len(predicted_runs) if predicted_runs else 0.0
    recall = right / len(gold_runs) if gold_runs else 0.0
    return 2 * precision * recall / (precision + recall) if right else 0.0


def plain_iou_f1(predicted, gold):
    if not any(predicted) and not any(gold):
        return 1.0
    return plain_matches(*(plain_runs([*mask, False])[0] for mask in (predicted, gold)))


def plain_f1(predicted, gold):
    return 1.0 if not any(predicted) and not any(gold) else f1_score(gold, predicted, zero_division=0)


def plain_published(predicted, gold, length):
    """Token F1 and IOU F1 of one row of a whole window, as the published evaluation takes its steps."""
    stored = len(",".join(["0"] * (length - 1)))
    predicted, gold = predicted[1:][:stored], gold[1:][:stored]
    token = f1_score(predicted, gold, zero_division=0) if predicted else 0.0
    spans = []
    for mask in (predicted, gold):
        found, open_since = plain_runs(mask)
        if open_since is not None:
            found.append((open_since, len(mask) - 1))
        spans.append(found)
    return token, plain_matches(*spans)


def drawn_mask(draw, size, stay=0.6):
    """Runs of some length, so that they overlap in every way."""
    mask = [draw.random() < 0.5]
    while len(mask) < size:
        mask.append(mask[-1] if draw.random() < stay else not mask[-1])
    return mask[:size]


@pytest.mark.parametrize("size", [1, 2, 5, 12, 40])
def test_f1_of_words_and_runs(size):
    draw = random.Random(size)
    predicted, gold = ([drawn_mask(draw, size) for _ in range(100)] for _ in range(2))
    gold = [drawn if draw.random() < 0.5 else nudged(draw, mask) for drawn, mask in zip(gold, predicted, strict=True)]
    rows = list(zip(predicted, gold, strict=True))
    masks = torch.tensor(predicted), torch.tensor(gold)
    assert f1(*masks).tolist() == pytest.approx([plain_f1(*row) for row in rows], abs=1e-12)
    assert iou_f1(*masks).tolist() == pytest.approx([plain_iou_f1(*row) for row in rows], abs=1e-12)


def nudged(draw, mask):
    """The mask with a few positions changed: near matches, where the overlap is close to a half."""
    return [value if draw.random() < 0.8 else not value for value in mask]


@pytest.mark.parametrize("window", [1, 2, 5, 12, 40])
def test_published_scores(window):
    draw = random.Random(window)
    predicted = [drawn_mask(draw, window) for _ in range(100)]
    gold = [nudged(draw, mask) for mask in predicted]
    lengths = [draw.randint(1, window) for _ in predicted]
    expected = [plain_published(*row) for row in zip(predicted, gold, lengths, strict=True)]
    stored = torch.tensor([len(",".join(["0"] * (length - 1))) for length in lengths])
    masks = torch.tensor(predicted), torch.tensor(gold)
    token, iou = published_token_f1(*masks, stored), published_iou_f1(*masks, stored)
    assert token.tolist() == pytest.approx([row[0] for row in expected], abs=1e-12)
    assert iou.tolist() == pytest.approx([row[1] for row in expected], abs=1e-12)


def plain_touched(spans, words):
    return [any(set(range(*span)) & set(range(*word)) for span in spans) for word in words]


def test_words_touched_by_spans():
    draw = random.Random(1)
    for _ in range(200):
        text = "".join(draw.choice("ab 🙂\n") for _ in range(draw.randint(0, 30)))
        edges = [sorted((draw.randint(0, len(text)), draw.randint(0, len(text)))) for _ in range(draw.randint(0, 4))]
        words = word_bounds(text)
        assert [text[start:end] for start, end in words] == text.split()
        offsets, bounds = (torch.tensor(pairs, dtype=torch.int32).reshape(1, -1, 2) for pairs in (edges, words))
        touched = predicted_words(torch.ones(1, len(edges), dtype=torch.bool), offsets, bounds)
        assert touched.tolist() == [plain_touched(edges, words)]


class Case:
    """A response with its tokens, as the metric gets it and as a loop over it does."""

    def __init__(self, draw, window):
        self.words, position = [], 0
        for _ in range(draw.randint(1, 15)):
            self.words.append((position, position + draw.randint(1, 6)))
            position = self.words[-1][1] + draw.randint(1, 2)
        pieces, position = [], 0
        while position < self.words[-1][1]:
            end = min(position + draw.randint(1, 4), self.words[-1][1])
            pieces.append((position, end))
            position = end
        self.offsets = [(0, 0), *pieces[: window - 2], (0, 0)]
        self.length = len(self.offsets)
        self.level = draw.choice([-1, 0, 1, 2])
        self.scored = self.level > 0 and draw.random() < 0.8
        self.gold_words = drawn_mask(draw, len(self.words)) if self.scored else [False] * len(self.words)
        self.gold_tokens = [False, *drawn_mask(draw, self.length - 1)]
        self.tokens = drawn_mask(draw, window)  # padding included: the published recipe predicts there

    def expected(self, window):
        everything = [False] + [True] * (self.length - 1) + [False] * (window - self.length)
        return self.row(self.tokens, window) + self.row(everything, window, every_word=True)

    def row(self, tokens, window, every_word=False):
        chosen = [offset for offset, value in zip(self.offsets, tokens, strict=False) if value]
        words = [True] * len(self.words) if every_word else plain_touched(chosen, self.words)
        gold = self.gold_tokens + [False] * (window - self.length)
        own = (
            (plain_f1(words, self.gold_words), plain_iou_f1(words, self.gold_words)) if self.scored else (math.nan,) * 2
        )
        published = plain_published(tokens, gold, self.length) if self.level >= 0 else (math.nan,) * 2
        return [*own, *published]


def padded(values, width, fill):
    return [*values, *[fill] * (width - len(values))]


def test_rationale_metric():
    draw, window = random.Random(2), 20
    cases = [Case(draw, window) for _ in range(200)]
    metric = RationaleScores()
    for start in range(0, len(cases), 32):
        batch = cases[start : start + 32]
        width = max(len(case.words) for case in batch)
        rows = torch.arange(start, start + len(batch))
        metric.update(
            predicted=torch.tensor([case.tokens for case in batch]),
            gold_tokens=torch.tensor([padded([int(v) for v in case.gold_tokens], window, -100) for case in batch]),
            response_lengths=torch.tensor([case.length for case in batch]),
            offsets=torch.tensor([padded(case.offsets, window, (0, 0)) for case in batch], dtype=torch.int32),
            words=torch.tensor([padded(case.words, width, (0, 0)) for case in batch], dtype=torch.int32),
            gold_words=torch.tensor([padded([int(v) for v in case.gold_words], width, -1) for case in batch]),
            scored=torch.tensor([case.scored for case in batch]),
            annotated=torch.tensor([case.level >= 0 for case in batch]),
            window=window,
            rows=rows,
            groups=rows,
        )
    table = metric.table()
    expected = np.array([case.expected(window) for case in cases])
    np.testing.assert_allclose(np.hstack([table.scores, table.baseline]), expected, atol=1e-12)
    for number, key in enumerate(RATIONALE_KEYS):
        assert metric.compute()[key].item() == pytest.approx(np.nanmean(expected[:, number]), abs=1e-12)


def test_tokens_of_the_window_touch_the_beginning_of_a_long_response():
    rows, tokens, words = 64, 256, 1900
    starts = torch.arange(tokens) * 5
    offsets = torch.stack((starts, starts + 4), dim=-1).expand(rows, tokens, 2)
    bounds = torch.stack((torch.arange(words) * 10, torch.arange(words) * 10 + 9), dim=-1).expand(rows, words, 2)
    touched = predicted_words(torch.ones(rows, tokens, dtype=torch.bool), offsets, bounds)
    assert touched[:, :128].all()
    assert not touched[:, 128:].any()
