"""Personal data, canaries, and the gate."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta

import numpy as np
import pytest

from audit.canaries import bigram_scores, exposures, make_canaries, read_canaries, said_aloud, write_canaries
from audit.gate import ExportGate, export_rows, read_waiver
from audit.personal_data import built_in_finder, find_personal_data, presidio_finder
from audit.rows import file_digest
from audit.words import encode_words
from errors import DataError, UserError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("write to jo.b@mail.example.org", {("email", "jo.b@mail.example.org")}),
        ("see https://example.org/x?y=1 ok", {("url", "https://example.org/x?y=1")}),
        ("I am u/some_body on here", {("handle", "u/some_body")}),
        ("call +44 20 7946 0958 tonight", {("phone", "+44 20 7946 0958")}),
        ("call 415-555-2671", {("phone", "415-555-2671")}),
        ("card 4111 1111 1111 1111", {("card number", "4111 1111 1111 1111")}),
        ("account GB82 WEST 1234 5698 7654 32", {("bank account", "GB82 WEST 1234 5698 7654 32")}),
        ("my number is 536-90-4399", {("national id", "536-90-4399")}),
        ("NI AB 12 34 56 C", {("national id", "AB 12 34 56 C")}),
        ("from 10.20.30.40", {("ip address", "10.20.30.40")}),
        ("at 12 Elm Tree Road", {("street address", "12 Elm Tree Road")}),
        ("near SW1A 1AA", {("postcode", "SW1A 1AA")}),
        ("born 3rd of March 1985", {("full date", "3rd of March 1985")}),
        ("on 1985-03-03", {("full date", "1985-03-03")}),
        ("my name is Ottilie and", {("name", "Ottilie")}),
    ],
)
def test_built_in_patterns_find(text, found):
    assert set(built_in_finder(text)) == found


@pytest.mark.parametrize(
    "text",
    [
        "I was 19 in 2004 and 2005 was worse, 2019-2020 too",
        "1985 1986 1987 1988",
        "card 4111 1111 1111 1112 is no card",
        "it went.so badly. e.g.that and 3.14, at 10.30 or 24/7, 50/50, 9-5",
        "on the 3rd of March, in March 1985",
        "my name is not on the list, my name is a joke",
        "version 1.2.3.4.5, 99.9999999 per cent",
        "10 mg, then 20 mg, 2 weeks",
    ],
)
def test_built_in_patterns_leave_alone(text):
    assert list(built_in_finder(text)) == []


def test_check_digits_are_checked():
    kinds = {
        kind for text in ("GB82 WEST 1234 5698 7654 33", "4111 1111 1111 1112") for kind, _ in built_in_finder(text)
    }
    assert not kinds & {"bank account", "card number"}


def test_presidio_adds_its_own_without_a_model_and_without_the_network():
    find = presidio_finder()
    assert find is not None, "the development environment holds the extra 'privacy'"
    assert set(find("NHS 943 476 5919, mail jo@example.org")) >= {
        ("health id", "943 476 5919"),
        ("email", "jo@example.org"),
    }
    assert find("no digits and no such sign") == []


def test_presidio_with_a_model_at_hand_finds_names(tmp_path):
    import spacy

    pipeline = spacy.blank("en")
    pipeline.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ottilie"}])
    pipeline.to_disk(tmp_path / "model")
    find = presidio_finder(str(tmp_path / "model"))
    assert find is not None
    assert ("name", "Ottilie") in find("ask Ottilie about it")
    with pytest.raises(UserError, match="no such spaCy model"):
        presidio_finder(str(tmp_path / "none"))


def test_findings_name_rows_and_what_real_rows_hold_too():
    rows = [("hello", "call 415-555-2671"), ("my name is Ottilie", "hi"), ("call 1-800-273-8255 or 116 123", "ok")]
    found = find_personal_data(rows, ["dial (415) 555 2671"], [built_in_finder])
    assert found.rows == {"phone": [0], "name": [1], "free number": [2]}
    assert found.also_real == {"phone": 1, "name": 0, "free number": 0}
    assert found.identifying_rows == [0], "names and helplines don't point to one person"


def test_canaries_are_distinct_and_survive_a_file(tmp_path):
    canaries = make_canaries(3, 50, seed=1)
    assert len({canary.secret for canary in canaries}) == 53
    assert [canary.inserted for canary in canaries[:5]] == [True, True, True, False, False]
    assert all(canary.secret in canary.text for canary in canaries)
    assert make_canaries(3, 50, seed=1) == canaries != make_canaries(3, 50, seed=2)
    write_canaries(canaries, tmp_path / "c.jsonl")
    assert read_canaries(tmp_path / "c.jsonl") == canaries


def test_bad_canaries_are_named_with_their_line(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"text": "a", "secret": "b", "inserted": true}\n[]\n')
    with pytest.raises(DataError, match="line 2"):
        read_canaries(tmp_path / "c.jsonl")
    (tmp_path / "c.jsonl").write_text('{"text": "a", "secret": "b", "inserted": true}\n')
    with pytest.raises(DataError, match="references"):
        read_canaries(tmp_path / "c.jsonl")


def test_a_canary_that_was_said_is_exposed_and_an_unused_one_is_not():
    canaries = make_canaries(2, 200, seed=3)
    texts = encode_words(["it rained all day", f"she wrote: {canaries[0].text}", "the word on my door is open"])
    assert said_aloud(canaries, texts).tolist() == [True] + [False] * 201
    scores = bigram_scores(encode_words(canary.text for canary in canaries), texts)
    bits = exposures(scores[:2], scores[2:])
    assert bits[0] == pytest.approx(np.log2(201)), "the first of 201 ranks"
    assert bits[1] < 4


def test_exposure_counts_ranks():
    references = np.array([1.0, 2.0, 3.0])
    assert exposures(np.array([4.0, 2.0, 0.0]), references) == pytest.approx([2, 2 - np.log2(3), 0])


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {"id": "1", "seeker_post": "I am low", "response_post": "Oh no", "prompt_sources": ["reddit", "clinical"]},
        {"id": "2", "seeker_post": "I am up", "response_post": "Good", "prompt_sources": []},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _audit(path, rows, **changes):
    checks = [{"name": "copied text", "passed": True, "found": "0 rows", "wanted": "none"}]
    content = {"sha256": file_digest([rows]), "passed": True, "checks": checks} | changes
    path.write_text(json.dumps(content))
    return str(path)


def test_rows_of_clinical_prompts_stay_without_an_audit(rows, tmp_path):
    with pytest.raises(UserError, match=r"1 rows come from prompts that held clinical text.*no audit is given"):
        export_rows([rows], tmp_path / "out.jsonl", ExportGate())
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_leave_with_a_passed_audit_of_exactly_these_rows(rows, tmp_path):
    gate = ExportGate(audit=_audit(tmp_path / "audit.json", rows))
    ground = export_rows([rows], tmp_path / "out.jsonl", gate)
    assert (ground.reason, ground.rows) == ("audit passed", 1)
    assert (tmp_path / "out.jsonl").read_bytes() == rows.read_bytes()
    assert json.loads((tmp_path / "out.jsonl.release.json").read_text())["reason"] == "audit passed"
    with pytest.raises(UserError, match="exists"):
        export_rows([rows], tmp_path / "out.jsonl", gate)
    rows.write_text(rows.read_text() + "\n")
    with pytest.raises(UserError, match="is of other rows"):
        gate.check([rows])


def test_files_are_exported_line_by_line_and_the_release_names_the_file(rows, tmp_path):
    other = tmp_path / "another.jsonl"
    other.write_text('{"id": "3"}\n')
    rows.write_text(rows.read_text().splitlines()[1])  # its only line has no end
    export_rows([rows, other], tmp_path / "out.jsonl", ExportGate())
    assert [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["2", "3"]
    release = json.loads((tmp_path / "out.jsonl.release.json").read_text())
    assert release["sha256"] == hashlib.sha256((tmp_path / "out.jsonl").read_bytes()).hexdigest()


_FAILED = {"name": "near copies", "passed": False, "found": "9 %", "wanted": "1 %"}
_UNKNOWN = {"name": "membership inference", "passed": None, "found": "no test rows given", "wanted": ""}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"passed": False, "checks": [_FAILED]}, "near copies: 9 %"),
        ({"checks": [_UNKNOWN]}, "membership inference: no test rows"),
        ({"checks": []}, "holds no checks"),
        ({"passed": False}, "holds no checks"),
    ],
)
def test_an_audit_that_did_not_pass_holds_rows_back(rows, tmp_path, changes, said):
    gate = ExportGate(audit=_audit(tmp_path / "audit.json", rows, **changes))
    with pytest.raises(UserError, match=said):
        gate.check([rows])


def test_a_damaged_audit_is_an_error(rows, tmp_path):
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(DataError, match=r"not an audit's audit\.json"):
        ExportGate(audit=str(tmp_path / "audit.json")).check([rows])


def test_rows_leave_with_a_waiver_that_is_recorded(rows, tmp_path):
    (tmp_path / "waiver.yaml").write_text("name: A. Person\nreason: ethics board 12 agreed\ndate: 2025-06-30\n")
    ground = export_rows([rows], tmp_path / "out.jsonl", ExportGate(waiver=str(tmp_path / "waiver.yaml")))
    assert ground.signed == {"name": "A. Person", "reason": "ethics board 12 agreed", "date": "2025-06-30"}
    assert json.loads((tmp_path / "out.jsonl.release.json").read_text())["signed"] == ground.signed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: A\ndate: 2025-06-30", "no reason"),
        ("name: ''\nreason: r\ndate: 2025-06-30", "no name"),
        ("name: A\nreason: r\ndate: soon", "not of the form"),
        (f"name: A\nreason: r\ndate: {date.today() + timedelta(days=2)}", "future"),
        ("- a", "no name"),
        ("a: [", "can't be read"),
    ],
)
def test_a_waiver_says_who_why_and_when(tmp_path, text, said):
    (tmp_path / "waiver.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        read_waiver(tmp_path / "waiver.yaml")


def test_rows_of_other_prompts_need_neither(rows):
    rows.write_text(rows.read_text().splitlines()[1] + "\n")
    assert ExportGate().check([rows]).reason == "no clinical prompts"
