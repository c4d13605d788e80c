"""Annotation studies: who annotates what, sheets, consolidation, adjudication, and the whole way round."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.records import Pair
from errors import DataError, UserError
from experiments.annotation.annotations import Annotation
from experiments.annotation.command import main
from experiments.annotation.consolidate import Open, consolidate
from experiments.annotation.differences import Sheets
from experiments.annotation.guidelines import Questions, guidelines
from experiments.annotation.reading import read_annotations
from experiments.annotation.sampling import SamplingOptions, assign

EX = Questions(("explorations",))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    people=st.integers(2, 5),
    overlap=st.integers(0, 4),
    per_row=st.integers(1, 2),
    rounds=st.integers(0, 2),
    data=st.data(),
)
def test_who_annotates_what(sizes, people, overlap, per_row, rounds, data):
    datasets = {f"{name}{row}": str(name) for name, size in enumerate(sizes) for row in range(size)}
    names = [f"p{number}" for number in range(people)]
    options = SamplingOptions(
        rounds=rounds, round_size=2, overlap=overlap, per_row=per_row, seed=data.draw(st.integers(0, 9))
    )
    try:
        assigned = assign(datasets, names, options)
    except UserError:
        return
    shuffled = dict(data.draw(st.permutations(list(datasets.items()))))
    assert assign(shuffled, names, options) == assigned
    assert sorted(row.id for row in assigned) == sorted(datasets)
    by_stage = Counter(row.stage for row in assigned)
    assert [by_stage[f"round-{number}"] for number in range(1, rounds + 1)] == [2] * rounds
    assert all(row.annotators == tuple(names) for row in assigned if row.stage != "main")
    main_rows = [row for row in assigned if row.stage == "main"]
    for a, b in combinations(names, 2):
        shared = Counter(datasets[row.id] for row in main_rows if {a, b} <= set(row.annotators))
        assert all(shared[dataset] >= overlap for dataset in {datasets[row.id] for row in main_rows})
    assert all(len(row.annotators) >= per_row for row in main_rows)
    if per_row == 1:
        loads = Counter(name for row in assigned for name in row.annotators)
        assert max(loads.values()) - min(loads[name] for name in names) <= 1


def test_overlap_of_everything_by_default_and_a_sample():
    datasets = {f"r{row}": "reddit" for row in range(30)} | {f"s{row}": "synthetic/x" for row in range(10)}
    assigned = assign(datasets, ["a", "b"], SamplingOptions(rows=20, rounds=2, round_size=4))
    assert {row.annotators for row in assigned} == {("a", "b")}
    assert Counter(row.id[0] for row in assigned) == {"r": 15, "s": 5}
    assert Counter((row.stage, row.id[0]) for row in assigned) == {
        ("round-1", "r"): 3,
        ("round-1", "s"): 1,
        ("round-2", "r"): 3,
        ("round-2", "s"): 1,
        ("main", "r"): 9,
        ("main", "s"): 3,
    }


@pytest.mark.parametrize(
    ("options", "annotators", "message"),
    [
        (SamplingOptions(overlap=5), "ab", "--overlap 5: reddit has 4 rows; lower it"),
        (SamplingOptions(overlap=3, rounds=1, round_size=2), "ab", "reddit has 2 rows outside the rounds"),
        (SamplingOptions(rounds=2), "ab", "2 rounds of 40 rows are asked for, there are 4 rows"),
        (SamplingOptions(per_row=3), "ab", "--per_row 3: there are 2 annotators"),
        (SamplingOptions(rows=9), "ab", "--rows 9: there are 4"),
        (SamplingOptions(), "aa", "names a more than once"),
    ],
)
def test_what_can_t_be_shared_out(options, annotators, message):
    with pytest.raises(UserError, match=message):
        assign(dict.fromkeys("1234", "reddit"), list(annotators), options)


def _said(row, who, level, spans=(), text="oh my dear friend", **more):
    return Annotation(row, who, {"explorations": level}, {"explorations": list(spans)}, response_post=text, **more)


ROWS = {
    name: Pair(name, "reddit", "post", "oh my dear friend", levels={"explorations": 2, "interpretations": 1})
    for name in "12345"
}


def test_consolidation():
    said = [
        *(_said("1", who, 2, spans) for who, spans in (("a", [(0, 5)]), ("b", [(3, 10)]), ("c", [(3, 4)]))),
        *(_said("2", who, level, [(0, 2)]) for who, level in (("a", 0), ("b", 1))),
        *(
            _said("3", who, level, [span])
            for who, level, span in (("a", 1, (0, 2)), ("b", 1, (3, 5)), ("c", 0, (6, 10)))
        ),
        _said("4", "b", 1, [(1, 4)]),
    ]
    resolved, left = consolidate(ROWS, said, EX, decisions={})
    assert [(row.pair.id, row.pair.levels, row.pair.rationales) for row in resolved] == [
        ("1", {"explorations": 2}, {"explorations": [(3, 5)]}),  # `my`: the others' words have one of three
        ("2", {}, {}),
        ("3", {"explorations": 1}, {"explorations": [(0, 5)]}),  # each word by one of the two who said 1
        ("4", {"explorations": 1}, {"explorations": [(1, 4)]}),  # one annotator, as marked
    ]
    assert left == [Open("2", "explorations", {"a": 0, "b": 1})]


def test_decisions_and_a_reference():
    said = [
        *(_said("1", who, level, [(0, 2)]) for who, level in (("a", 0), ("b", 1))),
        *(
            _said("2", who, level, [span])
            for who, level, span in (("a", 1, (0, 2)), ("b", 1, (3, 5)), ("c", 2, (6, 10)))
        ),
    ]
    resolved, left = consolidate(ROWS, said, EX, decisions={("1", "explorations"): 1}, reference="c")
    assert [(row.pair.levels, row.pair.rationales) for row in resolved] == [
        ({"explorations": 1}, {"explorations": [(0, 2)]}),
        ({"explorations": 2}, {"explorations": [(6, 10)]}),
    ]
    assert left == []


def test_strategies_go_like_levels():
    said = [
        Annotation("1", who, strategy=name) for who, name in zip("abc", ("Question", "Others", "Question"), strict=True)
    ]
    said += [Annotation("2", who, strategy=name) for who, name in zip("ab", ("Question", "Others"), strict=True)]
    resolved, left = consolidate(ROWS, said, Questions(("explorations",), strategies=True), decisions={})
    assert [row.strategy for row in resolved] == ["Question", ""]
    assert left == [Open("2", "strategy", {"a": "Question", "b": "Others"})]


def test_sheets_of_differences():
    said = [
        *(_said("1", who, level, [(0, 2)] if level else []) for who, level in (("b", 0), ("a", 1))),
        *(_said("2", who, 1) for who in "ab"),
        *(_said("3", who, level, comment="a|b") for who, level in (("a", 2), ("b", 0))),
        _said("4", "a", 2),
    ]
    sheets = Sheets(ROWS, EX, show_clinical=False)
    sheet = sheets.differences("round-1", said)
    assert sheet.startswith("# round-1: 2 of 3 rows differ\n")
    assert sheet.index("## 3") < sheet.index("## 1")  # the larger difference first
    assert "| | a | b |" in sheet
    assert "| Explorations | 1 weak: “oh” | 0 none |" in sheet
    assert "| Comment | a\\|b | a\\|b |" in sheet
    own, reference = ([s for s in said if s.annotator == name] for name in "ba")
    feedback = sheets.feedback("round-1", own, reference)
    assert "- Explorations: of 3 rows 1 as a, 2 lower, 0 higher" in feedback
    assert "## 1" in feedback
    assert "## 2" not in feedback


def test_sheets_hide_clinical_text():
    rows = {"1": Pair("1", "clinical", "my secret", "their secret")}
    said = [_said("1", who, level, [(0, 5)], "their secret", comment="secret") for who, level in (("a", 1), ("b", 2))]
    assert "secret" not in Sheets(rows, EX, show_clinical=False).differences("main", said)
    assert "their secret" in Sheets(rows, EX, show_clinical=True).differences("main", said)


def test_guidelines_name_every_level():
    page = guidelines(Questions(strategies=True))
    assert page.count("- **0** (none): ") == page.count("- **2** (strong): ") == 3
    assert "**Reflection of feelings**" in page
    assert "Rationales" not in guidelines(Questions(rationales=False))


RESPONSES = ["oh my dear friend", "=SUM(A1) is what you said?", "line one\r\nline two 😀", "so | what?"]


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "synthetic.jsonl"
    rows = [
        {
            "id": f"{number}",
            "generator": "g",
            "seeker_post": f"I feel like number {number} today",
            "response_post": text,
        }
        for number, text in enumerate(RESPONSES)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def _export(tmp_path, table, *argv) -> Path:
    study = tmp_path / "study"
    assert (
        main(["export", "--synthetic", str(table), "--annotators", "anna", "ben", "--output", str(study), *argv]) == 0
    )
    return study


def _fill(path: Path, answers: dict[str, dict[str, str]]) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | answers.get(row["id"], {}) for row in rows)


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_sheets_all_the_way_round(tmp_path, table, capsys):
    scores = tmp_path / "scores.jsonl"
    scores.write_text(
        '{"id": "0", "levels": {"explorations": 2}, "probabilities": {"explorations": [0.1, 0.2, 0.7]}}\n'
    )
    asked = ["--tool", "csv", "--mechanisms", "explorations", "--strategies", "--scores", str(scores)]
    study = _export(tmp_path, table, *asked)
    with (study / "main" / "anna.csv").open(encoding="utf-8-sig", newline="") as file:
        sheet = {row["id"]: row for row in csv.DictReader(file)}
    assert sheet["0"]["suggested_explorations"] == "2"
    assert sheet["0"]["explorations"] == sheet["1"]["suggested_explorations"] == ""
    assert sheet["1"]["response_post"] == "'=SUM(A1) is what you said?"  # no spreadsheet runs it
    assert "generator" not in sheet["0"]
    weak = {"explorations": "weak", "explorations_rationales": "my dear|friend", "strategy": "Question"}
    _fill(study / "main" / "anna.csv", {"0": weak, "1": weak | {"explorations_rationales": "SUM(A1)"}, "2": weak})
    _fill(
        study / "main" / "ben.csv",
        {
            "0": {"explorations": "1", "explorations_rationales": "[[3, 10]]", "strategy": "Question"},
            "1": {"explorations": "2", "strategy": "Others"},
        },
    )
    out = tmp_path / "out"
    files = [str(study / "main" / f"{name}.csv") for name in ("anna", "ben")]
    assert main(["import", *files, "--study", str(study), "--output", str(out)]) == 0
    err = capsys.readouterr().err
    assert "main: anna: 3 of 4 rows" in err
    assert (
        "5 annotations of 3 rows; 2 answers to adjudicate; 2 rationales that could not be placed, 3 unanswered" in err
    )
    rows = {row["id"]: row for row in _lines(out / "rows.jsonl")}
    assert rows["0"] == {
        "id": "0",
        "source": "synthetic",
        "generator": "g",
        "seeker_post": "I feel like number 0 today",
        "response_post": RESPONSES[0],
        "levels": {"explorations": 1},
        "rationales": {"explorations": [[3, 17]]},
    }
    assert "levels" not in rows["1"]
    assert rows["2"]["response_post"] == RESPONSES[2]
    assert sorted(rows) == ["0", "1", "2"]
    assert _lines(out / "dialogues.jsonl")[0]["turns"][1]["strategy"] == "Question"
    assert "## 1" in (out / "differences" / "main.md").read_text(encoding="utf-8")
    again = read_annotations([out / "annotations.jsonl"])[0]
    assert sorted((said.annotator, said.id) for said in again) == [("anna", id_) for id_ in "012"] + [
        ("ben", id_) for id_ in "01"
    ]
    assert {(said.stage, said.dataset) for said in again} == {("main", "synthetic/g")}
    assert len({said.group for said in again}) == 3

    with (out / "adjudication.csv").open(encoding="utf-8-sig", newline="") as file:
        adjudication = list(csv.DictReader(file))
    assert [tuple(row.values()) for row in adjudication] == [
        ("1", "explorations", "1", "2", ""),
        ("1", "strategy", "Question", "Others", ""),
    ]
    adjudication[0]["decision"] = "strong"
    with (tmp_path / "decided.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(adjudication[0]))
        writer.writeheader()
        writer.writerows(adjudication)
    more = ["--adjudicated", str(tmp_path / "decided.csv"), "--reference", "anna"]
    assert main(["import", *files, "--study", str(study), "--output", str(tmp_path / "2"), *more]) == 0
    decided = {row["id"]: row for row in _lines(tmp_path / "2" / "rows.jsonl")}
    assert decided["1"]["levels"] == {"explorations": 2}
    assert "rationales" not in decided["1"]
    assert (tmp_path / "2" / "differences" / "main-feedback-ben.md").exists()


def test_sheets_saved_with_semicolons(tmp_path, table):
    study = _export(tmp_path, table, "--tool", "csv", "--mechanisms", "explorations")
    sheet = study / "main" / "anna.csv"
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(row | {"explorations": "weak", "comment": "one; or, two"} for row in rows)
    assert main(["import", str(sheet), "--study", str(study), "--output", str(tmp_path / "out")]) == 0
    found = _lines(tmp_path / "out" / "annotations.jsonl")
    assert [(said["levels"], said["comment"]) for said in found] == [({"explorations": 1}, "one; or, two")] * 4


@pytest.mark.parametrize("option", [[], ["--by_account"]])
def test_names_that_the_study_doesn_t_know(tmp_path, table, option):
    study = _export(tmp_path, table, "--tool", "csv", "--mechanisms", "explorations", "--strategies")
    sheet = study / "main" / "anna.csv"
    argv = ["import", str(sheet), "--study", str(study), "--output", str(tmp_path / "out"), *option]
    known = {"explorations": "1", "strategy": "Question"}
    ids = [row["id"] for row in _lines(study / "rows.jsonl")]
    _fill(sheet, dict.fromkeys(ids, known) | {"2": known | {"strategy": "Quesiton"}})
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        number = [row["id"] for row in csv.DictReader(file)].index("2") + 1
    with pytest.raises(DataError) as error:
        main(argv)
    (problem,) = error.value.problems
    assert problem.startswith(f"{sheet}, row {number} ")
    assert ": strategy: not one of Question, Restatement or Paraphrasing, " in problem
    _fill(sheet, dict.fromkeys(ids, known | {"annotator": "Anna"}))
    with pytest.raises(DataError) as error:
        main(argv)
    assert error.value.problems == [
        f"{sheet}, row 1 (line 2): annotator 'Anna' is not one of the study's, anna, ben: correct the name, or add it "
        "in study.json"
    ]
    assert not (tmp_path / "out").exists()


def test_accounts_are_the_annotators(tmp_path, table, capsys):
    study = _export(tmp_path, table, "--tool", "label_studio", "--mechanisms", "explorations")
    tasks = json.loads((study / "main" / "anna.json").read_text(encoding="utf-8"))
    region = {"from_name": "explorations", "to_name": "response", "type": "choices", "value": {"choices": ["weak"]}}
    given = {"completed_by": {"email": "a@x.de"}, "result": [region]}
    export = tmp_path / "export.json"
    export.write_text(json.dumps([task | {"annotations": [given]} for task in tasks]), encoding="utf-8")
    assert main(["import", str(export), "--study", str(study), "--output", str(tmp_path / "o"), "--by_account"]) == 0
    printed = capsys.readouterr().err.splitlines()
    assert printed[-4:-1] == ["main: anna: 0 of 4 rows", "main: ben: 0 of 4 rows", "main: a@x.de: 4 rows"]


@pytest.mark.parametrize("tool", ["label_studio", "argilla", "jsonl"])
def test_untouched_tasks_come_back_as_unanswered(tmp_path, table, tool):
    study = _export(tmp_path, table, "--tool", tool, "--rounds", "1", "--round_size", "2", "--overlap", "1")
    assert sorted(path.name for path in study.iterdir()) == sorted(
        ["assignment.csv", "guidelines.md", "main", "round-1", "rows.jsonl", "study.json"]
        + ["label_studio.xml"] * (tool == "label_studio")
    )
    name = {"label_studio": "anna.json", "argilla": "anna", "jsonl": "anna.jsonl"}[tool]
    with pytest.raises(
        UserError, match="task 1: not as Label Studio" if tool == "label_studio" else "no file has an annot"
    ):
        main(["import", str(study / "round-1" / name), "--study", str(study), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_json_lines_sheet_filled_in(tmp_path, table):
    study = _export(tmp_path, table, "--tool", "jsonl", "--mechanisms", "interpretations", "explorations")
    path = study / "main" / "ben.jsonl"
    filled = [
        row | {"interpretations": 2, "interpretations_rationales": ["line one line"], "explorations": 0}
        for row in _lines(path)
        if row["id"] == "2"
    ]
    path.write_text(json.dumps(filled[0]) + "\n", encoding="utf-8")
    assert main(["import", str(path), "--study", str(study), "--output", str(tmp_path / "out")]) == 0
    (row,) = _lines(tmp_path / "out" / "rows.jsonl")
    assert row["levels"] == {"interpretations": 2, "explorations": 0}
    assert row["rationales"] == {"interpretations": [[0, 14]]}  # over the line end


def test_clinical_rows_need_leave_and_stay_out_of_messages(tmp_path, table):
    clinical = tmp_path / "clinical.jsonl"
    clinical.write_text('{"id": "c", "seeker_post": "my secret", "response_post": "their secret"}\n')
    argv = [
        "export",
        "--clinical",
        str(clinical),
        "--annotators",
        "a",
        "--tool",
        "csv",
        "--output",
        str(tmp_path / "s"),
    ]
    with pytest.raises(UserError, match="text of 1 clinical rows") as error:
        main(argv)
    assert "secret" not in str(error.value)
    assert not (tmp_path / "s").exists()
    assert main([*argv, "--allow_clinical_text"]) == 0
    sheet = tmp_path / "s" / "main" / "a.csv"
    _fill(sheet, {"c": {"explorations": "their secret"}})
    with pytest.raises(DataError) as error:
        main(["import", str(sheet), "--study", str(tmp_path / "s"), "--output", str(tmp_path / "o")])
    assert "column 'explorations': level is not one of" in str(error.value)
    assert "secret" not in str(error.value)


def test_ids_that_several_sources_share(tmp_path, table):
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "0", "generator": "h", "seeker_post": "x y", "response_post": "z"}\n')
    study = tmp_path / "study"
    argv = [
        "export",
        "--synthetic",
        str(table),
        str(other),
        "--annotators",
        "a",
        "--tool",
        "jsonl",
        "--output",
        str(study),
    ]
    assert main(argv) == 0
    ids = {row["id"] for row in _lines(study / "main" / "a.jsonl")}
    assert ids == {"synthetic:g:0", "synthetic:h:0", "1", "2", "3"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["export", "--annotators", "a", "--output", "{}/new"], "no rows: name them with --reddit"),
        (["export", "--synthetic", "{}/synthetic.jsonl", "--annotators", "../a", "--output", "{}/new"], "file names"),
        (["export", "--synthetic", "{}/synthetic.jsonl", "--annotators", "a", "--output", "{}"], "something already"),
        (["import", "x.csv", "--study", "{}", "--output", "{}/new"], "not a whole folder of `annotate export`"),
        (
            [
                "export",
                "--synthetic",
                "{}/synthetic.jsonl",
                "--annotators",
                "a",
                "--output",
                "{}/new",
                "--guidelines",
                "{}",
            ],
            "--guidelines .*: no such file",
        ),
        (
            [
                "export",
                "--synthetic",
                "{}/synthetic.jsonl",
                "--annotators",
                "a",
                "--output",
                "{}/new",
                "--scores",
                "{}/x.csv",
            ],
            "no such file",
        ),
    ],
)
def test_mistakes(tmp_path, table, argv, message):
    with pytest.raises(UserError, match=message):
        main([word.format(tmp_path) for word in argv])
    assert not (tmp_path / "new").exists()


def test_scores_of_other_rows(tmp_path, table):
    scores = tmp_path / "scores.jsonl"
    scores.write_text('{"id": "99", "levels": {"explorations": 2}}\n')
    with pytest.raises(UserError, match="--scores: no id there is the id of a row of the study"):
        _export(tmp_path, table, "--scores", str(scores))
    assert not (tmp_path / "study").exists()


def test_decisions_that_can_t_be_used(tmp_path, table):
    study = _export(tmp_path, table, "--tool", "jsonl", "--mechanisms", "explorations")
    decided = tmp_path / "decided.csv"
    decided.write_text("id,question,decision\n0,explorations,7\n99,explorations,1\n0,empathy,1\n1,explorations,\n")
    path = study / "main" / "ben.jsonl"
    row = _lines(path)[0] | {"explorations": 1}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        main(
            [
                "import",
                str(path),
                "--study",
                str(study),
                "--adjudicated",
                str(decided),
                "--output",
                str(tmp_path / "out"),
            ]
        )
    assert [problem.partition("row ")[2] for problem in error.value.problems] == [
        "1 (line 2): column 'decision': level 7 is not one of 0 (none), 1 (weak), 2 (strong)",
        "2 (line 3): column 'id': not a row of the study",
        "3 (line 4): column 'question': not one of explorations",
    ]
