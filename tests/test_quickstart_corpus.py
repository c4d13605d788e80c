"""What the datasheet of the bundled corpus states, counted."""

import json
import re
from collections import Counter
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from benchmarks.bag_of_words import main
from datamodules.records import LEVELS, MECHANISMS, Pair, normalise, pair_problems
from quickstart import PAIRS

NEAREST = 0.40
LONGEST_SHARED_RUN = 7
DATASHEET = PAIRS.with_name("DATASHEET.md").read_text(encoding="utf-8")
LINES = PAIRS.read_text(encoding="utf-8").splitlines()
CORPUS = [Pair(**json.loads(line)) for line in LINES]
WORDS = [normalise(pair.response_post).split() for pair in CORPUS]


def quantiles(texts):
    lengths = [len(text.split()) for text in texts]
    return [int(q) for q in np.quantile(lengths, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], method="inverted_cdf")]


def runs(words, size):
    return set(zip(*(words[start:] for start in range(size)), strict=False))


def test_rows_are_in_the_row_format_and_sound():
    assert len(CORPUS) == 480
    for number, (line, pair) in enumerate(zip(LINES, CORPUS, strict=True), start=1):
        assert pair.to_json() == json.dumps(json.loads(line), ensure_ascii=False) == line
        assert (pair.id, pair.source, pair.generator) == (f"qs-{number:04}", "synthetic", "attune-quickstart")
        assert pair_problems(pair, quote=True) == []


def test_every_level_above_none_has_a_rationale_and_no_other():
    for pair in CORPUS:
        assert set(pair.levels) == set(MECHANISMS)
        assert set(pair.rationales) == {mechanism for mechanism, level in pair.levels.items() if level}


def test_rationales_are_whole_words_in_order_and_apart():
    for pair in CORPUS:
        for mechanism, spans in pair.rationales.items():
            where = f"{pair.id} {mechanism}"
            assert 1 <= len(spans) <= 3, where
            assert all(a[1] < b[0] for a, b in pairwise(spans)), where
            for start, end in spans:
                text = pair.response_post
                assert text[start:end] == text[start:end].strip(), where
                assert not text[start - 1 : start].isalnum(), where
                assert not (text[end - 1].isalnum() and text[end : end + 1].isalnum()), where


def test_levels_and_their_combinations_are_covered():
    for mechanism in MECHANISMS:
        counts = Counter(pair.levels[mechanism] for pair in CORPUS)
        assert min(counts[level] for level in LEVELS) >= 40
        assert f"| `{mechanism}` | {counts[0]} | {counts[1]} | {counts[2]} |" in DATASHEET
    combinations_seen = Counter(tuple(pair.levels[mechanism] for mechanism in MECHANISMS) for pair in CORPUS)
    assert set(combinations_seen) == set(product(LEVELS, repeat=3))
    assert f"rarest {min(combinations_seen.values())} times" in DATASHEET


def test_parts_are_mixed():
    """Any fifth of the file, in order, holds every level of every mechanism."""
    for start, mechanism in product(range(0, 480, 96), MECHANISMS):
        assert {pair.levels[mechanism] for pair in CORPUS[start : start + 96]} == set(LEVELS)


def test_no_two_responses_are_near():
    sets = [set(words) for words in WORDS]
    nearest = max(len(a & b) / len(a | b) for a, b in combinations(sets, 2))
    assert nearest <= NEAREST
    assert f"at most {NEAREST:.2f}" in DATASHEET


def test_no_two_texts_share_a_long_run_of_words():
    for column in ("seeker_post", "response_post"):
        found = Counter(
            run for pair in CORPUS for run in runs(normalise(getattr(pair, column)).split(), LONGEST_SHARED_RUN + 1)
        )
        assert [run for run, count in found.items() if count > 1] == []
    assert f"more than {LONGEST_SHARED_RUN} words in a row" in DATASHEET


def test_seeker_posts_differ():
    assert len({normalise(pair.seeker_post) for pair in CORPUS}) == len(CORPUS)


def test_distinct_2_is_stated():
    bigrams = [bigram for words in WORDS for bigram in pairwise(words)]
    distinct = len(set(bigrams)) / len(bigrams)
    assert distinct >= 0.60
    assert f"distinct-2 of the responses is {distinct:.3f}" in DATASHEET


@pytest.mark.parametrize("column", ["seeker_post", "response_post"])
def test_lengths_are_stated(column):
    cells = " | ".join(str(q) for q in quantiles([getattr(pair, column) for pair in CORPUS]))
    assert f"| `{column}` | this corpus | {cells} |" in DATASHEET


def test_datasheet_states_what_a_bag_of_words_scores(capsys):
    main([])
    printed = capsys.readouterr().out
    for mechanism in MECHANISMS:
        row = next(line for line in printed.splitlines() if line.startswith(mechanism))
        accuracy, f1_macro, majority_accuracy, majority_f1_macro = (
            float(number) for number in re.findall(r"\d\.\d{3}", row)
        )
        for what, found in (
            ("bag of words", (accuracy, f1_macro)),
            ("most frequent level", (majority_accuracy, majority_f1_macro)),
        ):
            line = next(line for line in DATASHEET.splitlines() if line.startswith(f"| `{mechanism}`, {what} |"))
            stated = tuple(float(cell) for cell in line.split("|")[2:4])
            assert found == pytest.approx(stated, abs=0.02)  # other versions of scikit-learn round elsewhere


def test_licence_is_the_whole_dedication():
    text = PAIRS.with_name("CC0-1.0.txt").read_text(encoding="utf-8")
    assert "CC0 1.0 Universal" in text
    assert "Public License Fallback" in text
