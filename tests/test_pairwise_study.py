import json
from collections import Counter

import pytest
from pairwise_studies import answer, judge, make_study, write_rows
from running import run, succeed

from errors import DataError, UserError
from experiments.pairwise.draw import System, draw_study
from experiments.pairwise.inputs import read_contexts, read_responses
from experiments.pairwise.study import Judgement, Study, open_key

TURNS = [
    {"speaker": "supporter", "text": "hello"},
    {"speaker": "seeker", "text": "hi"},
    {"speaker": "seeker", "text": " "},
    {"speaker": "supporter", "text": "what is it?", "strategy": "Question"},
]


def test_contexts_are_the_turns_before_the_response(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", [{"id": "a:b", "turns": TURNS, "source": "esconv"}, {"turns": TURNS[:1]}])
    found = read_contexts(path, ["a:b:0", "a:b:3", "a:b:4", "a:b:5", "a:b", "1:1", "2:0"])
    said = {name: [turn["text"] for turn in context.turns] for name, context in found.items()}
    assert said == {
        "a:b:0": [],
        "a:b:3": ["hello", "hi"],
        "a:b:4": ["hello", "hi", "what is it?"],
        "a:b": ["hello", "hi"],
        "1:1": ["hello"],
    }
    assert [found["a:b:0"].source, found["1:1"].source] == ["esconv", "clinical"]
    assert found["a:b:3"].dialogue == "a:b"


def test_contexts_from_posts_and_from_esconv(tmp_path):
    posts = write_rows(tmp_path / "p.jsonl", [{"id": "p", "seeker_post": "help", "response_post": "of course"}])
    assert read_contexts(posts, ["p", "p:1"])["p"] == read_contexts(posts, ["p:1"])["p:1"]
    dialog = [
        {"speaker": "listener", "content": "hello", "annotation": {}},
        {"speaker": "speaker", "content": " ", "annotation": {}},
        {"speaker": "speaker", "content": "I lost my job", "annotation": {}},
    ]
    esconv = tmp_path / "ESConv.json"
    esconv.write_text(json.dumps([{"dialog": dialog[:1]}, {"dialog": dialog}]))
    found = read_contexts(esconv, ["1:3", "1:1", "0:1"])
    assert [turn["text"] for turn in found["1:3"].turns] == ["hello", "I lost my job"]
    assert [turn["speaker"] for turn in found["1:3"].turns] == ["supporter", "seeker"]
    assert [turn["text"] for turn in found["1:1"].turns] == ["hello"]


def test_bad_rows_are_all_named(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", [{"id": 1, "turns": [{"speaker": "doctor", "text": "x"}]}, {"id": 2}])
    with pytest.raises(DataError) as error:
        read_contexts(path, ["1"])
    assert [f"row {n}" in problem for n, problem in enumerate(error.value.problems, 1)] == [True, True]
    path = write_rows(tmp_path / "r.jsonl", [answer("s", 1), answer("s", 1), {"id": "x", "response": None}])
    with pytest.raises(DataError) as error:
        read_responses(path)
    assert ["row 2" in error.value.problems[0], "row 3" in error.value.problems[1]] == [True, True]


def test_texts_with_line_breaks_of_all_kinds_and_broken_ones(tmp_path):
    text = "one\u2028two\x85three\nfour\x0bfive \U0001f499"
    rows = [{"id": "d:1", "response": text}]
    files = [System(name, write_rows(tmp_path / f"{name}.jsonl", rows)) for name in "ab"]
    contexts = write_rows(tmp_path / "c.jsonl", [{"id": "d", "seeker_post": text}])
    draw_study(files, contexts, tmp_path / "s")
    (task,) = Study(tmp_path / "s").tasks.values()
    assert task.context[0]["text"] == task.first == task.second == text
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": "d:1", "response": "\\ud83d"}\n{"id": 1, "response": ["x"]}\n')
    with pytest.raises(DataError, match="row 1: 'id' or 'response' has half of a surrogate pair") as error:
        read_responses(broken)
    assert "row 2: 'id' or 'response' is of type list" in error.value.problems[1]


def test_sides_are_balanced_and_the_tasks_are_blind(tmp_path):
    study, note = make_study(tmp_path, ("plain", "tagged", "third"), contexts=10)
    key = open_key(study)
    firsts = Counter((row["first"], row["second"]) for row in key.tasks.values())
    assert set(firsts.values()) == {5}
    assert len(firsts) == 6
    for name, row in key.tasks.items():
        task = study.tasks[name]
        number = row["context"][1:-2]
        assert task.context == [{"speaker": "seeker", "text": f"worry {number}"}]
        assert (task.first, task.second) == (f"{row['first']} answers {number}", f"{row['second']} answers {number}")
    shown = (tmp_path / "study/study.json").read_text() + "".join(study.tasks)
    assert not any(name in shown for name in ("plain", "tagged", "third"))
    assert "30 tasks from 10 of 10 contexts, 3 systems" in note


def test_an_odd_context_goes_to_either_side(tmp_path):
    key = open_key(make_study(tmp_path, ("a", "b", "c"), contexts=5)[0])
    firsts = Counter((row["first"], row["second"]) for row in key.tasks.values())
    assert sorted(firsts.values()) == [2, 2, 2, 3, 3, 3]


def test_the_same_seed_draws_the_same_and_by_default_nobody_knows_it(tmp_path):
    ids = [set(make_study(tmp_path / str(n), seed=seed, count=3)[0].tasks) for n, seed in enumerate([7, 7, None, None])]
    assert ids[0] == ids[1]
    assert len(ids[0] | ids[2] | ids[3]) == 9


def test_contexts_are_spread_over_dialogues(tmp_path):
    rows = [{"id": f"d{n}:{turn}", "response": f"{n} {turn}"} for n in range(4) for turn in range(5)]
    dialogues = [{"id": f"d{n}", "turns": [{"speaker": "seeker", "text": "x"}] * 5} for n in range(4)]
    files = [System(name, write_rows(tmp_path / f"{name}.jsonl", rows)) for name in "ab"]
    draw_study(files, write_rows(tmp_path / "c.jsonl", dialogues), tmp_path / "s", count=6, seed=0)
    drawn = Counter(row["context"][:2] for row in open_key(Study(tmp_path / "s")).tasks.values())
    assert sorted(drawn.values()) == [1, 1, 2, 2]


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(UserError, match=r"--count asks for 7 contexts; 6 have"):
        make_study(tmp_path / "a", count=7)
    with pytest.raises(UserError, match="two or more with different names"):
        make_study(tmp_path / "b", systems=("same", "same"))
    make_study(tmp_path / "c")
    with pytest.raises(UserError, match="never overwritten"):
        make_study(tmp_path / "c")
    one, other = (write_rows(tmp_path / f"{name}.jsonl", [answer(name, n)]) for n, name in enumerate("ab"))
    contexts = tmp_path / "c/contexts.jsonl"
    with pytest.raises(UserError, match=r"no id has a response in each of .*a\.jsonl, .*b\.jsonl and a context in"):
        draw_study([System("a", one), System("b", other)], contexts, tmp_path / "d")
    empty = tmp_path / "empty.csv"
    empty.write_text("id,response\n")
    with pytest.raises(DataError, match=r"empty\.csv: no rows; name a file of responses"):
        draw_study([System("a", one), System("b", empty)], contexts, tmp_path / "d")


@pytest.mark.parametrize(
    ("places", "named"),
    [
        (["--output", "/proc/q"], "/proc/q"),
        (["--output", "STUDY", "--key", "/proc/k.json"], "/proc/k.json"),
        (["--output", "STUDY", "--key", "plain.jsonl/k/key.json"], "plain.jsonl/k/key.json"),
    ],
)
def test_a_study_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, places, named):
    make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    export = ["compare", "export", "plain.jsonl", "tagged.jsonl", "--contexts", "contexts.jsonl"]
    ran = run(*export, *places)
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)
    assert ran.err.startswith(f"error: {named} can't be written: ")
    assert not (tmp_path / "STUDY").exists()
    succeed(*export, "--output", "STUDY")


def test_the_seal(tmp_path):
    study, _ = make_study(tmp_path, key_path=tmp_path / "safe/key.json")
    with pytest.raises(UserError, match="name the file with --key"):
        open_key(study)
    path = tmp_path / "safe/key.json"
    assert set(open_key(study, path).systems) == {"plain", "tagged"}
    path.write_text(path.read_text().replace("plain", "PLAIN"))
    with pytest.raises(UserError, match="not the key that was sealed"):
        open_key(study, path)
    tasks = tmp_path / "study/tasks.jsonl"
    tasks.write_text(tasks.read_text().replace("worry", "joy"))
    with pytest.raises(UserError, match="not the file that was exported"):
        Study(tmp_path / "study")


def test_two_raters_see_opposite_orders_and_sides(tmp_path):
    study, _ = make_study(tmp_path)
    orders = [study.rater(name).order(study.tasks.values()) for name in ("anna", "ben", "cy")]
    first, second, third = ([task.id for task, _ in order] for order in orders)
    assert first == second[::-1]
    assert first != third
    assert sorted(first) == sorted(third) == sorted(study.tasks)
    assert [{side for _, side in order} for order in orders] == [{"first"}, {"second"}, {"first"}]


def test_a_rater_comes_back_under_any_case_and_the_last_choice_counts(tmp_path):
    study, _ = make_study(tmp_path)
    judge(study, "Jörg", lambda row, left: "plain")
    judge(study, "jörg", lambda row, left: "tagged")
    assert [path.name for path in (tmp_path / "study/judgements").iterdir()] == ["00-Jörg.jsonl"]
    again = Study(tmp_path / "study").rater("JÖRG")
    assert len(again.path.read_text().splitlines()) == 12
    key = open_key(study)
    chosen = {key.tasks[one.task][one.choice] for one in again.given.values()}
    assert (len(again.given), chosen) == (6, {"tagged"})


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 41, "a/b", "-x"])
def test_names_that_make_no_file(tmp_path, name):
    with pytest.raises(UserError, match="1 to 40 letters"):
        make_study(tmp_path)[0].rater(name)


def test_a_line_that_a_crash_cut_off_is_judged_again(tmp_path):
    study, _ = make_study(tmp_path)
    path = judge(study, "anna", lambda row, left: None).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(study.ratings("judgements")[0].given) == 5
    assert path.read_bytes() == whole[:-20]  # who only reads changes nothing
    ratings = study.rater("anna")
    left_over = [task for task, side in ratings.order(study.tasks.values()) if (task.id, side) not in ratings.given]
    ratings.add(Judgement(left_over[0].id, "anna", "tie", "first", 2.0, "2026-01-01T00:00:00+00:00"))
    assert path.read_bytes() == whole


def test_judgements_of_another_study_are_refused(tmp_path):
    study, _ = make_study(tmp_path / "a")
    path = judge(make_study(tmp_path / "b", seed=2)[0], "anna", lambda row, left: None).path
    (tmp_path / "a/study/judgements").mkdir()
    (tmp_path / "a/study/judgements/00-anna.jsonl").write_text(path.read_text() + "{}\n")
    with pytest.raises(DataError) as error:
        study.ratings("judgements")
    assert len(error.value.problems) == 7
    assert "line 1: no such task in this study" in error.value.problems[0]
    assert "line 7: not a judgement" in error.value.problems[6]


def test_files_from_other_machines(tmp_path):
    study, _ = make_study(tmp_path)
    path = judge(study, "anna", lambda row, left: "plain").path
    path.with_name("00-ben.jsonl").write_text(path.read_text())
    assert [(ratings.number, ratings.rater) for ratings in study.ratings("judgements")] == [(0, "anna"), (0, "ben")]
    path.with_name("01-Anna.jsonl").write_text("")
    path.with_name("cy.jsonl").write_text("")
    with pytest.raises(DataError) as error:
        study.ratings("judgements")
    named = [problem.partition(":")[0].rpartition("/")[2] for problem in error.value.problems]
    assert named == ["cy.jsonl", "00-anna.jsonl", "01-Anna.jsonl"]
