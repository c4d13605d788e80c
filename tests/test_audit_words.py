"""Words, runs that texts share, and near-duplicates."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from audit.duplicates import duplicate_groups
from audit.overlap import shared_runs
from audit.words import encode_words, members

_TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), min_size=1, max_size=6)


def test_words_are_normalised_and_ngrams_stay_within_a_text():
    words = encode_words(["Don't go!", "", "go, DON t"])
    assert words.starts.tolist() == [0, 3, 3, 6]
    don, t, go = words.codes[:3].tolist()
    assert words.codes.tolist() == [don, t, go, go, don, t]
    codes, owners = words.ngrams(2)
    assert owners.tolist() == [0, 0, 2, 2]
    assert codes[0] == codes[3], "'don t' is the same in both texts"
    assert len(set(codes.tolist())) == 3
    assert words.ngrams(4)[0].tolist() == []


def test_codes_of_two_sets_of_texts_compare():
    assert encode_words(["one two"]).codes[1] == encode_words(["two"]).codes[0]


def test_members_names_a_place_where_the_code_stands():
    found, where = members(np.array([5, 9, 7], dtype=np.uint64), np.array([7, 1, 5], dtype=np.uint64))
    assert found.tolist() == [True, False, True]
    assert (where[0], where[2]) == (2, 0)


def test_the_longest_shared_run_is_found_with_its_place():
    texts = encode_words(["I never told anyone about the green door.", "Nothing in common", "about the"])
    others = encode_words(["so about the house", "She said: told anyone ABOUT the green boat"])
    overlap = shared_runs(texts, others)
    assert overlap.length.tolist() == [5, 0, 2]  # "told anyone about the green"
    assert overlap.start.tolist()[0] == 2
    assert overlap.other.tolist()[:2] == [1, -1]
    assert overlap.shared[5] == 1 / 4, "one of the four 5-grams"


def test_a_run_does_not_cross_from_one_text_to_the_next():
    overlap = shared_runs(encode_words(["a b c d"]), encode_words(["a b", "c d"]))
    assert overlap.length.tolist() == [2]


@given(_TEXTS, _TEXTS)
def test_shared_runs_agree_with_looking_at_every_run(texts, others):
    def longest(text):
        words = text.split()
        runs = {tuple(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
        there = [other.split() for other in others]
        held = [run for run in runs if any(run == tuple(o[i : i + len(run)]) for o in there for i in range(len(o)))]
        return max(map(len, held), default=0)

    overlap = shared_runs(encode_words(texts), encode_words(others))
    assert overlap.length.tolist() == [longest(text) for text in texts]
    for row, text in enumerate(texts):
        if size := int(overlap.length[row]):
            run = text.split()[overlap.start[row] : overlap.start[row] + size]
            other = others[overlap.other[row]].split()
            assert any(other[i : i + size] == run for i in range(len(other)))


def test_exact_repeats_are_grouped_whatever_their_case_and_punctuation():
    words = encode_words(["Hang in there.", "yes", "hang in there!!", "Yes?", "hang in"])
    assert duplicate_groups(words, None).tolist() == [0, 1, 0, 1, 4]


_LONG = "i lost my job in spring and since then i sit at home and do not know how to tell my mother about all of it"


def test_near_repeats_are_found_and_others_are_not():
    texts = [
        _LONG,
        "my sister says that the garden needs water every evening when it is hot and nobody else will do it for her",
        _LONG.replace("mother", "father"),  # 19 of 25 shingles: .76
        _LONG + " today",  # 22 of 23: .96
    ]
    assert duplicate_groups(encode_words(texts)).tolist() == [0, 1, 2, 0]
    assert duplicate_groups(encode_words(texts), 0.7).tolist() == [0, 1, 0, 0]


@given(st.lists(st.sampled_from(["yes", "", "!", "i see", _LONG, _LONG + " so", "a b c d e"]), max_size=12))
def test_groups_are_named_by_their_first_row(texts):
    groups = duplicate_groups(encode_words(texts))
    assert len(groups) == len(texts)
    assert (groups <= np.arange(len(texts))).all()
    assert (groups[groups] == groups).all()
    exact = duplicate_groups(encode_words(texts), None)
    assert all(groups[a] == groups[b] for a in range(len(texts)) for b in range(a) if exact[a] == exact[b])


def test_many_near_repeats_end_in_one_group():
    texts = [f"{_LONG} number {i}" for i in range(300)] + [f"other {i} words {i * i} here {i * 7}" for i in range(300)]
    groups = duplicate_groups(encode_words(texts))
    assert set(groups[:300].tolist()) == {0}
    assert len(set(groups[300:].tolist())) == 300
