import math
import pickle
import warnings

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.rationales import (
    RATIONALE_KEYS,
    RationaleScores,
    f1,
    iou_f1,
    mean_scores,
    predicted_words,
    published_iou_f1,
    published_stored_length,
    published_token_f1,
)

MASKS = st.lists(st.booleans(), min_size=1, max_size=24)


def mask(digits):
    """'0110' -> bool[4]."""
    return torch.tensor([digit == "1" for digit in digits], dtype=torch.bool)


def ints(values):
    return torch.tensor(values, dtype=torch.int32)


def exact(scores):
    return {key: float(score).hex() for key, score in scores.items()}


# Words


def test_tokens_touch_words_by_a_character():
    # "so sorry": words (0, 2) and (3, 8), and a padding word. Tokens: <s>, "so", " " alone, "o sor" over both, a token
    # of no width inside the second word, and "ry"; each chosen alone.
    offsets = ints([(0, 0), (0, 2), (2, 3), (1, 6), (5, 5), (6, 8)]).expand(6, 6, 2)
    words = ints([(0, 2), (3, 8), (0, 0)]).expand(6, 3, 2)
    assert predicted_words(torch.eye(6, dtype=torch.bool), offsets, words).tolist() == [
        [False, False, False],
        [True, False, False],
        [False, False, False],
        [True, True, False],
        [False, False, False],
        [False, True, False],
    ]


def test_predicted_words_by_hand():
    # "oh 🙂🙂 no": two pieces of a byte-level tokenizer share an emoji's offsets.
    offsets = ints([[(0, 0), (0, 2), (3, 4), (3, 4), (4, 5), (6, 8), (0, 0), (0, 0)]])
    words = ints([[(0, 2), (3, 5), (6, 8), (0, 0)]])
    assert predicted_words(mask("00010000")[None], offsets, words).tolist() == [[False, True, False, False]]
    assert predicted_words(mask("01000100")[None], offsets, words).tolist() == [[True, False, True, False]]
    assert predicted_words(mask("10000011")[None], offsets, words).tolist() == [[False, False, False, False]]


@given(st.data())
@settings(deadline=None)
def test_predicted_words_are_those_that_a_chosen_token_touches(data):
    edge = st.integers(0, 12)
    pair = st.tuples(edge, edge).map(sorted)
    offsets = data.draw(st.lists(pair, min_size=1, max_size=8))
    starts = sorted(data.draw(st.sets(st.integers(0, 12), max_size=6)))
    words = [(start, data.draw(st.integers(start + 1, 14))) for start in starts] + [(0, 0)]
    tokens = data.draw(st.lists(st.booleans(), min_size=len(offsets), max_size=len(offsets)))
    covered = {place for chosen, token in zip(tokens, offsets, strict=True) if chosen for place in range(*token)}
    touched = [not covered.isdisjoint(range(*word)) for word in words]
    assert predicted_words(torch.tensor([tokens]), ints([offsets]), ints([words])).tolist() == [touched]


def test_predicted_words_of_no_tokens_or_no_words():
    none = torch.zeros(2, 0, 2, dtype=torch.int32)
    assert predicted_words(torch.zeros(2, 0, dtype=torch.bool), none, ints([[(0, 2)]] * 2)).tolist() == [[False]] * 2
    assert predicted_words(mask("1").expand(2, 1), ints([[(0, 2)]] * 2), none).shape == (2, 0)


# F1 of words and of runs


def test_f1():
    assert f1(mask("1100"), mask("0110")).item() == 2 * 1 / 4
    assert f1(mask("1111"), mask("0001")).item() == 2 * 1 / 5
    assert f1(torch.stack((mask("10"), mask("01"))), torch.stack((mask("10"), mask("10")))).tolist() == [1.0, 0.0]
    assert f1(mask("00"), mask("00")).item() == 1.0
    assert f1(mask("00"), mask("01")).item() == 0.0


def test_iou_f1():
    # Two predicted runs, one gold: (1, 4) shares 3 of 4 positions with (1, 5); (6, 7) has no partner.
    assert iou_f1(mask("0111001"), mask("0111100")).item() == 2 * 1 / 3
    assert iou_f1(mask("1100"), mask("1111")).item() == 1.0  # exactly half
    assert iou_f1(mask("1000"), mask("1110")).item() == 0.0  # a third
    assert iou_f1(mask("1100"), mask("1111"), threshold=0.6).item() == 0.0
    assert iou_f1(mask("00"), mask("00")).item() == 1.0
    assert iou_f1(mask("00"), mask("01")).item() == iou_f1(mask("01"), mask("00")).item() == 0.0


def test_iou_f1_counts_the_last_position():
    assert iou_f1(mask("0001"), mask("0001")).item() == 1.0
    assert iou_f1(mask("0001"), mask("0011")).item() == 1.0


def test_runs_of_neighbouring_rows_are_not_joined():
    predicted, gold = torch.stack((mask("0011"), mask("1100"))), torch.stack((mask("0011"), mask("0011")))
    assert iou_f1(predicted, gold).tolist() == [1.0, 0.0]


@given(st.data())
@settings(deadline=None)
def test_f1s_are_bounded_symmetric_and_blind_to_padding(data):
    predicted = torch.tensor(data.draw(MASKS))
    gold = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(predicted), max_size=len(predicted))))
    padding = torch.zeros(data.draw(st.integers(0, 5)), dtype=torch.bool)
    for score in (f1, iou_f1):
        value = score(predicted, gold).item()
        assert 0.0 <= value <= 1.0
        assert score(gold, predicted).item() == value
        assert score(gold, gold).item() == 1.0
        assert score(torch.cat((predicted, padding)), torch.cat((gold, padding))).item() == value


# The published variants, a defect each


def published(predicted, gold, length):
    stored = published_stored_length(torch.tensor(length))
    return [score(mask(predicted), mask(gold), stored).item() for score in (published_token_f1, published_iou_f1)]


def test_published_stored_length_is_that_of_the_joined_labels():
    # "<s> oh no </s>" keeps the labels of 3 tokens: len("0,1,1") = 5.
    lengths = [4, 3, 2, 1, 0]
    joined = [len(",".join("0" * max(length - 1, 0))) for length in lengths]
    assert published_stored_length(torch.tensor(lengths)).tolist() == joined == [5, 3, 1, 0, 0]


def test_published_scores_leave_the_first_token_out():
    assert published("11000000", "01000000", length=4) == [1.0, 1.0]


def test_published_scores_look_at_padding():
    # 4 tokens: positions 1 to 5 are scored, of which 4 and 5 are padding.
    assert published("01101100", "01100000", length=4) == [2 * 2 / 6, 0.0 + 2 * 1 / 3]
    assert published("01100011", "01100000", length=4) == [1.0, 1.0]


def test_published_scores_of_nothing_against_nothing_are_0():
    assert published("0000", "0000", length=3) == [0.0, 0.0]
    assert published("1000", "1000", length=1) == [0.0, 0.0]  # no position is scored at all


def test_published_iou_drops_the_last_token_of_a_run_that_ends_the_window():
    # Both runs are (2, 4) and become (2, 3).
    assert published("0011", "0011", length=4) == [1.0, 1.0]
    # Predicted (1, 4) becomes (1, 3): it shares 2 of 2 with gold (1, 3), so a wrong token costs nothing.
    assert published("0111", "0110", length=4) == [2 * 2 / 5, 1.0]
    # Gold (2, 4) becomes (2, 3): predicted (3, 4) shared half of it before and is empty now.
    assert published("0001", "0011", length=4) == [2 * 1 / 3, 0.0]


def test_published_iou_of_a_single_last_token_is_an_empty_run():
    assert published("0001", "0001", length=4) == [1.0, 0.0]
    # The empty run counts as a run: 1 of 2 predicted runs has a partner.
    assert published("0101", "0100", length=4) == [2 * 1 / 3, 2 * 1 / 3]


def test_published_end_is_the_stored_length_where_it_is_shorter_than_the_window():
    # 2 tokens: position 1 alone is scored, so it is the last one.
    assert published("01111111", "01111111", length=2) == [1.0, 0.0]


def test_published_rows_without_a_rationale_reward_everything():
    # 5 tokens, none in a rationale: the published label is 1 on each after the first.
    assert published("0111100000", "0111100000", length=5) == [1.0, 1.0]
    assert published("0000000000", "0111100000", length=5) == [0.0, 0.0]


# The metric

# Row 10, "oh no ok" in 3 words, rationale "no": tokens <s> oh no ok </s>, the model says "no" and "ok".
# Row 11, "hm", level 0: tokens <s> hm </s>, published labels all 1; the model says nothing.
# Row 12: not annotated.
BATCH = {
    "predicted": torch.stack((mask("001100"), mask("000000"), mask("011100"))),
    "gold_tokens": torch.tensor([[-100, 0, 1, 0, 0, -100], [-100, 1, 1, -100, -100, -100], [-100] * 6]),
    "response_lengths": torch.tensor([5, 3, 6]),
    "offsets": ints(
        [
            [(0, 0), (0, 2), (3, 5), (6, 8), (0, 0), (0, 0)],
            [(0, 0), (0, 2), (0, 0), (0, 0), (0, 0), (0, 0)],
            [(0, 0), (0, 2), (3, 5), (6, 8), (9, 11), (0, 0)],
        ]
    ),
    "words": ints([[(0, 2), (3, 5), (6, 8)], [(0, 2), (0, 0), (0, 0)], [(0, 2), (3, 5), (6, 8)]]),
    "gold_words": torch.tensor([[0, 1, 0], [0, -1, -1], [0, 0, 0]]),
    "scored": mask("100"),
    "annotated": mask("110"),
    "rows": torch.tensor([10, 11, 12]),
    "groups": torch.tensor([5, 6, 7]),
}
NAN = math.nan


def picked(batch, rows):
    return {key: value[torch.tensor(rows, dtype=torch.int64)] for key, value in batch.items()}


def updated(*batches, window=16):
    metric = RationaleScores()
    for batch in batches:
        metric.update(**batch, window=window)
    return metric


def test_metric_by_hand():
    metric = updated(BATCH)
    table = metric.table()
    assert table.rows.tolist() == [10, 11, 12]
    assert table.groups.tolist() == [5, 6, 7]
    # Row 10: words 1 and 2 against word 1, runs (1, 3) against (1, 2): exactly half. Tokens likewise.
    np.testing.assert_array_equal(table.scores, [[2 / 3, 1, 2 / 3, 1], [NAN, NAN, 0, 0], [NAN] * 4])
    # Everything. Row 10: 3 words against 1, 1/3 overlap; tokens 1 to 4 against token 2. Row 11: the published label.
    np.testing.assert_array_equal(table.baseline, [[2 / 4, 0, 2 / 5, 0], [NAN, NAN, 1, 1], [NAN] * 4])
    scores = metric.compute()
    assert list(scores) == list(RATIONALE_KEYS)
    assert {score.dtype for score in scores.values()} == {torch.float64}
    assert [score.item() for score in scores.values()] == [2 / 3, 1, 1 / 3, 1 / 2]
    assert list(mean_scores(table.baseline).values()) == [1 / 2, 0, (2 / 5 + 1) / 2, 1 / 2]


def test_words_beyond_the_encoders_window_count_as_missed():
    row = picked(BATCH, [0])
    row["words"] = torch.cat((row["words"], ints([[(9, 12), (13, 15)]])), dim=1)
    row["gold_words"] = torch.tensor([[0, 1, 0, 1, 1]])
    table = updated(row).table()
    # Predicted words 1 and 2, gold 1, 3 and 4; runs (1, 3) against (1, 2) and (3, 5).
    assert table.scores[0, :2].tolist() == [2 * 1 / 5, 2 * 1 / 3]
    assert table.baseline[0, :2].tolist() == [2 * 3 / 8, 0.0]


def test_predictions_on_padding_count_in_the_published_scores_alone():
    row = picked(BATCH, [0])
    row["predicted"] = mask("001101")[None]
    scores = updated(row).table().scores[0].tolist()
    assert scores == [2 / 3, 1.0, 2 * 1 / 4, 2 * 1 / 3]


def test_the_window_decides_where_the_published_slice_ends():
    # Window 6 ends the slice at position 5; window 5 cuts what lies there.
    row = picked(BATCH, [0])
    row["predicted"], row["gold_tokens"] = mask("000011")[None], torch.tensor([[-100, 0, 0, 0, 1, 1]])
    assert updated(row, window=6).table().scores[0, 2:].tolist() == [1.0, 1.0]
    assert updated(row, window=5).table().scores[0, 2:].tolist() == [1.0, 0.0]


def test_more_padding_changes_nothing():
    wide = dict(BATCH)
    wide["predicted"] = torch.cat((wide["predicted"], torch.zeros(3, 4, dtype=torch.bool)), dim=1)
    wide["gold_tokens"] = torch.cat((wide["gold_tokens"], torch.full((3, 4), -100)), dim=1)
    wide["offsets"] = torch.cat((wide["offsets"], torch.zeros(3, 4, 2, dtype=torch.int32)), dim=1)
    wide["words"] = torch.cat((wide["words"], torch.zeros(3, 2, 2, dtype=torch.int32)), dim=1)
    wide["gold_words"] = torch.cat((wide["gold_words"], torch.full((3, 2), -1)), dim=1)
    for one, other in zip(updated(BATCH).table(), updated(wide).table(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_row_and_a_row_handed_out_twice():
    once, twice = updated(picked(BATCH, [0])), updated(picked(BATCH, [0]), picked(BATCH, [0, 1]))
    assert [score.item() for score in once.compute().values()] == [2 / 3, 1, 2 / 3, 1]
    assert twice.table().rows.tolist() == [10, 11]


def test_no_rows_are_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in (RationaleScores(), updated(picked(BATCH, [])), updated(picked(BATCH, [2]))):
            scores = metric.compute()
            assert list(scores) == list(RATIONALE_KEYS)
            assert all(math.isnan(score) for score in scores.values())
    assert RationaleScores().table().scores.shape == (0, 4)


def test_reset_forgets():
    metric = updated(BATCH)
    metric.reset()
    metric.update(**picked(BATCH, [0]), window=16)
    assert metric.table().rows.tolist() == [10]


def test_a_module_in_half_precision_and_a_pickle_keep_every_digit():
    metric = updated(BATCH).to(torch.bfloat16)
    metric.update(**picked(BATCH, [2]), window=16)
    assert exact(metric.compute()) == exact(updated(BATCH).compute())
    assert exact(pickle.loads(pickle.dumps(metric)).compute()) == exact(metric.compute())
    assert exact(metric.clone().compute()) == exact(metric.compute())


def test_forward_gives_the_batch_and_keeps_the_rest():
    metric = updated(picked(BATCH, [0]))
    assert metric(**picked(BATCH, [1]), window=16)["rationale_f1_published"].item() == 0.0
    assert exact(metric.compute()) == exact(updated(picked(BATCH, [0, 1])).compute())


def test_means_are_rounded_once():
    column = np.array([1e16, 1.0, -1e16, 1.0])
    means = mean_scores(np.stack([column, column[::-1], np.full(4, NAN), np.array([NAN, 1, NAN, 0])], axis=1))
    assert list(means.values())[:2] == [0.5, 0.5]
    assert math.isnan(means["rationale_f1_published"])
    assert means["rationale_iou_f1_published"] == 0.5


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_order_and_batches_change_no_digit(seed, count, size, random):
    batch = random_batch(seed, count)
    rows = list(range(count))
    random.shuffle(rows)
    pieces = [picked(batch, rows[start : start + size]) for start in range(0, count, size)]
    assert exact(updated(*pieces).compute()) == exact(updated(batch).compute())


def random_batch(seed, count, tokens=12, words=9):
    """Rows with every kind of padding, words of one to three characters and tokens over or within them."""
    random = torch.Generator().manual_seed(seed)

    def draw(high, *shape):
        return torch.randint(high, shape, generator=random)

    word_ends = (draw(3, count, words) + 2).cumsum(1)
    word_starts = torch.cat((torch.zeros(count, 1, dtype=torch.int64), word_ends[:, :-1] + 1), dim=1)
    real = torch.arange(words) < draw(words + 1, count)[:, None]
    token_starts = draw(3, count, tokens).cumsum(1)
    lengths = draw(tokens, count) + 1
    return {
        "predicted": draw(2, count, tokens).bool(),
        "gold_tokens": torch.tensor([-100, 0, 1])[draw(3, count, tokens)],
        "response_lengths": lengths,
        "offsets": torch.stack((token_starts, token_starts + draw(4, count, tokens)), dim=-1).int(),
        "words": torch.where(real[..., None], torch.stack((word_starts, word_ends), dim=-1), 0).int(),
        "gold_words": torch.where(real, draw(2, count, words), -1),
        "scored": draw(2, count).bool(),
        "annotated": draw(4, count) > 0,
        "rows": torch.arange(count),
        "groups": draw(5, count),
    }
