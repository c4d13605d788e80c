"""Dialogues -> splits, rows, mixes, windows and batches, with the values written out."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from tiny import tiny_pairs, write_epitome
from tiny_dialogues import esconv_items, write_esconv

from datamodules.contexts import ClassifierFormat, TurnEncoder
from datamodules.dialogue import DialogueDataModule
from datamodules.dialogue_batches import StrategyCollator
from datamodules.dialogue_mixing import mix_turn_rows
from datamodules.dialogue_splits import DialogueSplit, published_parts
from datamodules.dialogues import Dialogue, Turn
from datamodules.mixing import MixOptions
from datamodules.strategies import load_scheme
from datamodules.turn_rows import RowRule, TurnRow, rows_of
from errors import DataError, UserError
from lightning_modules.networks.responder import train_tokenizer

DESCRIPTION = train_tokenizer(["abc def ghi jkl"], 300)


class Model:
    """A model that only says how rows are made."""

    def __init__(self, labelled=True, target="next"):
        self.labelled = labelled
        self.target = target

    def row_rules(self, rule):
        if self.labelled:
            return rule, rule
        plain = RowRule(rule.scheme, rule.space, "priority", labelled=False, seed=rule.seed)
        return plain, plain

    def row_format(self, data, texts):
        self.texts = list(texts())
        return ClassifierFormat(TurnEncoder(DESCRIPTION), 1, 2, 0, data.max_tokens, data.max_turns, self.target)


def build(model=None, **options):
    data = DialogueDataModule(**options)
    data.setup_rows(model or Model())
    return data


@pytest.fixture(scope="module")
def esconv(tmp_path_factory):
    return str(write_esconv(tmp_path_factory.mktemp("esconv") / "ESConv.json", 60))


@pytest.fixture(scope="module")
def reddit(tmp_path_factory):
    return str(write_epitome(tmp_path_factory.mktemp("reddit"), tiny_pairs(40)))


def dialogues_of(data, split):
    return {data.examples[row].dialogue for row in data.rows[split]}


def test_dialogues_stay_on_one_side_and_nothing_is_lost(esconv):
    data = build(esconv=esconv, overlap="priority")
    parts = [dialogues_of(data, split) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 60
    turns = sum(turn["speaker"] == "supporter" for item in esconv_items(60) for turn in item["dialog"])
    assert sum(map(len, data.rows.values())) == turns == len(data.examples)
    shares = [len(data.rows[split]) / turns for split in ("train", "validation", "test")]
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.03)
    assert data.split_hash == build(esconv=esconv, overlap="priority").split_hash
    assert data.split_hash != build(esconv=esconv, overlap="priority", split=DialogueSplit(seed=1)).split_hash


def test_rows_of_a_dialogue_written_out():
    turns = [
        Turn("supporter", "Hello", "Others", place=0),
        Turn("seeker", "Hi", place=1),
        Turn("supporter", "Me too", "Self-disclosure", place=3),
        Turn("supporter", "?", place=4),
    ]
    dialogue = Dialogue("7", "esconv", turns)

    def made(overlap, space="categories", labelled=True):
        dropped = Counter()
        rule = RowRule(load_scheme(), space, overlap, labelled, 0)
        return [(row.uid, row.turn, row.labels) for row in rows_of(0, dialogue, rule, dropped)], dropped

    assert made("each") == (
        [
            ("esconv::7:0", 0, ("Others",)),
            ("esconv::7:3:Comforting", 2, ("Comforting",)),
            ("esconv::7:3:Exploration", 2, ("Exploration",)),
            ("esconv::7:3:Action", 2, ("Action",)),
        ],
        {"supporter turn without a label": 1},
    )
    assert made("multi")[0][1] == ("esconv::7:3", 2, ("Comforting", "Exploration", "Action"))
    assert made("each", "strategies")[0] == [
        ("esconv::7:0", 0, ("Others",)),
        ("esconv::7:3", 2, ("Self-disclosure",)),
    ]
    assert made("priority", labelled=False) == (
        [("esconv::7:0", 0, ("Others",)), ("esconv::7:3", 2, ("Comforting",)), ("esconv::7:4", 3, ())],
        {},
    )


def test_published_split():
    order = list(range(200))
    random.Random(13).shuffle(order)
    parts = published_parts(200)
    assert {place for place, part in enumerate(parts) if part == "validation"} == set(order[:30])
    assert {place for place, part in enumerate(parts) if part == "test"} == set(order[30:60])
    assert Counter(published_parts(1300)) == {"train": 910, "validation": 195, "test": 195}


def test_published_split_of_a_file(esconv):
    data = build(esconv=esconv, split=DialogueSplit(by="published"), leakage="report")
    found = {int(data.dialogues[number].id) for number in dialogues_of(data, "test")}
    assert found == {place for place, part in enumerate(published_parts(60)) if part == "test"}
    with pytest.raises(UserError, match="exactly one"):
        build(esconv=[esconv, esconv], split=DialogueSplit(by="published"))


def test_split_files(tmp_path):
    files = [
        str(write_esconv(tmp_path / f"{name}.json", 6, seed)) for seed, name in enumerate(("train", "valid", "test"))
    ]
    split = DialogueSplit(validation_files=files[1], test_files=files[2:])
    data = build(esconv=files[0], split=split, leakage="report")
    for split_name, stem in (("train", "train"), ("validation", "valid"), ("test", "test")):
        ids = {data.dialogues[number].id for number in dialogues_of(data, split_name)}
        assert ids == {f"{stem}-{place}" for place in range(6)}
    with pytest.raises(UserError, match="exclude one another"):
        DialogueSplit(by="published", test_files=files)
    with pytest.raises(UserError, match=r"need --data\.esconv"):
        DialogueDataModule(reddit=str(tmp_path), split=split)


def test_leakage_is_an_error_dropped_or_reported(tmp_path):
    train, test = (str(write_esconv(tmp_path / f"{name}.json", 3)) for name in ("train", "test"))
    split = DialogueSplit(test_files=[test])
    with pytest.raises(DataError, match="leakage: 3 pairs"):
        build(esconv=train, split=split)
    data = build(esconv=train, split=split, leakage="drop")
    assert data.rows["train"] == []
    assert data.manifest["dropped"]["dialogue that belongs together with an evaluation dialogue"] == 3
    assert build(esconv=train, split=split, leakage="report").manifest["leaks"] == {"same pair": 3}


def test_merged_corpus(esconv, reddit):
    data = build(esconv=esconv, reddit=reddit, test_on="esconv")
    sources = {split: {data.examples[row].source for row in rows} for split, rows in data.rows.items()}
    assert sources == {"train": {"esconv", "reddit"}, "validation": {"esconv", "reddit"}, "test": {"esconv"}}
    pair = next(dialogue for dialogue in data.dialogues if dialogue.source == "reddit")
    assert [turn.speaker for turn in pair.turns] == ["seeker", "supporter"]
    both = build(esconv=esconv, reddit=reddit, test_on="all")
    assert {both.examples[row].source for row in both.rows["test"]} == {"esconv", "reddit"}
    with pytest.raises(UserError, match="no turn of reddit has a label"):
        build(esconv=esconv, reddit=reddit, label_space="strategies")
    untagged = build(Model(labelled=False), esconv=esconv, reddit=reddit, label_space="strategies")
    assert any(untagged.examples[row].labels == () for row in untagged.rows["train"])


def test_turns_of_every_source_are_merged(tmp_path):
    said = [("seeker", "Hi."), ("seeker", "Low."), ("supporter", "Oh no."), ("supporter", "What happened?")]
    items = [{"dialog": [{"speaker": who, "content": f"{text} {number}"} for who, text in said]} for number in range(9)]
    esconv, clinical = tmp_path / "ESConv.json", tmp_path / "own.jsonl"
    esconv.write_text(json.dumps(items))
    turns = [[{"speaker": turn["speaker"], "text": turn["content"]} for turn in item["dialog"]] for item in items]
    clinical.write_text("\n".join(json.dumps({"turns": each}) for each in turns))
    for source, file in (("esconv", esconv), ("clinical", clinical), ("synthetic", clinical)):
        data = build(Model(labelled=False), **{source: str(file)}, merge_turns=True)
        assert [turn.text for turn in data.dialogues[0].turns] == ["Hi. 0 Low. 0", "Oh no. 0 What happened? 0"], source
        assert data.manifest["sources"][0]["counts"]["merged_turns"] == 18, source


def test_label_spaces(esconv):
    assert build(esconv=esconv).labels == ("Comforting", "Exploration", "Action", "Others")
    data = build(esconv=esconv, label_space="strategies")
    assert len(data.labels) == 8
    assert data.label_counts().sum() == len(data.rows["train"])


def test_targets_and_gold(esconv):
    data = build(esconv=esconv)
    row = next(row for row in data.examples if row.gold == ("Comforting", "Exploration", "Action"))
    number = data.examples.index(row)
    assert data.targets(gold=True)[number].tolist() == [1, 1, 1, 0]
    assert data.targets()[number : number + 3].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def synthetic(path, count, labels=("Comforting", "Action")):
    rows = []
    for number in range(count):
        turns = [
            {"speaker": "seeker", "text": f"Synthetic {number} of a kind {number * 7}."},
            {"speaker": "supporter", "text": "Fine.", "strategy": labels[number % len(labels)]},
        ]
        rows.append(json.dumps({"id": str(number), "turns": turns}))
    path.write_text("\n".join(rows))
    return str(path)


def test_synthetic_rows_join_by_label(tmp_path, esconv):
    file = synthetic(tmp_path / "gpt.jsonl", 40)
    plain = build(esconv=esconv, synthetic=file)
    assert plain.manifest["mix"]["added"] == 40
    assert plain.manifest["splits"]["train"]["sources"]["synthetic/gpt"]["labels"] == {"Action": 20, "Comforting": 20}
    assert not any(plain.examples[row].source == "synthetic" for row in plain.rows["test"] + plain.rows["validation"])
    with pytest.raises(UserError, match="rows of 'Exploration' are wanted, the synthetic rows have 0"):
        build(esconv=esconv, synthetic=file, mix=MixOptions(count=8))
    ratio = MixOptions(mode="ratio", weights={"esconv": 0.5, "synthetic": 0.5})
    assert build(esconv=esconv, synthetic=file, mix=ratio).manifest["mix"]["added"] == 40


def test_what_is_added_does_not_change_a_split(tmp_path, esconv, reddit):
    """Not even synthetic dialogues that are kin to rows of both sides, in groups whose names come first."""
    alone = build(esconv=esconv, reddit=reddit, test_on="reddit")
    ids = {split: [alone.examples[row].uid for row in rows] for split, rows in alone.rows.items()}
    bridges = []
    for split in ids:
        pairs = [alone.dialogues[number] for number in sorted(dialogues_of(alone, split))]
        for place, pair in enumerate([pair for pair in pairs if pair.source == "reddit"][:3]):
            turns = [{"speaker": "seeker", "text": pair.turns[0].text}]
            turns += [{"speaker": "supporter", "text": "So.", "strategy": "Others"}]
            bridges.append(json.dumps({"id": f"{split}{place}", "group": f"{place}", "turns": turns}))
    (tmp_path / "a.jsonl").write_text("\n".join(bridges))
    synthetic = str(tmp_path / "a.jsonl")
    more = build(esconv=esconv, reddit=reddit, test_on="reddit", synthetic=synthetic, leakage="drop")
    assert more.manifest["leaks"]
    assert more.split_hash == alone.split_hash
    for split, uids in ids.items():
        found = [more.examples[row].uid for row in more.rows[split]]
        assert [uid for uid in found if not uid.startswith("synthetic")] == uids


def test_a_row_is_named_without_its_source_and_generator(tmp_path, esconv):
    """A generator's name may have a colon."""
    turns = [{"speaker": "seeker", "text": "a"}, {"speaker": "supporter", "text": "b", "strategy": "Question"}]
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": "d:1", "generator": "llama3:8b", "turns": turns}))
    data = build(esconv=esconv, synthetic=str(tmp_path / "s.jsonl"))
    row = next(row for row in data.rows["train"] if data.examples[row].source == "synthetic")
    entry = data.describe_row(row, "train", with_text=False)
    assert (entry["id"], entry["generator"]) == ("d:1:1", "llama3:8b")


def label_rows(labels, source):
    return [TurnRow(0, 0, f"{source}:{place}", source, "", (label,), (label,)) for place, label in enumerate(labels)]


def test_mixes_are_balanced_and_nested():
    rows = label_rows("AAAABBBBBBBB", "esconv") + label_rows("AAAAABBBBB", "synthetic")
    base, more = list(range(12)), list(range(12, 22))

    def mixed(**options):
        return mix_turn_rows(rows, base, more, MixOptions(**options))

    five = mixed(count=5)
    assert Counter(rows[row].labels[0] for row in five.added) == {"A": 3, "B": 2}
    assert set(five.added) < set(mixed(count=8).added)
    third = mixed(mode="substitute", share=0.25)
    assert Counter(rows[row].labels[0] for row in third.added) == {"A": 1, "B": 2}
    assert Counter(rows[row].labels[0] for row in third.rows) == {"A": 4, "B": 8}
    half = mixed(mode="substitute", share=0.5)
    assert set(third.removed) < set(half.removed)
    with pytest.raises(UserError, match="mechanism has no meaning"):
        mixed(mechanism="explorations", count=3)


def test_a_label_of_which_nothing_is_wanted_need_not_be_there():
    """As with a count of 0, the first point of many a grid."""
    rows = label_rows("AAAAAB", "esconv") + label_rows("A", "synthetic")
    for options in ({"count": 0}, {"count": 1}, {"mode": "substitute", "share": 0.17}):
        mix = mix_turn_rows(rows, range(6), [6], MixOptions(**options))
        assert mix.added == [6][: options.get("count", 1)]
    with pytest.raises(UserError, match="1 rows of 'B' are wanted, the synthetic rows have 0"):
        mix_turn_rows(rows, range(6), [6], MixOptions(count=2))
    unlabelled = TurnRow(0, 0, "esconv:9", "esconv", "", (), ())
    with pytest.raises(UserError, match="1 rows without a label are wanted, the synthetic rows have 0"):
        mix_turn_rows([*rows, unlabelled], [0, 7], [6], MixOptions(count=1))


def test_clinical_dialogues_test_as_a_whole_and_say_nothing(tmp_path, esconv):
    secret = "SECRET"
    rows = [
        {
            "turns": [
                {"speaker": "seeker", "text": f"{secret} {n} a b c"},
                {"speaker": "supporter", "text": secret, "strategy": "Question"},
            ]
        }
        for n in range(4)
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = build(esconv=esconv, clinical=str(tmp_path / "c.jsonl"), test_on="clinical")
    assert {data.examples[row].source for row in data.rows["test"]} == {"clinical"}
    assert len(data.rows["test"]) == 4
    assert secret not in json.dumps(data.manifest)
    assert secret not in json.dumps(data.describe_row(data.rows["test"][0], "test", with_text=False))
    assert data.describe_row(data.rows["test"][0], "test", with_text=True)["gold_response"] == secret
    ratio = MixOptions("ratio", weights={"synthetic": 1.0})
    alone = build(clinical=str(tmp_path / "c.jsonl"), synthetic=synthetic(tmp_path / "s.jsonl", 4), mix=ratio)
    assert [{alone.examples[row].source for row in alone.rows[split]} for split in ("train", "test")] == [
        {"synthetic"},
        {"clinical"},
    ]
    assert len(alone.rows["test"]) == 4
    twice = build(esconv=esconv, clinical=str(tmp_path / "c.jsonl"), test_on="esconv")
    assert {row.source for row in (twice.examples[row] for row in twice.rows["train"])} == {"esconv", "clinical"}


def test_options_that_make_no_sense(esconv, tmp_path):
    with pytest.raises(UserError, match="no data"):
        DialogueDataModule()
    with pytest.raises(UserError, match="no reddit rows"):
        DialogueDataModule(esconv=esconv, test_on="reddit")
    for name in ("batch_size", "evaluation_batch_size"):
        with pytest.raises(UserError, match=rf"--data\.{name} is 0; it is 1 or more"):
            DialogueDataModule(esconv=esconv, **{name: 0})
    with pytest.raises(UserError, match=r"no row is left to test; raise --data\.split\.test \(it is 0\.0\)"):
        build(esconv=esconv, split=DialogueSplit(test=0.0)).test_dataloader()
    with pytest.raises(UserError, match="max_tokens is 4"):
        build(esconv=esconv, max_tokens=4)
    with pytest.raises(UserError, match="max_turns is 0"):
        build(esconv=esconv, max_turns=0)
    with pytest.raises(DataError, match="check the path"):
        build(esconv=str(tmp_path / "none.json"))
    same = write_esconv(tmp_path / "a.json", 3)
    (tmp_path / "b").mkdir()
    other = write_esconv(tmp_path / "b" / "a.json", 3)
    with pytest.raises(DataError, match="id 'a-0' of esconv"):
        build(esconv=[str(same), str(other)])


def reader(target="next", max_tokens=16, max_turns=None):
    return ClassifierFormat(TurnEncoder(DESCRIPTION), 101, 102, 0, max_tokens, max_turns, target)


TURNS = [Turn("supporter", "x"), Turn("seeker", "y"), Turn("supporter", "z")]
TOKENS = [np.array(ids, np.int32) for ids in ([11, 12], [21, 22, 23], [31])]


def test_classifier_rows_written_out():
    row = reader().row(TURNS, TOKENS, 2)
    assert row.ids.tolist() == [101, 11, 12, 102, 21, 22, 23, 102]
    assert row.speakers.tolist() == [0, 2, 2, 0, 1, 1, 1, 0]
    assert row.distances.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    given = reader("given").row(TURNS, TOKENS, 2)
    assert given.ids.tolist() == [101, 11, 12, 102, 21, 22, 23, 102, 31, 102]
    assert given.speakers.tolist() == [0, 2, 2, 0, 1, 1, 1, 0, 2, 0]
    assert given.distances.tolist() == [2, 2, 2, 2, 1, 1, 1, 1, 0, 0]


def test_a_supporter_who_begins_is_predicted_from_nothing():
    row = reader().row(TURNS, TOKENS, 0)
    assert (row.ids.tolist(), row.speakers.tolist(), row.distances.tolist()) == ([101, 102], [0, 0], [0, 0])
    assert reader("given").row(TURNS, TOKENS, 0).ids.tolist() == [101, 11, 12, 102]
    assert reader().row(TURNS, TOKENS, 3).ids.tolist()[-2:] == [31, 102]  # what comes after the last turn


def test_classifier_windows():
    cut = reader(max_tokens=8).row(TURNS, TOKENS, 2)
    assert (cut.ids.tolist(), cut.dropped_turns, cut.cut_tokens) == ([101, 11, 12, 102, 21, 22, 23, 102], 0, 0)
    assert reader(max_turns=1).row(TURNS, TOKENS, 2).dropped_turns == 1
    long = [np.arange(12, dtype=np.int32), np.arange(20, dtype=np.int32)]
    row = reader(max_tokens=10).row(TURNS, long, 2)  # the last turn alone is too long: it keeps its end
    assert (row.ids.tolist(), row.dropped_turns, row.cut_tokens) == ([101, *range(12, 20), 102], 1, 12)
    given = reader("given", max_tokens=10).row(TURNS, long, 1)  # a given turn keeps its beginning
    assert (given.ids.tolist(), given.dropped_turns, given.cut_tokens) == ([101, *range(8), 102], 1, 12)


def test_windows_are_counted(esconv):
    data = build(esconv=esconv, max_turns=1, overlap="priority")
    cut = {split: found["cut"] for split, found in data.manifest["splits"].items()}
    late = sum(data.examples[row].turn > 1 for row in data.rows["train"])
    assert cut["train"] == {"contexts": late, "turns": 0}


def test_classifier_batch_written_out():
    rows = [reader().row(TURNS, TOKENS, 0), reader().row(TURNS, TOKENS, 1)]
    targets = np.eye(2, dtype=np.float32)
    batch = StrategyCollator(rows, targets, targets, np.array([4, 5]), 0)([1, 0])
    assert batch["ids"].tolist() == [[101, 11, 12, 102], [101, 102, 0, 0]]
    assert batch["mask"].tolist() == [[True] * 4, [True, True, False, False]]
    assert batch["speakers"].tolist() == [[0, 2, 2, 0], [0, 0, 0, 0]]
    assert batch["targets"].tolist() == [[0, 1], [1, 0]]
    assert (batch["rows"].tolist(), batch["groups"].tolist()) == ([1, 0], [5, 4])


def test_training_texts_are_the_training_splits(esconv):
    model = Model()
    data = build(model, esconv=esconv)
    train = dialogues_of(data, "train")
    assert Counter(model.texts) == Counter(turn.text for number in train for turn in data.dialogues[number].turns)
