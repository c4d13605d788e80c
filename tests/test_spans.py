from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from datamodules.spans import labels_to_spans, spans_to_labels, token_clauses, trim_offsets, word_bounds
from datamodules.tokenised import TextEncoder

WINDOW = 24
ENCODER = TextEncoder.from_tokenizer(tiny_tokenizer(), WINDOW)
ODD = " \n\t\u00a0\u3000🙂❤\ufe0fé\u0301ß(*["
TEXTS = st.text(st.sampled_from("ab I'msoyrt.,?!") | st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=40)


def ints(pairs):
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)


@st.composite
def texts_with_spans(draw):
    text = draw(TEXTS.filter(bool))
    starts = st.integers(0, len(text) - 1)
    span = starts.flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, len(text))))
    return text, draw(st.lists(span, max_size=4))


def characters(spans):
    return {place for start, end in spans for place in range(start, end)}


def test_trimmed_offsets_have_no_white_space_at_their_ends():
    text = " so  sorry\n\t."
    offsets = [(0, 0), (0, 3), (3, 4), (3, 10), (9, 13), (10, 12), (12, 13), (0, 0)]
    trimmed = trim_offsets(offsets, text)
    assert trimmed.tolist() == [[0, 0], [1, 3], [3, 3], [5, 10], [9, 13], [10, 10], [12, 13], [0, 0]]
    assert trimmed.dtype == np.int32
    assert trim_offsets([], "").shape == (0, 2)
    assert trim_offsets([(0, 0), (0, 0)], "").tolist() == [[0, 0], [0, 0]]


def test_words_are_runs_of_non_space():
    assert word_bounds("  I'm so\n\tsorry 🙂, ok ") == [(2, 5), (6, 8), (10, 15), (16, 18), (19, 21)]
    assert word_bounds("") == word_bounds(" \n") == []


def test_clauses_end_at_punctuation_and_line_breaks():
    #       0        9     15   20     27    33
    text = 'Oh no, 1.5 h? "Sure." So\nI - we'
    words = word_bounds(text)
    assert [text[start:end] for start, end in words] == ["Oh", "no,", "1.5", "h?", '"Sure."', "So", "I", "-", "we"]
    assert token_clauses(text, ints(words)).tolist() == [0, 0, 1, 1, 2, 3, 4, 4, 4]
    # Pieces of a word are in one clause; special and empty tokens in none.
    assert token_clauses("a, b", ints([(0, 0), (0, 1), (1, 2), (2, 2), (3, 4), (0, 0)])).tolist() == [
        -1, 0, 0, -1, 1, -1,
    ]  # fmt: skip
    assert token_clauses("wait– oh", ints([(0, 5), (6, 8)])).tolist() == [0, 1]
    for nothing in ("", " \n"):
        assert token_clauses(nothing, ints([(0, 0), (0, 0)])).tolist() == [-1, -1]


def test_labels_need_a_character_in_a_span():
    #                 <s>     I       am      so      sorry    .         </s>
    offsets = ints([(0, 0), (0, 1), (2, 4), (5, 7), (8, 13), (13, 14), (0, 0)])
    assert spans_to_labels([(5, 13)], offsets).tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert spans_to_labels([(4, 5)], offsets).tolist() == [0, 0, 0, 0, 0, 0, 0]  # a space between two tokens
    assert spans_to_labels([(3, 6)], offsets).tolist() == [0, 0, 1, 1, 0, 0, 0]  # one character of each
    assert spans_to_labels([(0, 14)], offsets).tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert spans_to_labels([(9, 10), (0, 1)], offsets).tolist() == [0, 1, 0, 0, 1, 0, 0]
    assert spans_to_labels([(0, 4), (2, 7)], offsets).tolist() == [0, 1, 1, 1, 0, 0, 0]  # overlapping
    assert spans_to_labels([], offsets).tolist() == [0] * 7
    assert spans_to_labels([(0, 5)], ints([(2, 2)])).tolist() == [0]  # a token of no width
    assert spans_to_labels([(0, 5)], ints([])).tolist() == []


def chosen(*values):
    return np.array(values, dtype=bool)


def test_spans_of_chosen_tokens():
    offsets = ints([(0, 0), (0, 1), (2, 4), (5, 5), (5, 7), (8, 13), (13, 14), (0, 0)])
    assert labels_to_spans(chosen(0, 1, 1, 0, 0, 0, 0, 0), offsets) == [(0, 4)]
    assert labels_to_spans(chosen(0, 1, 0, 0, 1, 0, 1, 0), offsets) == [(0, 1), (5, 7), (13, 14)]
    assert labels_to_spans(chosen(0, 0, 1, 0, 1, 0, 0, 0), offsets) == [(2, 7)]  # the empty token is no gap
    assert labels_to_spans(chosen(0, 0, 1, 1, 0, 1, 0, 0), offsets) == [(2, 4), (8, 13)]  # nor a bridge
    assert labels_to_spans(chosen(1, 0, 0, 1, 0, 0, 0, 1), offsets) == []
    assert labels_to_spans(chosen(*[1] * 8), offsets) == [(0, 14)]


def test_pieces_of_one_character_are_one_span():
    """Byte-level tokenizers give an emoji in pieces with the same offsets, chosen or not each by itself."""
    offsets = ints([(0, 2), (3, 4), (3, 4), (3, 4), (5, 7)])
    assert labels_to_spans(chosen(0, 1, 0, 1, 0), offsets) == [(3, 4)]
    assert labels_to_spans(chosen(0, 1, 0, 0, 1), offsets) == [(3, 4), (5, 7)]


@given(texts_with_spans())
@settings(deadline=None, max_examples=150)
def test_a_token_is_labelled_when_it_touches_a_span(case):
    text, spans = case
    [(ids, offsets, cut)] = ENCODER.encode([text])
    assert len(ids) == len(offsets) <= WINDOW
    assert (cut > 0) <= (len(ids) == WINDOW)
    touched = characters(spans)
    expected = []
    for start, end in offsets.tolist():
        piece = text[start:end]
        assert piece == piece.strip()
        expected.append(int(not touched.isdisjoint(range(start, end))))
    assert spans_to_labels(spans, offsets).tolist() == expected
    assert expected[0] == expected[-1] == 0  # <s> and </s>


@given(TEXTS, st.lists(st.booleans(), min_size=WINDOW, max_size=WINDOW))
@settings(deadline=None, max_examples=150)
def test_spans_hold_the_chosen_tokens_and_no_others(text, choice):
    [(ids, offsets, _)] = ENCODER.encode([text])
    labels = np.array(choice[: len(ids)])
    spans = labels_to_spans(labels, offsets)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert all(text[start:end] == text[start:end].strip() for start, end in spans)
    wanted = characters(offsets[labels].tolist())
    assert wanted <= characters(spans)
    again = spans_to_labels(spans, offsets).tolist()
    for token, (start, end) in enumerate(offsets.tolist()):
        assert again[token] == (not wanted.isdisjoint(range(start, end)))


@pytest.mark.parametrize(
    ("text", "rationale"),
    [
        ("I am so sorry (really?) [a+b]* you carry this", "(really?) [a+b]*"),
        ("🙂🙂 no 🙂", "🙂 no"),
        ("It said ^.*$ twice", "^.*$"),
    ],
)
def test_no_character_of_a_rationale_has_a_meaning(text, rationale):
    start = text.index(rationale)
    [(_, offsets, _)] = ENCODER.encode([text])
    labels = spans_to_labels([(start, start + len(rationale))], offsets).astype(bool)
    assert "".join(text[a:b] for a, b in labels_to_spans(labels, offsets)) == rationale
