import json
from math import isnan

import pytest
from pairwise_studies import judge, make_study
from running import run

from experiments.pairwise.command import main
from experiments.pairwise.report import report
from experiments.pairwise.score import score_study
from experiments.pairwise.statistics import Outcome, bradley_terry
from experiments.pairwise.study import open_key

PAIR = "plain_vs_tagged"


def number(row):
    return int(row["context"].partition(":")[0][1:])


def scored(study):
    return score_study(study, open_key(study))


def test_win_loss_tie_of_one_rater(tmp_path):
    study, _ = make_study(tmp_path, contexts=10)
    judge(study, "anna", lambda row, left: None if number(row) < 2 else "tagged" if number(row) < 9 else "plain")
    found = scored(study).estimates
    assert [found[f"human/{PAIR}/{what}"].value for what in ("win", "loss", "tie")] == [0.1, 0.7, 0.2]
    assert found[f"human/{PAIR}/decided"][:] == pytest.approx((0.125, 0.022417, 0.470888, 8), abs=1e-6)
    assert found[f"human/{PAIR}/p"].value == pytest.approx(2 * 9 / 2**8)
    assert found[f"human/{PAIR}/p_holm"].value == found[f"human/{PAIR}/p"].value
    text = report(scored(study))
    assert "plain : tagged  10     12/88  10.0  70.0  20.0" in text
    assert "0.070     0.070" in text
    assert "10 judgements by 1 person" in text


def test_the_majority_of_the_raters_makes_the_outcome(tmp_path):
    study, _ = make_study(tmp_path, contexts=4)
    judge(study, "anna", lambda row, left: "plain")
    judge(study, "ben", lambda row, left: "plain" if number(row) < 2 else None if number(row) == 2 else "tagged")
    found = scored(study).estimates
    assert [found[f"human/{PAIR}/{what}"].value for what in ("win", "loss", "tie")] == [0.5, 0, 0.5]
    assert found[f"human/{PAIR}/win"].n == 4
    every = [found[f"human/every/{PAIR}/{what}"] for what in ("win", "loss", "tie")]
    assert [(one.value, one.n) for one in every] == [(0.75, 8), (0.125, 8), (0.125, 8)]
    assert found[f"rater/ben/{PAIR}/win"].value == 0.5
    assert found["agreement/mean_pairwise_agreement"].value == 0.5
    assert found["agreement/anna~ben/kappa"].value == 0  # anna always says plain
    text = report(scored(study))
    assert "People, one outcome a context: what more than half of its raters said, else a tie" in text
    assert "anna, ben" in text


def test_an_outcome_is_what_more_than_half_of_the_raters_say(tmp_path):
    study, _ = make_study(tmp_path, systems=("a", "b", "c"), contexts=8)
    one, other, tie = 1, -1, None
    said = [
        (tie, tie, one),
        (tie, tie, other),
        (tie, one, one),
        (one, other, tie),
        (one, other, one),
        (other, other, one),
        (other, tie, other),
        (other, other, other),
    ]

    def opinion(rater):
        def preferred(row, left):
            systems = sorted([row["first"], row["second"]])
            value = said[number(row)][rater]
            return value and systems[0 if value == one else 1]

        return preferred

    for rater, name in enumerate(("anna", "ben", "cy")):
        judge(study, name, opinion(rater))
    found = scored(study).estimates
    for pair in ("a_vs_b", "a_vs_c", "b_vs_c"):
        counts = [8 * found[f"human/{pair}/{what}"].value for what in ("win", "loss", "tie")]
        assert counts == [2, 3, 3]
        assert found[f"human/{pair}/decided"].n == 5
        assert found[f"human/{pair}/p"].value == 1  # 2 of 5
    expected = bradley_terry(
        [
            Outcome(str(n), x, y, value)
            for n, value in enumerate((0, 0, 1, 0, 1, -1, -1, -1))
            for x, y in (("a", "b"), ("a", "c"), ("b", "c"))
        ],
        "abc",
    )
    for name, strength in expected.items():
        assert found[f"human/strength/{name}"] == pytest.approx(strength)


def test_raters_without_a_task_in_common(tmp_path):
    study, _ = make_study(tmp_path, contexts=4)
    for rater, wanted in (("anna", {0, 1}), ("ben", {2, 3})):
        ratings = judge(study, rater, lambda row, left: "plain")
        key = open_key(study)
        lines = ratings.path.read_text().splitlines(keepends=True)
        ratings.path.write_text("".join(x for x in lines if number(key.tasks[json.loads(x)["task"]]) in wanted))
    assert not any(key.startswith("agreement/") for key in scored(study).estimates)
    assert "No two raters share a task." in report(scored(study))


def test_habits_show_who_chooses_by_place_or_length(tmp_path):
    study, _ = make_study(tmp_path, systems=("plain", "tagged"), contexts=6)
    judge(study, "lefty", lambda row, left: row[left])
    judge(study, "tied", lambda row, left: None)
    found = scored(study).estimates
    assert found["rater/lefty/left"][:2] == pytest.approx((1, 0.609666), abs=1e-6)
    assert found["rater/lefty/longer"].n == 0  # the two responses of a task have as many words
    assert isnan(found["rater/tied/left"].value)
    assert found[f"rater/lefty/{PAIR}/win"].value == 0.5  # sides are balanced


def test_several_systems_get_strengths_and_holm(tmp_path):
    study, _ = make_study(tmp_path, systems=("a", "b", "c"), contexts=8)
    better = {"a": 2, "b": 1, "c": 0}

    def preferred(row, left):
        first, second = row["first"], row["second"]
        if number(row) == 0:
            return None
        upset = number(row) == 1
        return max(first, second, key=better.get) if not upset else min(first, second, key=better.get)

    judge(study, "anna", preferred)
    scores = scored(study)
    p = [scores.estimates[f"human/{pair}/p"].value for pair in ("a_vs_b", "a_vs_c", "b_vs_c")]
    assert p == pytest.approx([2 * 8 / 2**7] * 3)
    assert scores.estimates["human/b_vs_c/p_holm"].value == pytest.approx(3 * p[0])
    strengths = [scores.estimates[f"human/strength/{name}"].value for name in "abc"]
    assert strengths == sorted(strengths, reverse=True)
    assert sum(strengths) == pytest.approx(0, abs=1e-9)
    assert "Bradley-Terry strength" in report(scores)


def test_a_judge_stands_apart_and_is_calibrated(tmp_path):
    study, _ = make_study(tmp_path, contexts=8)
    # the judge takes the left one on contexts 0 to 3 and plain on 4 to 7, people tagged on 4 to 6 and plain elsewhere
    both = ["first", "second"]
    judge(study, "llama", lambda row, left: row[left] if number(row) < 4 else "plain", "judges", both)
    judge(study, "anna", lambda row, left: "tagged" if number(row) in (4, 5, 6) else "plain")
    found = scored(study).estimates
    prefix = "judge/llama"
    assert [found[f"{prefix}/{PAIR}/{what}"].value for what in ("win", "loss", "tie")] == [0.5, 0, 0.5]
    assert found[f"{prefix}/one_left/{PAIR}/win"].value == 1
    assert found[f"{prefix}/other_left/{PAIR}/win"].value == 0.5
    assert (found[f"{prefix}/consistent"].value, found[f"{prefix}/consistent"].n) == (0.5, 8)
    assert found[f"{prefix}/left"].value == 0.75  # 8 of 8 and 4 of 8
    assert found[f"{prefix}/same_as_human"].value == 0.125
    assert found[f"{prefix}/{PAIR}/points"].value == 0.75
    assert found[f"{prefix}/{PAIR}/points_human"].value == 0.625
    assert found[f"{prefix}/{PAIR}/points_calibrated"].value == 0.625  # people judged all: what they said
    assert found[f"human/{PAIR}/win"].value == 0.625  # the judge's verdicts are not among people's
    assert "Judge llama calibrated by people" in report(scored(study))


def test_people_alone_are_all_that_people_judged(tmp_path):
    study, _ = make_study(tmp_path, contexts=10)
    ratings = judge(study, "llama", lambda row, left: "plain", "judges", ["first", "second"])
    tasks = open_key(study).tasks
    kept = [x for x in ratings.path.read_text().splitlines(True) if number(tasks[json.loads(x)["task"]]) < 4]
    ratings.path.write_text("".join(kept))
    judge(study, "anna", lambda row, left: "plain" if number(row) < 3 else "tagged")
    found = scored(study).estimates
    assert found[f"judge/llama/{PAIR}/points"][::3] == (1, 4)
    assert found[f"judge/llama/{PAIR}/points_calibrated"][::3] == (0.75, 4)
    assert found[f"judge/llama/{PAIR}/points_human"][::3] == (0.3, 10)


def test_a_judge_alone_and_nothing_at_all(tmp_path):
    study, _ = make_study(tmp_path, contexts=4)
    assert "Nothing is judged yet" in report(scored(study))
    judge(study, "llama", lambda row, left: "plain", "judges", ["first"])
    scores = scored(study)
    assert f"judge/llama/{PAIR}/win" not in scores.estimates  # one order says nothing of both
    assert not any(key.startswith("human/") for key in scores.estimates)
    assert "Judge llama" in report(scores)


def test_the_command_from_files_to_numbers(tmp_path, capsys):
    make_study(tmp_path / "files", contexts=5)
    files = [f"new={tmp_path / 'files/tagged.jsonl'}", str(tmp_path / "files/plain.jsonl")]
    study, out = tmp_path / "s", tmp_path / "out/scores.json"
    contexts = ["--contexts", str(tmp_path / "files/contexts.jsonl")]
    assert main(["export", *files, *contexts, "--output", str(study), "--count", "4"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "4 tasks from 4 of 5 contexts, 2 systems" in said.err
    assert main(["score", str(study), "--output", str(out)]) == 0
    assert "Nothing is judged yet" in capsys.readouterr().out
    from experiments.pairwise.study import Study

    judge(Study(study), "anna", lambda row, left: "new")
    assert main(["score", str(study), "--output", str(out)]) == 0
    assert "new : plain  4     100/0" in capsys.readouterr().out
    unwritable = run("compare", "score", study, "--output", "/proc/x.json")
    assert (unwritable.status, unwritable.err.startswith("error: --output /proc/x.json can't be written: ")) == (
        2,
        True,
    )
    assert len(unwritable.err.splitlines()) == 1
    numbers = json.loads(out.read_text())
    assert numbers["human/new_vs_plain/win"]["value"] == 1
    assert numbers["human/new_vs_plain/p"] == {"value": 0.125, "low": None, "high": None, "n": 4}
