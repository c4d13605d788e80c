"""Dialogue rows, the ESConv reader and the reader of anyone's own dialogues."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.dialogues import STRATEGIES, Dialogue, Turn, canonical_strategy, from_pair, merge_turns
from datamodules.records import Pair
from datamodules.sources.dialogue_rows import iterate_dialogues, read_dialogues
from datamodules.sources.esconv import read_esconv
from errors import DataError
from synthesis.parsing import Turn as Spoken
from synthesis.reflexion import Outcome
from synthesis.rows import to_rows
from synthesis.targets import Cell


def turn(speaker, content, strategy=None):
    return {"speaker": speaker, "annotation": {"strategy": strategy} if strategy else {}, "content": content}


PUBLISHED = [
    {
        "situation": "a new town",
        "dialog": [
            turn("supporter", "Hello, what brings you here? ", "Question"),
            turn("seeker", "I moved and know nobody."),
            turn("seeker", "It is lonely."),
            turn("supporter", "That sounds hard.", "Reflection of feelings"),
            turn("supporter", "I moved once too.", "Self-disclosure"),
        ],
    },
    {"dialog": [turn("seeker", "Hi"), turn("supporter", "Bye", "Others")]},
]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_published_file(tmp_path):
    dialogues, report = read_esconv(write(tmp_path / "ESConv.json", PUBLISHED))
    assert dialogues[0] == Dialogue(
        "0",
        "esconv",
        [
            Turn("supporter", "Hello, what brings you here?", "Question", place=0),
            Turn("seeker", "I moved and know nobody.", place=1),
            Turn("seeker", "It is lonely.", place=2),
            Turn("supporter", "That sounds hard.", "Reflection of feelings", place=3),
            Turn("supporter", "I moved once too.", "Self-disclosure", place=4),
        ],
    )
    assert [dialogue.uid for dialogue in dialogues] == ["esconv::0", "esconv::1"]
    assert (report.rows, report.dropped, len(report.sha256)) == (2, {}, 64)
    assert report.counts == {
        "turns": 7,
        "starts_with_supporter": 1,
        "strategy/Question": 1,
        "strategy/Reflection of feelings": 1,
        "strategy/Self-disclosure": 1,
        "strategy/Others": 1,
    }


def test_merged_turns_keep_one_label(tmp_path):
    dialogues, _ = read_esconv(write(tmp_path / "ESConv.json", PUBLISHED))
    assert [(turn.text, turn.place) for turn in merge_turns(dialogues[0].turns)] == [
        ("Hello, what brings you here?", 0),
        ("I moved and know nobody. It is lonely.", 1),
        ("That sounds hard.", 3),  # another strategy than the next turn's: they stay apart
        ("I moved once too.", 4),
    ]
    same = [Turn("supporter", "So", "Others", place=0), Turn("supporter", "bye", "Others", place=1)]
    assert merge_turns(same) == [Turn("supporter", "So bye", "Others", place=0)]


def test_failed_file_has_other_names(tmp_path):
    names = ["Questions", "Other", "Direct Guidance", "Approval and Reassurance", "Restatement"]
    dialog = [turn("speaker", "Hi")] + [turn("listener", f"turn {name}\n", name) for name in names]
    dialog[0]["annotation"] = {"feedback": "5"}
    (dialogue,), report = read_esconv(write(tmp_path / "FailedESConv.json", [{"dialog": dialog}]), prefix="failed-")
    assert dialogue.id == "failed-0"
    assert [turn.speaker for turn in dialogue.turns] == ["seeker"] + ["supporter"] * 5
    assert [turn.strategy for turn in dialogue.turns[1:]] == [
        "Question",
        "Others",
        "Providing Suggestions",
        "Affirmation and Reassurance",
        "Restatement or Paraphrasing",
    ]
    assert {name: report.counts[f"spelling/{name}"] for name in names} == dict.fromkeys(names, 1)


HUB = {"dialog": [{"text": "Hi", "speaker": "usr"}, {"text": "Why?", "speaker": "sys", "strategy": "Question"}]}


def test_hub_layouts_say_the_same(tmp_path):
    row = json.dumps(HUB)
    files = [
        write(tmp_path / "train.txt", f"{row}\n{row}\n"),
        write(tmp_path / "rows.jsonl", "\n".join([json.dumps({"text": row})] * 2)),
        write(tmp_path / "rows.json", [{"text": row}] * 2),
    ]
    pq.write_table(pa.table({"text": [row, row]}), tmp_path / "rows.parquet")
    turns = [Turn("seeker", "Hi", place=0), Turn("supporter", "Why?", "Question", place=1)]
    for file in [*files, tmp_path / "rows.parquet"]:
        assert [dialogue.turns for dialogue in read_esconv(file)[0]] == [turns, turns], file


def test_a_line_separator_within_a_turn_is_text(tmp_path):
    row = json.dumps({"dialog": [{"text": "one\u2028two", "speaker": "usr"}]}, ensure_ascii=False)
    (dialogue,), _ = read_esconv(write(tmp_path / "train.txt", row + "\n"))
    assert dialogue.turns[0].text == "one\u2028two"


def test_empty_turns_and_dialogues_are_counted(tmp_path):
    rows = [{"dialog": []}, {"dialog": [turn("seeker", " \n")]}, {"dialog": [turn("seeker", ""), turn("seeker", "Hi")]}]
    (dialogue,), report = read_esconv(write(tmp_path / "e.json", rows))
    assert (dialogue.id, [turn.place for turn in dialogue.turns]) == ("2", [1])
    assert (report.rows, report.dropped, report.counts["empty_turns"]) == (3, {"empty_dialogue": 2}, 2)


def test_all_problems_at_once(tmp_path):
    rows = [
        {"dialog": [turn("seeker", "Hi"), turn("supporter", "a", "Hugging"), turn("supporter", "b", "Hugging")]},
        {"dialog": [turn("doctor", "Hi"), turn("supporter", "c", "Scolding"), {"speaker": "seeker"}]},
        {"turns": []},
        {"dialog": [turn("seeker", "half \ud83d")]},
    ]
    file = write(tmp_path / "e.json", rows)
    with pytest.raises(DataError) as caught:
        read_esconv(file)
    text = str(caught.value)
    assert f"{file}, dialogue 0, turn 1: strategy 'Hugging' (2 turns in all) is unknown" in text
    assert "strategy 'Scolding' (1 turns in all) is unknown" in text
    assert all(name in text for name in STRATEGIES)
    assert "dialogue 1, turn 0: field 'speaker': 'doctor' is not seeker or supporter" in text
    assert "dialogue 1, turn 2: no text 'content'" in text
    assert "dialogue 2: no list 'dialog'" in text
    assert "dialogue 3, turn 0: the text has half of a surrogate pair" in text
    with pytest.raises(DataError, match="turn 0: field 'speaker': the value is not seeker or supporter") as unquoted:
        read_esconv(file, quote=False)
    assert "doctor" not in str(unquoted.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[{", "not JSON"), ("[]", "no dialogues"), ('{"dialog": 3}', "no list 'dialog'"), ("x\n", "line 1: not JSON")],
)
def test_unreadable_files(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_esconv(write(tmp_path / "e.json", content))


def test_missing_file_and_wrong_encoding(tmp_path):
    with pytest.raises(DataError, match="check the path"):
        read_esconv(tmp_path / "no.json")
    (tmp_path / "latin.json").write_bytes("[{'é'}]".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_esconv(tmp_path / "latin.json")


def test_spellings():
    assert [canonical_strategy(name) for name in STRATEGIES] == list(STRATEGIES)
    assert canonical_strategy("[Self-disclosure]") == "Self-disclosure"
    assert canonical_strategy(" self  DISCLOSURE ") == "Self-disclosure"
    assert canonical_strategy("Providing Information") == "Information"
    assert canonical_strategy("") is None


def test_a_pair_is_a_dialogue_of_two_turns():
    pair = Pair("7", "reddit", "I failed.", "What happened?", levels={"explorations": 2}, group="g")
    assert from_pair(pair) == Dialogue(
        "7",
        "reddit",
        [Turn("seeker", "I failed."), Turn("supporter", "What happened?", levels={"explorations": 2}, place=1)],
        group="g",
    )


def test_own_rows_round_trip(tmp_path):
    rows = [
        Dialogue("a", "synthetic", [Turn("seeker", "Hi"), Turn("supporter", "Ok", "Comforting", place=1)], "g", "gpt"),
        Dialogue("b", "synthetic", [Turn("supporter", "So?", levels={"explorations": 1})], generator="gpt"),
    ]
    file = write(tmp_path / "own.jsonl", "\n".join(row.to_json() for row in rows))
    assert read_dialogues(file, "synthetic", ["Comforting"])[0] == rows
    pq.write_table(pa.Table.from_pylist([json.loads(row.to_json()) for row in rows]), tmp_path / "own.parquet")
    assert read_dialogues(tmp_path / "own.parquet", "synthetic", ["Comforting"])[0] == rows


def test_own_pairs_are_dialogues_too(tmp_path):
    file = write(tmp_path / "pairs.csv", "seeker_post,response_post,explorations\nI failed.,What happened?,2\n")
    (dialogue,), report = read_dialogues(file, "clinical")
    assert dialogue.turns[1] == Turn("supporter", "What happened?", levels={"explorations": 2}, place=1)
    assert report.rows == 1


def test_clinical_text_is_never_quoted(tmp_path):
    secret = "SECRET WORDS"
    turns = [
        {"speaker": secret, "text": "x"},
        {"speaker": "supporter", "text": "x", "strategy": secret},
        {"speaker": "supporter", "text": "x", "levels": {secret: 1}},
        {"speaker": "supporter", "text": "x", "levels": {"explorations": secret}},
        {"speaker": "supporter", "text": [secret]},
        secret,
    ]
    rows = [{"id": secret, "turns": turns}, {"id": secret, "turns": secret}]
    file = write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError) as caught:
        read_dialogues(file, "clinical")
    assert len(caught.value.problems) == 7
    assert secret not in str(caught.value)
    twice = write(
        tmp_path / "d.jsonl",
        "\n".join([json.dumps({"id": secret, "turns": turns[4:5] and [{"speaker": "seeker", "text": "x"}]})] * 2),
    )
    with pytest.raises(DataError, match="id of an earlier one") as caught:
        read_dialogues(twice, "clinical")
    assert secret not in str(caught.value)


def test_own_rows_name_row_and_turn(tmp_path):
    turns = [{"speaker": "seeker", "text": "a"}, {"speaker": "supporter", "text": "b", "strategy": "Scold"}]
    file = write(tmp_path / "own.jsonl", json.dumps({"turns": turns}) + "\n" + json.dumps({"turns": []}))
    with pytest.raises(DataError, match=r"own.jsonl, row 1, turn 1: field 'strategy': 'Scold' is unknown"):
        read_dialogues(file, "synthetic")
    good = write(tmp_path / "good.jsonl", json.dumps({"turns": turns[:1]}) + "\n" + json.dumps({"turns": []}))
    (dialogue,), report = read_dialogues(good, "synthetic")
    assert (dialogue.id, dialogue.generator, report.dropped) == ("0", "good", {"empty_dialogue": 1})


def test_a_table_of_blank_lines_is_no_table(tmp_path):
    with pytest.raises(DataError, match="no column 'seeker_post', 'response_post'"):
        read_dialogues(write(tmp_path / "blank.csv", "\n\n"), "clinical")


def synthesised(exchanges, levels, dialogue="d1"):
    """The rows that synthesis writes of a dialogue."""
    turns = [Spoken(*pair) for ask, answer in exchanges for pair in (("seeker", ask), ("supporter", answer))]
    cell = Cell("standalone", "explorations", 2)
    return to_rows(Outcome(turns=turns, levels=levels), cell, dialogue, "gpt-standalone", "work", frozenset())


def test_the_rows_of_a_synthetic_dialogue_are_one(tmp_path):
    rows = [
        *synthesised([("I failed.", "Oh.")], [{"explorations": 0}], "d0"),
        *synthesised(
            [("I failed.", "What happened?"), ("The exam.", "What happened?")],
            [{"explorations": 2}, {"explorations": 1, "interpretations": 0}],
        ),
    ]
    assert [("turns" in row, row["id"]) for row in rows] == [(False, "d0"), (True, "d1-1"), (True, "d1-2")]
    file = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    (pair, dialogue), report = read_dialogues(file, "synthetic")
    assert (report.rows, report.counts["rows_of_a_dialogue_joined"]) == (3, 1)
    assert (dialogue.id, dialogue.group, dialogue.generator) == ("d1-1", "gpt-standalone/d1", "gpt-standalone")
    assert [(turn.text, turn.levels) for turn in dialogue.turns] == [
        ("I failed.", {}),
        ("What happened?", {"explorations": 2}),
        ("The exam.", {}),
        ("What happened?", {"explorations": 1, "interpretations": 0}),
    ]
    assert [(turn.speaker, turn.text, turn.levels) for turn in pair.turns] == [
        ("seeker", "I failed.", {}),
        ("supporter", "Oh.", {"explorations": 0}),
    ]
    assert [found.id for found in iterate_dialogues(file, "synthetic")] == ["d0", "d1-1"]
    backwards = write(tmp_path / "backwards.jsonl", "\n".join(map(json.dumps, rows[::-1])))
    assert [turn.levels for turn in read_dialogues(backwards, "synthetic")[0][0].turns] == [
        turn.levels for turn in dialogue.turns
    ]


def test_levels_of_no_turn_are_counted_and_wrong_ones_refused(tmp_path):
    (row,) = synthesised([("I failed.", "Oh.")], [{"explorations": 1}])
    row["turns"] = [{"speaker": "seeker", "text": "I failed."}, {"speaker": "supporter", "text": "Hm."}]
    (dialogue,), report = read_dialogues(write(tmp_path / "a.jsonl", json.dumps(row)), "synthetic")
    assert (report.counts["levels_of_no_turn"], dialogue.turns[1].levels) == (1, {})
    row["turns"][1]["text"] = "Oh."
    row["explorations"] = 5
    with pytest.raises(DataError, match=r"a.jsonl, row 1: field 'levels', 'explorations': level 5 is not 0"):
        read_dialogues(write(tmp_path / "a.jsonl", json.dumps(row)), "synthetic")


def test_equal_rows_without_a_group_stay_apart(tmp_path):
    turns = [{"speaker": "seeker", "text": "Hi"}, {"speaker": "supporter", "text": "Hello"}]
    file = write(tmp_path / "own.jsonl", "\n".join(json.dumps({"turns": turns}) for _ in range(3)))
    assert [dialogue.id for dialogue in read_dialogues(file, "clinical")[0]] == ["0", "1", "2"]
    assert len(list(iterate_dialogues(file, "clinical"))) == 3
