"""Generation metrics against sacrebleu, NLTK, torchmetrics and numbers worked out by hand."""

import math

import numpy as np
import pytest
import sacrebleu
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from torchmetrics.functional.text.rouge import rouge_score

from metrics.esc_bleu import esc_bleu, esc_bleu_counts, esc_tokens
from metrics.generation import (
    bert_score,
    distinct,
    generation_scores,
    obedience,
    perplexity,
    repetition,
    rouge_l,
    words,
)

RESPONSES = [
    "I am sorry to hear that. Have you tried talking to her?",
    "It is okay it is okay it is okay.",
    "What happened at work?",
    "You did well!",
]
REFERENCES = [
    "I'm so sorry to hear this. Have you talked to her?",
    "It will be okay.",
    "What happened at work today, exactly?",
    "Breathe.",
]

sentence = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=9)
corpus = st.lists(st.tuples(sentence, sentence), min_size=1, max_size=5)


def test_bleu_is_sacrebleus_with_its_signature():
    score = generation_scores(RESPONSES, REFERENCES)["bleu"]
    assert score.value == sacrebleu.corpus_bleu(RESPONSES, [REFERENCES]).score
    assert score.variant.startswith("sacrebleu nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


@given(corpus)
@settings(deadline=None, max_examples=60)
def test_esc_bleu_is_nltks(pairs):
    responses, references = [list(column) for column in zip(*pairs, strict=True)]
    counts = esc_bleu_counts(responses, references).sum(axis=0)
    for order, score in enumerate(esc_bleu(counts[None])[0], 1):
        weights = [1 / order] * order + [0.0] * (4 - order)
        gold = [[reference] for reference in references]
        expected = 100 * corpus_bleu(gold, responses, weights, SmoothingFunction().method3)
        assert score == pytest.approx(expected, abs=1e-9)


@given(sentence, sentence)
@settings(deadline=None, max_examples=60)
def test_rouge_l_is_torchmetrics(response, reference):
    expected = rouge_score(" ".join(response), " ".join(reference), rouge_keys="rougeL")["rougeL_fmeasure"]
    assert rouge_l([response], [reference])[0] == pytest.approx(100 * float(expected), abs=1e-3)


def test_rouge_l_of_the_literature():
    # common subsequence "a c" of 2: precision 2/3, recall 2/2; (1 + 1.44) * 2/3 / (1 + 1.44 * 2/3)
    score = rouge_l([["a", "b", "c"]], [["a", "c"]], beta=1.2)
    assert score[0] == pytest.approx(100 * 2.44 * (2 / 3) / (1 + 1.44 * 2 / 3))
    assert rouge_l([[]], [["a"]])[0] == 0


def test_tokens():
    assert esc_tokens('I can\'t. "Really?" Yes (no.) ok...') == [
        *["i", "ca", "n't", ".", "``", "really", "?", "''", "yes", "(", "no", ".", ")", "ok", "..."],
    ]
    assert words("It's 5_O'Clock, ÉTÉ!") == ["it", "s", "5", "o", "clock", "été"]


def test_distinct_and_its_off_by_one_variant():
    responses = [["a", "b", "a"], ["a", "b"]]
    assert distinct(responses, 1) == pytest.approx(100 * 2 / 5)
    assert distinct(responses, 2) == pytest.approx(100 * 2 / 3)  # ab, ba | ab
    assert distinct(responses, 1, off_by_one=True) == pytest.approx(100 * 2 / 3)  # a, b | a
    assert distinct(responses, 2, off_by_one=True) == 100  # ab | nothing
    assert math.isnan(distinct([["a"]], 2))


def test_repetition():
    assert repetition([["a", "b"] * 4, ["x"] * 3]) == pytest.approx(100 * 3 / 5)  # abab, baba, then three repeats
    assert math.isnan(repetition([["a"]]))


def test_perplexity_and_obedience():
    assert perplexity(3 * math.log(7), 3) == pytest.approx(7)
    assert math.isnan(perplexity(0.0, 0))
    assert obedience(["A", None, "B", "B"], ["A", "A", "A", "B"]) == pytest.approx(100 * 2 / 3)
    assert math.isnan(obedience([None], ["A"]))


def test_all_scores_have_their_variant():
    scores = generation_scores(RESPONSES, REFERENCES)
    assert set(scores) == {
        *["bleu", "bleu_1_esc", "bleu_2_esc", "bleu_3_esc", "bleu_4_esc", "rouge_l", "rouge_l_esc"],
        *["distinct_1", "distinct_1_esc", "distinct_2", "distinct_2_esc", "repetition_4", "length", "length_reference"],
    }
    assert all(score.variant and math.isfinite(score.value) for score in scores.values())
    assert len({score.variant for score in scores.values()}) == len(scores)
    assert all(scores[f"bleu_{order}_esc"].variant.startswith(f"esc bleu-{order}") for order in range(1, 5))
    assert (scores["length"].value, scores["length_reference"].value) == ((12 + 9 + 4 + 3) / 4, (12 + 4 + 6 + 1) / 4)
    assert scores["rouge_l"].value == rouge_l(list(map(words, RESPONSES)), list(map(words, REFERENCES))).mean()
    with pytest.raises(ValueError, match="one reference each"):
        generation_scores(["a"], [])


def test_no_responses_and_empty_responses():
    assert all(math.isnan(score.value) for score in generation_scores([], []).values())
    scores = generation_scores(["", ""], ["a", "b c"])
    assert [scores[key].value for key in ("bleu", "bleu_2_esc", "rouge_l", "length")] == [0, 0, 0, 0]
    assert generation_scores(RESPONSES, RESPONSES)["bleu_4_esc"].value == pytest.approx(100)


def test_intervals_draw_whole_dialogues():
    groups = np.array([0, 0, 1, 2])
    scores = generation_scores(RESPONSES, REFERENCES, groups, resamples=200)
    known = {key: score for key, score in scores.items() if not math.isnan(score.low)}
    assert set(known) == {
        "bleu",
        "bleu_1_esc",
        "bleu_2_esc",
        "bleu_3_esc",
        "bleu_4_esc",
        "rouge_l",
        "rouge_l_esc",
        "length",
        "length_reference",
    }
    for key, score in known.items():
        assert score.low <= score.value <= score.high, key
        assert score.low < score.high, key
    one = generation_scores(RESPONSES, REFERENCES, np.zeros(4, np.int64))
    assert all(math.isnan(score.low) and math.isnan(score.high) for score in one.values())
    # the same rows in each dialogue: every draw is the corpus, so the interval is a point
    same = generation_scores(RESPONSES * 2, REFERENCES * 2, np.repeat([0, 1], 4), resamples=50)
    for key in ("bleu", "bleu_2_esc"):
        assert (same[key].low, same[key].high) == pytest.approx([scores[key].value] * 2)


def test_bert_score():
    vectors = {"a": [[1.0, 0.0]], "b": [[0.0, 2.0]], "ab": [[3.0, 0.0], [0.0, 1.0]], "": torch.zeros(0, 2)}
    score = bert_score(["a", "ab", ""], ["a", "a", "a"], lambda text: torch.as_tensor(vectors[text]), "toy layer 1")
    # a/a: 1; ab/a: precision (1 + 0) / 2, recall 1: F 2/3; nothing: 0
    assert score.value == pytest.approx(100 * (1 + 2 / 3) / 3)
    assert score.variant == "bertscore f1, toy layer 1, no idf, no rescaling"
