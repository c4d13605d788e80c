from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_pairs, tiny_tokenizer
from torch.testing._internal.distributed.fake_pg import FakeStore

from datamodules.batching import BUCKET, EvaluationBatches, TrainBatches, pad, token_mask
from datamodules.loaders import RowNumbers
from datamodules.pair_batches import PairCollator
from datamodules.records import MECHANISMS
from datamodules.tokenised import TextEncoder, tokenise
from errors import UserError

SOME = settings(deadline=None, max_examples=60)
LENGTHS = np.random.default_rng(0).integers(3, 60, size=500)


@contextmanager
def process(rank, world):
    """This process as one of several: a real process group, whose other members are only counted."""
    if world == 1:
        yield
        return
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def on_each(world, make):
    """What each process goes through."""
    found = []
    for rank in range(world):
        with process(rank, world):
            batches = make()
            found.append(list(batches))
            assert len(found[-1]) == len(batches)
    return found


@st.composite
def training(draw):
    """Rows, with repeats as a draw with replacement gives them, and how they are batched."""
    rows = draw(st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=300))
    return {
        "rows": rows,
        "lengths": LENGTHS,
        "batch_size": draw(st.integers(4, 40)),
        "seed": draw(st.integers(0, 5)),
        "bucketed": draw(st.booleans()),
    }


# ---------------------------------------------------------------- training


@given(training(), st.integers(0, 3))
@SOME
def test_an_epoch_has_each_row_once_in_batches_of_one_size(options, epoch):
    batches = TrainBatches(**options)
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert Counter(row for batch in drawn for row in batch) == Counter(options["rows"])
    sizes = {len(batch) for batch in drawn}
    assert max(sizes) <= options["batch_size"]
    assert max(sizes) - min(sizes) <= 1
    assert len(drawn) == len(batches) == -(-len(options["rows"]) // options["batch_size"])


@given(training(), st.integers(2, 4), st.integers(0, 2))
@SOME
def test_processes_share_the_batches_of_one(options, world, epoch):
    def make():
        batches = TrainBatches(**options)
        batches.set_epoch(epoch)
        return batches

    whole = list(make())
    if min(map(len, whole)) < world:
        with process(0, world), pytest.raises(UserError, match=rf"fewer rows than there are processes \({world}\)"):
            list(make())
        return
    parts = on_each(world, make)
    assert {len(part) for part in parts} == {len(whole)}
    for step, batch in enumerate(whole):
        dealt = [part[step] for part in parts]
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
        assert [dealt[place % world][place // world] for place in range(len(batch))] == batch


@given(training(), st.data())
@SOME
def test_resumes_in_the_middle(options, data):
    batches = TrainBatches(**options)
    plan = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        plan.append(list(batches))
    epoch, start = data.draw(st.integers(0, 2)), data.draw(st.integers(0, len(batches)))
    resumed = TrainBatches(**options)
    resumed.resume(epoch, start)
    resumed.set_epoch(epoch)  # as Lightning announces it
    assert list(resumed) == plan[epoch][start:]
    for later in range(epoch + 1, 3):
        resumed.set_epoch(later)
        assert list(resumed) == plan[later]


def test_a_start_within_an_epoch_holds_for_that_epoch_alone():
    batches = TrainBatches(range(100), LENGTHS, 10, seed=0)
    batches.resume(1, 9)
    batches.set_epoch(2)
    assert len(list(batches)) == 10


def test_lightning_announces_the_epoch_to_the_sampler():
    batches = TrainBatches(range(100), LENGTHS, 10, seed=0)
    first = list(batches)
    batches.sampler.set_epoch(1)
    assert list(batches) != first
    batches.sampler.set_epoch(0)
    assert list(batches) == first


def test_the_order_depends_on_seed_and_epoch_and_not_on_the_number_of_passes():
    orders = []
    for seed in range(2):
        for epoch in range(2):
            batches = TrainBatches(range(200), LENGTHS, 16, seed)
            batches.set_epoch(epoch)
            assert list(batches) == list(batches)
            orders.append(tuple(row for batch in batches for row in batch))
    assert len(set(orders)) == 4


def test_batches_hold_rows_of_similar_length():
    rows = range(len(LENGTHS))
    spread = {}
    for bucketed in (True, False):
        batches = TrainBatches(rows, LENGTHS, 10, seed=0, bucketed=bucketed)
        spread[bucketed] = np.mean([np.ptp(LENGTHS[batch]) for batch in batches])
    assert len(batches) == BUCKET  # one bucket: batches are slices of the sorted rows
    assert spread[True] < 3
    assert spread[False] > 40
    longest = [LENGTHS[batch].max() for batch in TrainBatches(rows, LENGTHS, 10, seed=0)]
    assert longest != sorted(longest)  # and stand in any order


def test_more_rows_than_a_bucket():
    batches = TrainBatches(range(len(LENGTHS)), LENGTHS, 3, seed=1)
    drawn = list(batches)
    assert len(drawn) == 167
    assert sorted(row for batch in drawn for row in batch) == list(range(500))
    assert Counter(map(len, drawn)) == {3: 166, 2: 1}
    one_over = list(TrainBatches(range(251), LENGTHS, 5, seed=1))  # 51 batches: the second bucket has one
    assert Counter(map(len, one_over)) == {5: 47, 4: 4}


# ---------------------------------------------------------------- evaluation


ROWS = st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=120, unique=True)


@given(ROWS, st.integers(1, 40), st.integers(1, 4))
@SOME
def test_evaluation_deals_whole_batches(rows, batch_size, world):
    [whole] = on_each(1, lambda: EvaluationBatches(rows, LENGTHS, batch_size))
    assert sorted(row for batch in whole for row in batch) == sorted(rows)
    lengths = [LENGTHS[row] for batch in whole for row in batch]
    assert lengths == sorted(lengths)
    assert [len(batch) for batch in whole[:-1]] == [batch_size] * (len(whole) - 1)
    parts = on_each(world, lambda: EvaluationBatches(rows, LENGTHS, batch_size))
    for rank, part in enumerate(parts):
        assert part == (whole[rank::world] or whole[:1])  # with nothing to do a process repeats the first
    assert sorted({row for part in parts for batch in part for row in batch}) == sorted(rows)


def test_nothing_to_evaluate():
    batches = EvaluationBatches([], LENGTHS, 8)
    assert list(batches) == []
    assert len(batches) == 0


# ---------------------------------------------------------------- collation


def test_padding():
    rows = [np.array([3, 4, 5]), np.array([6])]
    assert pad(rows, -1).tolist() == [[3, 4, 5], [6, -1, -1]]
    assert pad(rows, 0, 4).tolist() == [[3, 4, 5, 0], [6, 0, 0, 0]]
    assert pad([np.array([[1, 2]]), np.zeros((0, 2))], 0).tolist() == [[[1, 2]], [[0, 0]]]
    assert pad(rows, 0).dtype == torch.int64
    assert token_mask(rows).tolist() == [[True, True, True], [True, False, False]]
    assert token_mask(rows, 4).tolist() == [[True, True, True, False], [True, False, False, False]]


def test_a_dataset_of_row_numbers():
    rows = RowNumbers(5)
    assert (len(rows), rows[3]) == (5, 3)


@pytest.fixture(scope="module")
def collated():
    pairs = tiny_pairs(30)
    tokens = tokenise(pairs, TextEncoder.from_tokenizer(tiny_tokenizer(), 24))
    levels = np.array([[pair.levels[name] for name in MECHANISMS] for pair in pairs])
    numbers = np.arange(30)

    def collator(**options):
        return PairCollator(tokens, levels, numbers + 100, numbers + 200, MECHANISMS, 1, **options)

    return pairs, tokens, collator


def test_a_batch_holds_its_rows_and_nothing_else(collated):
    pairs, tokens, collator = collated
    rows = [7, 3, 11]
    batch = collator(evaluation=True)(rows)
    assert batch["rows"].tolist() == rows
    assert batch["groups"].tolist() == [107, 103, 111]
    assert batch["posts"].tolist() == [207, 203, 211]
    assert batch["levels"].tolist() == [[pairs[row].levels[name] for name in MECHANISMS] for row in rows]
    for place, row in enumerate(rows):
        size, width = len(tokens.response[row]), len(tokens.seeker[row])
        assert batch["response_ids"][place, :size].tolist() == tokens.response[row].tolist()
        assert set(batch["response_ids"][place, size:].tolist()) <= {1}
        assert batch["response_mask"][place].sum() == size
        assert batch["seeker_ids"][place, :width].tolist() == tokens.seeker[row].tolist()
        assert batch["seeker_mask"][place].sum() == width
        assert batch["offsets"][place, :size].flatten().tolist() == tokens.offsets[row].tolist()
        assert batch["clauses"][place, :size].tolist() == tokens.clauses[row].tolist()
        assert set(batch["clauses"][place, size:].tolist()) <= {-1}
        words = len(tokens.words[row]) // 2
        assert batch["words"][place, :words].flatten().tolist() == tokens.words[row].tolist()
        assert not batch["words"][place, words:].any()
        for number, mechanism in enumerate(MECHANISMS):
            spans = pairs[row].rationales.get(mechanism)
            labels, gold = batch["token_labels"][place, number], batch["gold_words"][place, number]
            assert batch["has_rationale"][place, number] == (spans is not None)
            expected = [-100] * len(labels)
            for token, (start, end) in enumerate(tokens.offsets[row].reshape(-1, 2).tolist()):
                if spans and end > start:
                    expected[token] = tokens.labels[mechanism][row][token]
            assert labels.tolist() == expected
            assert gold[:words].tolist() == (tokens.gold_words[mechanism][row].tolist() if spans else [0] * words)
            assert (gold[words:] == -1).all()
    widths = [max(len(column[row]) for row in rows) for column in (tokens.response, tokens.seeker)]
    assert [batch["response_ids"].shape[1], batch["seeker_ids"].shape[1]] == widths


def test_training_batches_carry_no_more_than_they_need(collated):
    _, _, collator = collated
    extra = {"offsets", "clauses", "words", "gold_words", "has_rationale"}
    few, many = collator(evaluation=False)([4, 5]), collator(evaluation=True)([4, 5])
    assert set(many) - set(few) == extra
    assert all(torch.equal(few[key], many[key]) for key in few)


def test_padding_to_the_window(collated):
    _, _, collator = collated
    batch = collator(evaluation=True, window=24)([4, 5])
    plain = collator(evaluation=True)([4, 5])
    for key in ("response_ids", "seeker_ids", "response_mask", "token_labels", "offsets", "clauses"):
        width = plain[key].shape[2 if key == "token_labels" else 1]
        padded = batch[key].movedim(2 if key == "token_labels" else 1, 0)
        assert len(padded) == 24
        assert torch.equal(padded[:width], plain[key].movedim(2 if key == "token_labels" else 1, 0))
    assert torch.equal(batch["gold_words"], plain["gold_words"])
