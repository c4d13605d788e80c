"""The agreement command: any table, every figure, a model beside people, and known kappas recovered."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from errors import DataError, UserError
from experiments.agreement import main
from experiments.annotation.annotations import Annotation

MECHANISMS = ("emotional_reactions", "interpretations", "explorations")


def _csv(path: Path, rows: list[dict]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def _jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def _run(tmp_path, *argv: str) -> dict:
    output = tmp_path / "found.json"
    assert main([*argv, "--output", str(output), "--resamples", "200"]) == 0
    return json.loads(output.read_text(encoding="utf-8"))


def _annotator(ratings, number):
    return [
        {"id": f"r{row}", "annotator": "abc"[number], "emotional_reactions": int(level)}
        for row, level in enumerate(ratings[:, number])
    ]


@pytest.fixture
def simulated():
    """Three annotators with the true kappas .81, .72 and .72; see test_metrics_agreement."""
    generator = np.random.default_rng(1)
    shares, copies = (0.5, 0.3, 0.2), (0.9, 0.9, 0.8)
    truth = generator.choice(3, size=300, p=shares)
    guesses = generator.choice(3, size=(300, 3), p=shares)
    return np.where(generator.random((300, 3)) < copies, truth[:, None], guesses)


def test_known_kappas_from_a_table_an_annotator(tmp_path, simulated, capsys):
    files = [_csv(tmp_path / f"{number}.csv", _annotator(simulated, number)) for number in range(3)]
    found = _run(tmp_path, *files)
    known = {"a~b/kappa": 0.81, "a~c/kappa": 0.72, "b~c/kappa": 0.72, "mean_pairwise_kappa": 0.75}
    for key, value in known.items():
        estimate = found[f"emotional_reactions/{key}"]
        assert estimate["low"] <= value <= estimate["high"], key
        assert estimate["n"] == 300
    mean = np.mean([cohen_kappa_score(simulated[:, a], simulated[:, b]) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert found["emotional_reactions/mean_pairwise_kappa"]["value"] == pytest.approx(mean)
    assert found["emotional_reactions/mean_pairwise_kappa"]["protocol"]["annotators"] == ["a", "b", "c"]
    assert "mean_pairwise_kappa" not in found  # one mechanism
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][0] == "emotional_reactions"
    assert ["mean_pairwise_kappa", f"{mean:.3f}"] == lines[2][:2]


def test_mean_over_mechanisms(tmp_path):
    rows = [
        {"id": str(row), "annotator": name, "emotional_reactions": er, "interpretations": ip}
        for name, answers in {"a": ["00", "11", "22", "01"], "b": ["01", "11", "21", "00"]}.items()
        for row, (er, ip) in enumerate(answers)
    ]
    found = _run(tmp_path, _csv(tmp_path / "all.csv", rows))
    each = [found[f"{name}/mean_pairwise_kappa"]["value"] for name in MECHANISMS[:2]]
    assert found["mean_pairwise_kappa"]["value"] == pytest.approx(sum(each) / 2)
    assert not [key for key in found if key.startswith("explorations")]


def _marked(id_, annotator, level, spans, text="oh my dear friend", **more):
    return {"id": id_, "annotator": annotator, "levels": {"explorations": level}, "response_post": text} | {
        "rationales": {"explorations": spans}, **more
    }  # fmt: skip


def test_rationales_over_words(tmp_path):
    rows = [
        _marked("1", "a", 1, [[0, 5]]),  # oh my
        _marked("1", "b", 2, [[3, 10]]),  # my dear: F1 .5; runs overlap 1/3: IOU 0
        _marked("2", "a", 2, [[6, 10]]),
        _marked("2", "b", 2, [[7, 9]]),  # a part of the same word: 1
        _marked("3", "a", 1, [[0, 2]]),
        _marked("3", "b", 0, []),  # not both above none
        _marked("4", "a", 1, []),
        _marked("4", "b", 1, []),  # nobody marks a word
    ]
    found = _run(tmp_path, _jsonl(tmp_path / "all.jsonl", rows))
    assert found["explorations/rationale_f1"]["value"] == 0.75
    assert found["explorations/rationale_f1"]["n"] == 2
    assert found["explorations/rationale_iou_f1"]["value"] == 0.5
    assert found["explorations/a~b/rationale_f1"]["value"] == 0.75


def test_a_model_beside_people(tmp_path):
    rows = [
        _marked("1", "a", 1, [[0, 5]]),
        _marked("1", "b", 1, [[3, 5]]),
        _marked("2", "a", 2, [[0, 2]]),
        _marked("2", "b", 0, []),
        _marked("3", "a", 2, [[0, 2]]),
        _marked("3", "b", 2, [[0, 2]]),  # the model didn't score it
    ]
    scores = [
        {"id": "1", "levels": {"explorations": 1}, "rationales": {"explorations": [[0, 5]]}},
        {"id": "2", "levels": {"explorations": 0}, "rationales": {"explorations": [[0, 5]]}},
        {"id": "99", "levels": {"explorations": 0}},
    ]
    found = _run(tmp_path, _jsonl(tmp_path / "a.jsonl", rows), "--scores", _jsonl(tmp_path / "s.jsonl", scores))
    assert found["explorations/human_level_accuracy"]["value"] == 0.5
    assert found["explorations/model_level_accuracy"]["value"] == 0.75
    assert found["explorations/model_minus_human_level_accuracy"]["value"] == 0.25
    assert found["explorations/human_level_accuracy"]["n"] == 2
    # People: b against a's rationales: 2/3 and 0; a against b's: 2/3. Model: against a's 1 and 2/3, against b's 2/3.
    assert found["explorations/human_rationale_f1"]["value"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert found["explorations/model_rationale_f1"]["value"] == pytest.approx((5 / 6 + 2 / 3) / 2)


def test_strategies_and_datasets_apart(tmp_path):
    rows = [
        Annotation(str(row), name, strategy=strategy, dataset="xy"[row // 2])
        for name, said in {"a": "QQIO", "b": "QIIO"}.items()
        for row, strategy in enumerate(said)
    ]
    path = tmp_path / "annotations.jsonl"
    path.write_text("".join(f"{row.to_json()}\n" for row in rows), encoding="utf-8")
    found = _run(tmp_path, str(path), "--by", "dataset")
    assert found["x/strategy/mean_pairwise_agreement"]["value"] == 0.5
    assert found["y/strategy/mean_pairwise_kappa"]["value"] == 1.0
    assert found["x/strategy/Q/mean_pairwise_kappa"]["value"] == 0.0
    assert math.isfinite(found["y/strategy/alpha_nominal"]["value"])


def test_groups_are_drawn_together(tmp_path):
    rows = [
        {"id": str(row), "annotator": name, "explorations": level, "group": "one" if grouped else str(row)}
        for name, said in {"a": "012012", "b": "011012"}.items()
        for row, level in enumerate(said)
        for grouped in [True]
    ]
    found = _run(tmp_path, _csv(tmp_path / "a.csv", rows))
    assert found["explorations/mean_pairwise_kappa"]["value"] == 0.75
    assert found["explorations/mean_pairwise_kappa"]["low"] is None


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_figure(tmp_path, simulated, suffix):
    files = [_csv(tmp_path / f"{number}.csv", _annotator(simulated, number)) for number in range(3)]
    figure = tmp_path / f"agreement.{suffix}"
    assert main([*files, "--figure", str(figure), "--resamples", "20"]) == 0
    content = figure.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    if suffix == "svg":
        assert b"agreement beyond chance" in content  # a comment of the drawn text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,emotional_reactions\n1,2\n", "no column 'annotator'"),
        ("id,annotator,empathy\n1,a,2\n", "none of the columns emotional_reactions"),
        ("id,annotator,explorations\n1,a,3\n", "row 1 .line 2.: column 'explorations': level 3 is not one of 0 .none."),
        ("id,annotator,explorations\n1,a,my secret\n", "column 'explorations': level is not one of"),
        ("id,annotator,explorations\n1,,2\n", "column 'annotator' is empty"),
        ("id,annotator,explorations\n1,a,2\n1,a,1\n", "annotated the row otherwise in .*row 1"),
        ("id,annotator,explorations\n1,a,2\n2,b,1\n", "none of the 2 rows has answers by two annotators"),
        ("id,annotator,explorations\n1,a\n", "2 cells where the header names 3"),
        ("", "the file is empty"),
    ],
)
def test_unusable_tables(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        main([str(path)])
    assert "secret" not in str(error.value)


def test_all_problems_at_once(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,annotator,explorations\n1,a,3\n1,b,4\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        main([str(path), str(tmp_path / "missing.csv")])
    assert len(error.value.problems) == 3


def test_levels_by_name_and_blank_answers(tmp_path):
    text = "id,annotator,explorations\n1,a,strong\n1,b,2.0\n2,a,\n2,b,weak\n3,a,0\n3,b,None\n"
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    found = _run(tmp_path, str(path))
    assert found["explorations/a~b/agreement"]["value"] == 1.0
    assert found["explorations/a~b/agreement"]["n"] == 2


def test_other_mistakes(tmp_path):
    path = _csv(tmp_path / "a.csv", [{"id": 1, "annotator": name, "explorations": 1} for name in "ab"])
    with pytest.raises(UserError, match="--by stage: some annotations don't say"):
        main([path, "--by", "stage"])
    with pytest.raises(UserError, match="no id there is the id of an annotated row"):
        main([path, "--scores", _jsonl(tmp_path / "s.jsonl", [{"id": "7", "levels": {"explorations": 1}}])])
    with pytest.raises(UserError, match=r"must end in one of \.svg"):
        main([path, "--figure", "x.gif"])


def test_the_simulated_annotators_of_the_documentation(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setattr("sys.argv", ["simulated_annotators.py"])
    import simulated_annotators

    simulated_annotators.main()
    out = capsys.readouterr().out
    assert out.endswith("Within their intervals: 12 of 12\n")
    page = (Path(__file__).parents[1] / "docs" / "people.md").read_text(encoding="utf-8")
    means = [line.split("|")[2:5] for line in out.splitlines() if "mean_pairwise_kappa" in line]
    for known, found, interval in means:
        assert f"| {known.strip()[1:]} | {found.strip()[1:]} | {interval.strip().replace('0.', '.')} |" in page
