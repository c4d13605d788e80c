"""The unified scheme: arithmetic, labels of turns, overlap, a user's own scheme, the corpus table."""

import json
from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datamodules.dialogues import STRATEGIES, Dialogue, Turn
from datamodules.records import MECHANISMS
from datamodules.strategies import DEFAULT_SCHEME, load_scheme, resolve_overlap
from datamodules.strategy_table import PUBLISHED, PUBLISHED_STRATEGIES, count_parts, main
from errors import DataError, UserError

SCHEME = load_scheme()


def test_arithmetic_of_study_b():
    assert SCHEME.tally(PUBLISHED_STRATEGIES) == {
        "Comforting": 5976,
        "Exploration": 8039,
        "Action": 8709,
        "Others": 3661,
    }
    epitome = {"emotional_reactions": 4453, "explorations": 2406, "interpretations": 2965}
    both = SCHEME.tally(PUBLISHED_STRATEGIES | epitome)
    assert both == {"Comforting": 10429, "Exploration": 10445, "Action": 11674, "Others": 3661}
    assert sum(both.values()) == 36209
    assert {name: sum(parts) for name, parts in PUBLISHED.items()} == both
    assert sum(PUBLISHED_STRATEGIES.values()) - 3661 + 3341 == 18376


def test_categories_of_each_part():
    assert {part: SCHEME.having(part) for part in (*STRATEGIES, *MECHANISMS)} == {
        "Question": ("Exploration",),
        "Restatement or Paraphrasing": ("Exploration",),
        "Reflection of feelings": ("Comforting", "Exploration"),
        "Self-disclosure": ("Comforting", "Exploration", "Action"),
        "Affirmation and Reassurance": ("Comforting", "Action"),
        "Providing Suggestions": ("Action",),
        "Information": ("Action",),
        "Others": ("Others",),
        "emotional_reactions": ("Comforting",),
        "interpretations": ("Action",),
        "explorations": ("Exploration",),
    }


@pytest.mark.parametrize(
    ("turn", "categories", "strategies"),
    [
        (Turn("supporter", "x", "Question"), ("Exploration",), ("Question",)),
        (Turn("supporter", "x", "Action"), ("Action",), ()),
        (Turn("supporter", "x"), (), ()),
        (Turn("supporter", "x", levels={"interpretations": 1, "emotional_reactions": 2}), ("Comforting", "Action"), ()),
        (Turn("supporter", "x", levels=dict.fromkeys(MECHANISMS, 0)), ("Others",), ()),
        # not judged for the other two: whether it shows none of the three is not known
        (Turn("supporter", "x", levels={"explorations": 0}), (), ()),
    ],
)
def test_labels_of_a_turn(turn, categories, strategies):
    assert SCHEME.labels(turn, "categories") == categories
    assert SCHEME.labels(turn, "strategies") == strategies


def resolve(labels, overlap, seed=0, uid="d:1"):
    return resolve_overlap(labels, overlap, priority=SCHEME.priority, seed=seed, uid=uid)


def test_overlap():
    labels = ("Comforting", "Action")
    assert resolve(labels, "each") == [("Comforting",), ("Action",)]
    assert resolve(labels, "priority") == [("Comforting",)]
    assert resolve(labels, "multi") == [labels]
    assert resolve((), "each") == resolve((), "multi") == resolve((), "random") == []
    assert resolve(("Question",), "priority") == [("Question",)]  # the eight don't overlap and need no priority
    assert resolve_overlap(labels, "priority", priority=["Action", "Comforting"], seed=0, uid="") == [("Action",)]


def test_random_overlap_is_uniform_and_repeatable():
    labels = ("Comforting", "Exploration", "Action")
    drawn = Counter(resolve(labels, "random", uid=f"d:{turn}")[0][0] for turn in range(3000))
    assert all(abs(drawn[label] - 1000) < 120 for label in labels)  # 4.6 standard deviations
    assert resolve(labels, "random", uid="d:5") == resolve(labels[::-1], "random", uid="d:5")
    assert [resolve(labels, "random", seed) for seed in range(9)] != [resolve(labels, "random")] * 9


@given(st.dictionaries(st.sampled_from(STRATEGIES), st.integers(0, 5000)))
def test_tally_counts_rows_of_each(counts):
    rows = Counter()
    for name, number in counts.items():
        for (label,) in resolve(SCHEME.labels(Turn("supporter", "x", name), "categories"), "each"):
            rows[label] += number
    assert SCHEME.tally(counts) == {name: rows[name] for name in SCHEME.categories}


def test_own_scheme(tmp_path):
    content = {
        "categories": {"Warm": [*MECHANISMS, *STRATEGIES[:4]], "Other": ["Questions", *STRATEGIES[4:]]},
        "fallback": "Other",
        "priority": ["Other", "Warm"],
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    scheme = load_scheme(tmp_path / "own.yaml")
    assert scheme.names("categories") == ("Warm", "Other")
    assert scheme.names("strategies") == STRATEGIES
    assert scheme.having("Question") == ("Warm", "Other")


def test_broken_schemes_say_everything(tmp_path):
    content = yaml.safe_load(DEFAULT_SCHEME.read_text())
    content["categories"]["Action"] = ["Scolding"]
    content["fallback"] = "Nothing"
    content["priority"] = ["Action"]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError) as caught:
        load_scheme(tmp_path / "own.yaml")
    text = str(caught.value)
    for part in ("'Scolding' is no strategy", "no category holds Providing Suggestions, Information, interpretations"):
        assert part in text
    assert "fallback 'Nothing' is no category" in text
    assert "priority must list every category once" in text
    for name, value in (("fallback", ["Others"]), ("priority", ["Action", 1]), ("categories", {1: ["Question"]})):
        (tmp_path / "own.yaml").write_text(yaml.safe_dump({**content, name: value}))
        with pytest.raises(DataError, match="names of categories, in 'fallback' and 'priority' too, must be texts"):
            load_scheme(tmp_path / "own.yaml")
    for broken in ("[1]", "{categories: 3}", "a: : b"):
        (tmp_path / "own.yaml").write_text(broken)
        with pytest.raises(DataError, match=r"own\.yaml"):
            load_scheme(tmp_path / "own.yaml")
    with pytest.raises(DataError, match="can't be read"):
        load_scheme(tmp_path / "none.yaml")


def test_counting_parts():
    turns = [
        Turn("seeker", "x"),
        Turn("supporter", "x", "Question"),
        Turn("supporter", "x", levels={"explorations": 1, "interpretations": 2, "emotional_reactions": 0}),
        Turn("supporter", "x", levels=dict.fromkeys(MECHANISMS, 0)),
        Turn("supporter", "x"),
    ]
    assert count_parts([Dialogue("0", "esconv", turns)]) == {
        "Question": 1,
        "explorations": 1,
        "interpretations": 1,
        "neither": 1,
        "unlabelled": 1,
    }


def test_corpus_table(tmp_path, capsys):
    dialog = [
        {"speaker": "supporter", "annotation": {"strategy": "Self-disclosure"}, "content": "I know that."},
        {"speaker": "supporter", "annotation": {"strategy": "Question"}, "content": "Since when?"},
    ]
    (tmp_path / "ESConv.json").write_text(json.dumps([{"dialog": dialog}]))
    header = "sp_id,rp_id,seeker_post,response_post,level,rationales\n"
    for name, level in (("emotional-reactions", 2), ("interpretations", 0), ("explorations", 0)):
        (tmp_path / f"{name}-reddit.csv").write_text(f"{header}s1,r1,I failed.,Oh no.,{level},Oh no.\n")
    assert main(["--esconv", str(tmp_path / "ESConv.json"), "--reddit", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Comforting", "1", "1", "2", "5,976", "4,453", "10,429", "3,406"] in lines
    assert ["Exploration", "2", "0", "2", "8,039", "2,406", "10,445", "1,926"] in lines
    assert ["Action", "1", "0", "1", "8,709", "2,965", "11,674", "1,507"] in lines
    assert ["sum", "4", "1", "5", "26,385", "9,824", "36,209", "6,839"] in lines
    with pytest.raises(UserError, match="--esconv"):
        main([])
