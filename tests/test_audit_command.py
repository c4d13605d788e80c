"""The command from files to pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import cli
from audit.command import main
from errors import UserError

_WHO = ["my sister", "an old friend", "the neighbour", "my boss", "a teacher", "my cousin", "the landlord", "our coach"]
_WHAT = ["stopped calling", "moved away", "lost the house", "shouts at night", "forgot my birthday", "sold the piano"]
_WHEN = ["since winter", "after the wedding", "last Tuesday", "for two years now", "when the shop closed"]
_SAY = ["That sounds lonely", "What happened then", "I am sad for you", "Ask the council", "It gets lighter", "I see"]


def _rows(path, start, count, *, word="", **fields):
    """Unlike rows of three levels, written one a line."""
    lines = []
    for i in range(start, start + count):
        who, what, when = _WHO[i % 8], _WHAT[i // 8 % 6], _WHEN[i // 48 % 5]
        line = {
            "id": f"r{i}",
            "seeker_post": f"{word} {who} {what} {when} and I can't sleep",
            "response_post": f"{_SAY[i % 6]}, {what.split()[-1]} or not. {when} {who} {word}",
            "levels": {"explorations": i % 3, "emotional_reactions": i % 2},
            **fields,
        }
        lines.append(json.dumps(line) + "\n")
    path.write_text("".join(lines))
    return str(path)


@pytest.fixture
def files(tmp_path):
    synthetic = _rows(tmp_path / "s.jsonl", 0, 60, generator="g", kept="as it is", prompt_sources=["clinical"])
    real = _rows(tmp_path / "r.jsonl", 100, 60, word="zebrafinch", source="clinical")
    test = _rows(tmp_path / "t.jsonl", 160, 60, word="zebrafinch", source="clinical")
    return tmp_path, synthetic, real, test


class _Wellformed(HTMLParser):
    """Raises where tags don't match, and collects what would be loaded from elsewhere."""

    void = ("meta", "br", "link", "img", "input")

    def __init__(self):
        super().__init__()
        self.open, self.loaded, self.figures = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.figures += tag == "figure"
        self.loaded += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_an_audit_writes_pages_and_numbers_and_quotes_no_clinical_text(files, capsys):
    folder, synthetic, real, test = files
    output = folder / "out"
    arguments = [synthetic, "--real", real, "--test", test, "--encoder", "tfidf", "--output", str(output)]
    assert main([*arguments, "--select", "12", "--mechanism", "explorations"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(output / "audit.html")
    page = _Wellformed()
    html = (output / "audit.html").read_text()
    page.feed(html)
    assert page.open == []
    assert page.loaded == []
    assert page.figures >= 5
    content = json.loads((output / "audit.json").read_text())
    assert content["values"]["quality/synthetic/explorations/level_none"]["value"] == pytest.approx(1 / 3)
    assert content["values"]["quality/detector/words_of_the_response_auc"]["value"] > 0.9, "zebrafinch gives real away"
    assert {check["name"] for check in content["checks"]} == {
        "clinical rows compared", "copied text", "near copies", "membership inference", "personal data",
    }  # fmt: skip
    for path in output.iterdir():
        if path.name != "selected.jsonl":
            assert not re.search("zebrafinch|lonely|landlord|piano", path.read_text()), (
                f"{path.name} quotes clinical text"
            )
    assert not re.search("zebrafinch|lonely|landlord|piano", printed.out + printed.err)


def test_selected_rows_are_the_files_rows_level_balanced(files):
    folder, synthetic, _, _ = files
    options = ["--encoder", "tfidf", "--output", str(folder / "out"), "--select", "12", "--mechanism", "explorations"]
    main([synthetic, *options])
    rows = [json.loads(line) for line in (folder / "out" / "selected.jsonl").read_text().splitlines()]
    assert [row["levels"]["explorations"] for row in rows] == [0, 1, 2] * 4
    originals = [json.loads(line) for line in (folder / "s.jsonl").read_text().splitlines()]
    assert all(row in originals for row in rows), "with every field that they had"


def test_the_same_seed_gives_the_same_audit(files):
    folder, synthetic, real, _ = files
    for name in ("a", "b"):
        main([synthetic, "--real", real, "--encoder", "tfidf", "--output", str(folder / name), "--sample", "40"])
    assert (folder / "a" / "audit.html").read_text() == (folder / "b" / "audit.html").read_text()


def test_rows_of_clinical_prompts_leave_only_through_the_gate(files):
    folder, synthetic, real, _ = files
    arguments = [synthetic, "--real", real, "--encoder", "tfidf", "--output", str(folder / "out")]
    with pytest.raises(UserError, match="membership inference: no test rows given"):
        main([*arguments, "--export", str(folder / "leave.jsonl")])
    assert not (folder / "leave.jsonl").exists()
    (folder / "w.yaml").write_text("name: A. Person\nreason: agreed\ndate: 2025-01-31\n")
    main([*arguments, "--export", str(folder / "leave.jsonl"), "--waiver", str(folder / "w.yaml")])
    assert (folder / "leave.jsonl").read_text() == (folder / "s.jsonl").read_text()


def test_copied_and_personal_rows_fail_and_are_not_selected(files):
    folder, _, real, _ = files
    lines = (folder / "s.jsonl").read_text().splitlines()
    copied, phone = json.loads(lines[3]), json.loads(lines[4])
    copied["seeker_post"] = json.loads((folder / "r.jsonl").read_text().splitlines()[7])["seeker_post"]
    phone["response_post"] = "call me on 415-555-2671"
    lines[3:5] = [json.dumps(copied), json.dumps(phone)]
    (folder / "s.jsonl").write_text("\n".join(lines))
    output = folder / "out"
    main([str(folder / "s.jsonl"), "--real", real, "--encoder", "tfidf", "--output", str(output), "--select", "60"])
    checks = {check["name"]: check for check in json.loads((output / "audit.json").read_text())["checks"]}
    assert checks["copied text"]["passed"] is False
    assert checks["copied text"]["found"].startswith("1 rows; longest run 1")
    assert checks["personal data"]["passed"] is False
    text = (output / "audit.md").read_text()
    assert re.search(r"\| synthetic:g:r3 \| 1\d \| 8 \|", text), "the eighth real row"
    assert "r107" not in text, "ids of clinical rows may name people"
    chosen = {json.loads(line)["id"] for line in (output / "selected.jsonl").read_text().splitlines()}
    assert not chosen & {"r3", "r4"}


def test_what_the_turns_of_a_dialogue_give_away_is_found(files):
    folder, _, real, _ = files
    copied = json.loads((folder / "r.jsonl").read_text().splitlines()[7])["seeker_post"]
    lines = (folder / "s.jsonl").read_text().splitlines()
    for place, text in ((3, copied), (4, "write to jo@example.org")):
        row = json.loads(lines[place])
        turns = [text, "oh", row["seeker_post"], row["response_post"]]
        row["turns"] = [{"speaker": "seeker", "text": turn} for turn in turns]
        lines[place] = json.dumps(row)
    (folder / "s.jsonl").write_text("\n".join(lines))
    main([str(folder / "s.jsonl"), "--real", real, "--encoder", "tfidf", "--output", str(folder / "out")])
    checks = {check["name"]: check for check in json.loads((folder / "out" / "audit.json").read_text())["checks"]}
    assert checks["copied text"]["found"].startswith("1 rows; longest run 1")
    assert checks["personal data"]["found"] == "1 rows"


def test_labels_are_compared_with_what_was_asked_for(files):
    folder, synthetic, _, _ = files
    lines = [json.loads(line) for line in (folder / "s.jsonl").read_text().splitlines()]
    for number, row in enumerate(lines):
        level = row["levels"]["explorations"]
        row["target"] = {"mechanism": "explorations", "level": (level + 1) % 3 if number < 15 else level}
    (folder / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    main([synthetic, "--encoder", "tfidf", "--output", str(folder / "out")])
    values = json.loads((folder / "out" / "audit.json").read_text())["values"]
    assert values["quality/agreement/intended-label/explorations/accuracy"]["value"] == 0.75
    assert "quality/agreement/intended-label/emotional_reactions/accuracy" not in values
    assert (
        "**Levels by the label**: the intended one in 75 % of 60 in explorations."
        in (folder / "out" / "audit.md").read_text()
    )


def test_where_no_row_may_be_selected_the_page_is_written_all_the_same(files):
    folder, synthetic, _, _ = files
    judge = _rows(folder / "judge.jsonl", 0, 60, generator="g")
    text = re.sub(r'"explorations": \d', '"explorations": 0', (folder / "judge.jsonl").read_text())
    (folder / "judge.jsonl").write_text(text.replace('"emotional_reactions": 0', '"emotional_reactions": 2'))
    lines = (folder / "s.jsonl").read_text().replace('"emotional_reactions": 1', '"emotional_reactions": 0')
    (folder / "s.jsonl").write_text(lines)
    assert (
        main([synthetic, "--judge", judge, "--encoder", "tfidf", "--output", str(folder / "o"), "--select", "9"]) == 0
    )
    assert (folder / "o" / "selected.jsonl").read_text() == ""
    assert "| level not confirmed by judge | 60 |" in (folder / "o" / "audit.md").read_text()


def test_a_judges_levels_are_compared(files):
    folder, synthetic, _, _ = files
    judge = folder / "judge.jsonl"
    rows = [json.loads(line) for line in (folder / "s.jsonl").read_text().splitlines()]
    for row in rows[:15]:
        row["levels"]["explorations"] = (row["levels"]["explorations"] + 1) % 3
    judge.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main([synthetic, "--judge", str(judge), "--encoder", "tfidf", "--output", str(folder / "out"), "--select", "60"])
    content = json.loads((folder / "out" / "audit.json").read_text())
    assert content["values"]["quality/agreement/intended-judge/explorations/accuracy"]["value"] == 0.75
    assert len((folder / "out" / "selected.jsonl").read_text().splitlines()) == 45


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a file of synthetic rows"),
        (["s.jsonl", "--sample", "3", "--select", "0"], r"--sample 3(.|\n)*--select 0"),
        (["s.jsonl", "--mechanism", "explorations"], "--select N"),
        (["s.jsonl", "--waiver", "w"], "--export"),
        (["none.jsonl", "--encoder", "tfidf"], "none.jsonl"),
        (["none.jsonl", "--export", "out.jsonl", "--waiver", "nowhere.yaml"], "nowhere.yaml: the waiver can't be read"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, said):
    with pytest.raises(UserError, match=said):
        main(arguments)


def test_without_scikit_learn_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert cli.main(["audit", _rows(tmp_path / "s.jsonl", 0, 9)]) == 2
    assert capsys.readouterr().err == "error: the audit needs scikit-learn: pip install 'attune[audit]'\n"


def test_new_canaries_are_written(tmp_path, capsys):
    assert main(["--new_canaries", str(tmp_path / "c.jsonl")]) == 0
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 1020


def test_a_few_rows_are_enough(tmp_path):
    synthetic = _rows(tmp_path / "s.jsonl", 0, 1)
    real = _rows(tmp_path / "r.jsonl", 5, 2, source="reddit")
    assert main([synthetic, "--real", real, "--encoder", "tfidf", "--output", str(tmp_path / "o")]) == 0


def test_help_needs_nothing_heavy():
    code = (
        "import sys; from audit.command import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'sklearn', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
