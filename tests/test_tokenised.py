import dataclasses
import json
import resource
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_pairs, tiny_tokenizer

from datamodules import tokenised
from datamodules.records import MECHANISMS, Pair
from datamodules.spans import published_labels, spans_to_labels, token_clauses, word_bounds
from datamodules.tokenised import Ragged, TextEncoder, tokenise
from errors import UserError

ER, IP, EX = MECHANISMS
WINDOW = 24
TOKENIZER = tiny_tokenizer()
ENCODER = TextEncoder.from_tokenizer(tiny_tokenizer(), WINDOW)


def some_pairs():
    """Sources and generators take turns, so that no part lies in one piece."""
    parts = [
        tiny_pairs(8),
        tiny_pairs(8, "clinical"),
        tiny_pairs(8, "synthetic", generator="gpt"),
        tiny_pairs(8, "synthetic", seed=1, generator="falcon"),
    ]
    return [pair for four in zip(*parts, strict=True) for pair in four]


def columns(tokens):
    """Every column as a list a row."""
    found = {}
    for field in dataclasses.fields(tokens):
        column = getattr(tokens, field.name)
        for name, values in column.items() if isinstance(column, dict) else [("", column)]:
            found[field.name + name] = [np.asarray(values[row]).tolist() for row in range(len(values))]
    return found


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- the encoder


def test_the_window_cuts_and_counts():
    text = "Nobody calls any more. " * 20
    whole = TextEncoder.from_tokenizer(tiny_tokenizer(), 500)
    [(all_ids, all_offsets, none_cut)] = whole.encode([text])
    [(ids, offsets, cut)] = ENCODER.encode([text])
    assert none_cut == 0
    assert len(ids) == WINDOW
    assert ids[0] == all_ids[0]
    assert ids[-1] == all_ids[-1]
    assert ids[1:-1].tolist() == all_ids[1 : WINDOW - 1].tolist()
    assert offsets[:-1].tolist() == all_offsets[: WINDOW - 1].tolist()
    assert cut == len(all_ids) - WINDOW
    assert ids.dtype == offsets.dtype == np.int32


def test_texts_are_encoded_each_for_itself():
    texts = ["Nobody calls any more.", "I lost my dog in spring. " * 10, "", "🙂"]
    together = ENCODER.encode(texts)
    for text, (ids, offsets, cut) in zip(texts, together, strict=True):
        [(own_ids, own_offsets, own_cut)] = ENCODER.encode([text])
        assert (ids.tolist(), offsets.tolist(), cut) == (own_ids.tolist(), own_offsets.tolist(), own_cut)
        assert ids.tolist() == TOKENIZER(text, truncation=True, max_length=WINDOW)["input_ids"]
    assert ENCODER.encode([]) == []


def test_the_tokenizers_own_padding_and_truncation_do_not_count():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(length=40)
    [(ids, _, _)] = TextEncoder.from_tokenizer(tokenizer, WINDOW).encode(["Nobody calls any more."])
    assert ids.tolist() == TOKENIZER("Nobody calls any more.")["input_ids"]


def test_an_encoder_survives_a_checkpoint():
    state = json.loads(json.dumps(ENCODER.to_state()))
    again = TextEncoder(**state)
    assert (again.max_tokens, again.pad_id) == (WINDOW, 1)
    text = "The doctors don't know what it is."
    assert again.encode([text])[0][0].tolist() == ENCODER.encode([text])[0][0].tolist()


@pytest.mark.parametrize("window", [-1, 0, 2])
def test_a_window_without_room_for_text(window):
    with pytest.raises(UserError, match=f"--data.max_tokens is {window}; 2 special tokens leave no room for a text"):
        TextEncoder.from_tokenizer(tiny_tokenizer(), window)


# ---------------------------------------------------------------- the columns


def test_ragged_rows():
    ragged = Ragged(np.array([1, 2, 3]), np.array([0, 2, 2, 3]))
    assert [ragged[row].tolist() for row in range(len(ragged))] == [[1, 2], [], [3]]
    assert ragged.lengths.tolist() == [2, 0, 1]


def test_columns_are_in_the_order_of_the_rows(monkeypatch):
    pairs = some_pairs()
    monkeypatch.setattr(tokenised, "_AT_ONCE", 3)  # several rounds for each part
    tokens = tokenise(pairs, ENCODER)
    for row, pair in enumerate(pairs):
        (ids, offsets, cut), (seeker, _, seeker_cut) = ENCODER.encode([pair.response_post, pair.seeker_post])
        words = np.array(word_bounds(pair.response_post))
        assert tokens.response[row].tolist() == ids.tolist()
        assert tokens.offsets[row].tolist() == offsets.flatten().tolist()
        assert tokens.clauses[row].tolist() == token_clauses(pair.response_post, offsets).tolist()
        assert tokens.seeker[row].tolist() == seeker.tolist()
        assert tokens.words[row].tolist() == words.flatten().tolist()
        assert tokens.cut[row].tolist() == [cut, seeker_cut]
        for name in MECHANISMS:
            spans = pair.rationales.get(name)
            labels, gold = tokens.labels[name][row].tolist(), tokens.gold_words[name][row].tolist()
            assert labels == (spans_to_labels(spans, offsets).tolist() if spans else [])
            assert gold == (spans_to_labels(spans, words).tolist() if spans else [])
    assert tokens.retokenises.all()
    assert tokens.cut[:, 1].any()


def test_published_search_goes_through_each_row():
    pairs = [*some_pairs(), Pair("x", "reddit", "Post", "🙂" * 8, rationales={IP: [(0, 1)]})]
    tokens = tokenise(pairs, ENCODER, search="published", tokenizer=TOKENIZER)
    for row, pair in enumerate(pairs):
        for name in MECHANISMS:
            pieces = [pair.response_post[start:end] for start, end in pair.rationales.get(name, [])]
            labels, keeps = published_labels(pair.response_post, pieces, TOKENIZER, WINDOW)
            assert tokens.labels[name][row].tolist() == (labels.tolist() if pieces else [])
            assert tokens.retokenises[row] == keeps
    assert not tokens.retokenises[-1]  # the window ends within an emoji, of four tokens


ROWS = st.tuples(st.text(max_size=30), st.sampled_from(["reddit", "clinical", "synthetic"]))


@given(st.lists(ROWS, min_size=1, max_size=8))
@settings(deadline=None, max_examples=15)
def test_any_texts(rows):
    pairs = [Pair(str(number), source, text, text + "!") for number, (text, source) in enumerate(rows)]
    tokens = tokenise(pairs, ENCODER)
    for row, pair in enumerate(pairs):
        (ids, _, _), (seeker, _, _) = ENCODER.encode([pair.response_post, pair.seeker_post])
        assert tokens.response[row].tolist() == ids.tolist()
        assert tokens.seeker[row].tolist() == seeker.tolist()


# ---------------------------------------------------------------- the cache


def test_rows_come_back_from_the_cache_as_they_went_in(tmp_path):
    pairs = some_pairs()
    plain = columns(tokenise(pairs, ENCODER))
    assert columns(tokenise(pairs, ENCODER, cache=tmp_path)) == plain
    [*written] = files(tmp_path)
    assert [path.parent for path in written] == [tmp_path / "tokens"] * 3  # reddit, gpt, falcon
    stamps = [path.stat().st_mtime_ns for path in written]
    cached = tokenise(pairs, ENCODER, cache=tmp_path)
    assert columns(cached) == plain
    assert files(tmp_path) == written
    assert [path.stat().st_mtime_ns for path in written] == stamps
    reddit = [pair for pair in pairs if pair.source == "reddit"]
    mapped = tokenise(reddit, ENCODER, cache=tmp_path).response.values
    assert not mapped.flags.writeable
    assert not mapped.flags.owndata
    assert files(tmp_path) == written


def test_what_is_cached_is_found_by_its_content(tmp_path):
    pairs = tiny_pairs(4)

    def new_files(rows, window=WINDOW, **options):
        before = len(files(tmp_path))
        tokenise(rows, TextEncoder.from_tokenizer(tiny_tokenizer(), window), cache=tmp_path, **options)
        return len(files(tmp_path)) - before

    def changed(**fields):
        return [*pairs[:-1], dataclasses.replace(pairs[-1], **fields)]

    assert new_files(pairs) == 1
    assert new_files(changed(id="other", group="g", levels={ER: 2})) == 0  # nothing that tokens depend on
    assert new_files([*pairs, *tiny_pairs(2, "clinical")]) == 0
    assert new_files([*pairs, *tiny_pairs(2, "synthetic", generator="gpt")]) == 1
    assert new_files(changed(response_post="Oh.", rationales={})) == 1
    assert new_files(changed(seeker_post="Oh.")) == 1
    assert new_files(changed(rationales={ER: [(0, 1)]})) == 1
    assert new_files(pairs, window=12) == 1
    assert new_files(pairs, search="published", tokenizer=TOKENIZER) == 1


def test_nothing_of_a_clinical_row_is_written(tmp_path, monkeypatch):
    """Neither text nor token ids, whatever their width: whoever has the vocabulary reads them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    clinical = [
        dataclasses.replace(
            pair,
            id=f"MARKEDID{pair.id}",
            group="MARKEDGROUP",
            seeker_post=f"My neighbour Zoltan knows it. {pair.seeker_post}",
            response_post=f"Tell Zoltan, then. {pair.response_post}",
        )
        for pair in tiny_pairs(6, "clinical")
    ]
    reddit = tiny_pairs(6)
    tokens = tokenise([*reddit, *clinical], ENCODER, cache=tmp_path / "cache")
    written = {path: path.read_bytes() for path in files(tmp_path)}
    assert len(written) == 1

    def is_written(values):
        forms = [values.astype(width).tobytes() for width in ("i1", "i2", "i4", "i8")]
        return any(form in content for form in forms for content in written.values())

    for row, pair in enumerate([*reddit, *clinical]):
        for values in (tokens.response[row][1:9], tokens.seeker[row][1:9], tokens.words[row], tokens.offsets[row]):
            assert is_written(values) == (pair.source == "reddit")
    for content in written.values():
        for secret in ("Zoltan", "MARKED", "neighbour", "clinical"):
            for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
                assert secret.encode(encoding) not in content
                assert secret.lower().encode(encoding) not in content


def test_a_full_disk_leaves_no_cache_and_no_part_of_one(tmp_path):
    """The limit on a file's size stands for the disk."""
    pairs = tiny_pairs(300)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            tokenise(pairs, ENCODER, cache=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == []
    assert columns(tokenise(pairs, ENCODER, cache=tmp_path)) == columns(tokenise(pairs, ENCODER))
