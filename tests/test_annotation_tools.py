"""Round trips through Label Studio's and Argilla's own packages: what they read and write, not our idea of it."""

from __future__ import annotations

import json
import uuid

import pytest
from argilla import Response
from argilla._models import DatasetModel, FieldModel, MetadataFieldModel, QuestionModel
from argilla.records._io import JsonIO
from argilla.settings import TaskDistribution
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import AnnotationValue

from datamodules.records import MECHANISMS, Pair
from errors import DataError
from experiments.agreement import main as agreement
from experiments.annotation import argilla, label_studio
from experiments.annotation.annotations import Collected, Suggestion, Task
from experiments.annotation.guidelines import STRATEGY_MEANINGS, Questions, guidelines
from experiments.annotation.reading import read_annotations

ALL = Questions(strategies=True)
POST = "I can't 😀 sleep."
RESPONSE = "  Oh 😀 no, I'm sorry!\nWhat keeps you <awake> & worried? 😀 no"
PAIR = Pair("7", "reddit", POST, RESPONSE)
SUGGESTION = Suggestion(
    {"emotional_reactions": 2, "interpretations": 0, "explorations": 1},
    {"emotional_reactions": 0.75, "interpretations": 0.5},
    {"emotional_reactions": [(11, 21)], "explorations": [(22, 55)]},
)
TASK = Task("7", "round-1", "anna", PAIR, SUGGESTION)
EXPECTED = {"emotional_reactions": [(5, 10), (11, 21)], "explorations": [(22, 55)]}
"""An emoji and the word after it, one after a line break, with signs that XML and HTML escape."""


def _spans(count):
    """EXPECTED as the tools say it, offsets counted by `count`."""
    return [
        (mechanism, count(RESPONSE[:start]), count(RESPONSE[:end]), RESPONSE[start:end])
        for mechanism, spans in EXPECTED.items()
        for start, end in spans
    ]


def _js_length(text):
    return sum(2 if ord(char) > 0xFFFF else 1 for char in text)


def test_the_interface_is_one_that_label_studio_accepts():
    interface = LabelInterface(label_studio.interface(ALL))
    interface.validate()
    for mechanism in MECHANISMS:
        assert list(interface.get_control(mechanism).labels) == ["none", "weak", "strong"]
    assert list(interface.get_control("strategy").labels) == list(STRATEGY_MEANINGS)
    assert list(interface.get_control("rationales").labels) == list(MECHANISMS)
    task = label_studio.task_json(TASK, ALL)
    assert interface.validate_task({"data": task["data"]})
    assert interface.validate_prediction(task["predictions"][0], return_errors=True) == []
    assert task["predictions"][0]["score"] == 0.625
    assert not label_studio.task_json(Task("7", "main", "anna", PAIR), ALL).get("predictions")


def test_an_interface_with_fewer_questions():
    interface = LabelInterface(label_studio.interface(Questions(("explorations",), rationales=False)))
    interface.validate()
    assert sorted(control.name for control in interface.controls) == ["comment", "explorations"]


def _label_studio_export(results, **changes):
    """A task of an export, its annotation built and checked by the SDK."""
    interface = LabelInterface(label_studio.interface(ALL))
    annotation = AnnotationValue(result=results, completed_by=3).model_dump()
    assert interface.validate_annotation(annotation)
    annotation |= {"id": 11, "created_at": "2026-01-01T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z"}
    task = label_studio.task_json(TASK, ALL)
    return {"id": 5, **task, "annotations": [{**annotation, **changes}]}


def _regions(count=len):
    interface = LabelInterface(label_studio.interface(ALL))
    regions = [
        region
        for name, choice in {
            "emotional_reactions": "strong",
            "interpretations": "none",
            "explorations": "weak",
            "strategy": "Reflection of feelings",
        }.items()
        for region in interface.create_regions({name: choice})
    ]
    regions += interface.create_regions({"comment": {"text": ["not sure"]}})
    for mechanism, start, end, text in _spans(count):
        (region,) = interface.create_regions({"rationales": {"label": mechanism, "start": start, "end": end}})
        made = region._dict()
        made["value"]["text"] = text  # which Label Studio's page adds
        regions.append(made)
    return regions


def _write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("count", [len, _js_length], ids=["code points", "UTF-16, before version 1.4"])
def test_label_studio_round_trip(tmp_path, count):
    path = _write(tmp_path / "export.json", [_label_studio_export(_regions(count))])
    (found,), counts = read_annotations([path], texts={"7": RESPONSE})
    assert (found.id, found.annotator, found.stage) == ("7", "anna", "round-1")
    assert found.levels == {"emotional_reactions": 2, "interpretations": 0, "explorations": 1}
    assert found.rationales == EXPECTED
    assert (found.strategy, found.comment) == ("Reflection of feelings", "not sure")
    assert counts == {}


def test_label_studio_s_converter_reads_the_same_from_the_export(tmp_path):
    path = _write(tmp_path / "export.json", [_label_studio_export(_regions())])
    config = tmp_path / "config.xml"
    config.write_text(label_studio.interface(ALL), encoding="utf-8")
    Converter(str(config), str(tmp_path)).convert_to_json_min(str(path), str(tmp_path / "min"), is_dir=False)
    (row,) = json.loads((tmp_path / "min" / "result.json").read_text(encoding="utf-8"))
    assert row["emotional_reactions"] == "strong"
    assert row["row_id"] == "7"
    spans = [(span["labels"][0], (span["start"], span["end"])) for span in row["rationales"]]
    assert spans == [(mechanism, span) for mechanism, marked in EXPECTED.items() for span in marked]
    # JSON-MIN has lost whose annotation it is: it is refused by name.
    with pytest.raises(DataError, match="not JSON-MIN"):
        read_annotations([tmp_path / "min" / "result.json"])


def test_label_studio_predictions_come_back_as_they_went_out(tmp_path):
    task = label_studio.task_json(TASK, ALL)
    accepted = {"completed_by": {"id": 1, "email": "a@b.org"}, "result": task["predictions"][0]["result"]}
    path = _write(tmp_path / "export.json", [{"id": 1, **task, "annotations": [accepted]}])
    (found,), _ = read_annotations([path], by_account=True)
    assert found.annotator == "a@b.org"
    assert found.levels == SUGGESTION.levels
    assert found.rationales == {"emotional_reactions": [(11, 21)], "explorations": [(22, 55)]}


def test_the_last_annotation_of_an_annotator_counts(tmp_path):
    first = _label_studio_export(_regions())
    (again,) = _label_studio_export(
        LabelInterface(label_studio.interface(ALL)).create_regions({"explorations": "none"}),
        updated_at="2026-01-03T10:00:00Z",
    )["annotations"]
    skipped = {**again, "was_cancelled": True}
    first["annotations"] += [again, skipped]
    (found,), counts = read_annotations([_write(tmp_path / "export.json", [first])])
    assert found.levels == {"explorations": 0}
    assert counts == {"superseded": 1, "skipped by the annotator": 1}


def _label_studio_task(*accounts):
    task = _label_studio_export(_regions())
    (given,) = task["annotations"]
    return {**task, "annotations": [{**given, "completed_by": account} for account in accounts]}


def _argilla_record(*accounts):
    said = [{"value": "weak", "status": "submitted", "user_id": account} for account in accounts]
    return {**argilla.record_json(TASK, ALL), "responses": {"explorations": said}}


@pytest.mark.parametrize("task", [_label_studio_task, _argilla_record])
def test_two_accounts_are_two_people(tmp_path, task):
    path = _write(tmp_path / "shared.json", [task("7", "9")])
    with pytest.raises(
        DataError, match=r"1: assigned to anna, and accounts 7 and 9 answered it: .* with --by_account"
    ) as error:
        agreement([str(path)])
    assert len(error.value.problems) == 1
    assert agreement([str(path), "--by_account", "--resamples", "9"]) == 0
    found, _ = read_annotations([path], by_account=True)
    assert [said.annotator for said in found] == ["7", "9"]
    (found,), counts = read_annotations([_write(tmp_path / "one.json", [task("7")])] * 2)
    assert (found.annotator, counts) == ("anna", {"repeated": 1})
    assert "account" not in found.to_json()


def test_argilla_s_models_accept_the_settings():
    page = guidelines(ALL)
    written = argilla.settings_json(ALL, page)
    questions = {question["name"]: QuestionModel(**question) for question in written["questions"]}
    assert list(questions) == [*MECHANISMS, "rationales", "strategy", "comment"]
    assert [option["value"] for option in questions["explorations"].settings.options] == ["none", "weak", "strong"]
    assert questions["rationales"].settings.field == "response_post"
    assert questions["rationales"].settings.allow_overlapping
    assert not questions["rationales"].required
    assert [FieldModel(**field).name for field in written["fields"]] == ["seeker_post", "response_post"]
    assert [MetadataFieldModel(**one).visible_for_annotators for one in written["metadata"]] == [False, False]
    assert TaskDistribution.from_dict(written["distribution"]).min_submitted == 1
    dataset = DatasetModel(**argilla.dataset_json("round-1", "a.b@c.org", page))
    assert dataset.name == "round-1-a-b-c-org"


def test_argilla_round_trip(tmp_path):
    path = tmp_path / "records.json"
    path.write_text(json.dumps([argilla.record_json(TASK, ALL)]), encoding="utf-8")
    (record,) = JsonIO._records_from_json(path)
    suggested = {suggestion.question_name: suggestion.value for suggestion in record.suggestions}
    assert suggested["emotional_reactions"] == "strong"
    assert suggested["rationales"] == [  # on the page, where an emoji counts twice
        {"label": "emotional_reactions", "start": 12, "end": 22},
        {"label": "explorations", "start": 23, "end": 56},
    ]
    user = uuid.uuid4()
    answers = {"emotional_reactions": "strong", "interpretations": "none", "explorations": "weak"}
    answers |= {"strategy": "Reflection of feelings", "comment": "not sure"}
    marked = [{"label": name, "start": start, "end": end} for name, start, end, _ in _spans(_js_length)]
    for question, value in {**answers, "rationales": marked}.items():
        record.responses.add(Response(question, value, user_id=user, status="submitted"))
    JsonIO.to_json([record], tmp_path / "back.json")
    (found,), counts = read_annotations([tmp_path / "back.json"], texts={"7": RESPONSE})
    assert (found.id, found.annotator, found.stage) == ("7", "anna", "round-1")
    assert found.levels == {"emotional_reactions": 2, "interpretations": 0, "explorations": 1}
    assert found.rationales == EXPECTED
    assert (found.strategy, found.comment, counts) == ("Reflection of feelings", "not sure", {})
    (by_account,), _ = read_annotations([tmp_path / "back.json"], by_account=True)
    assert by_account.annotator == str(user)


texts = st.text(st.sampled_from("ab 😀é\n𝒳"), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(texts, st.data())
def test_argilla_offsets_go_out_and_come_back(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    piece = text[start:end]
    out = argilla.record_json(
        Task(
            "x",
            "main",
            "a",
            Pair("x", "reddit", "p", text),
            Suggestion({"explorations": 1}, {}, {"explorations": [(start, end)]}),
        ),
        Questions(("explorations",)),
    )
    (span,) = out["suggestions"]["rationales"]["value"]
    field = out["fields"]["response_post"]
    assert span["end"] <= len(field)  # what Argilla's server asks
    assert field[: len(text)] == text
    assert _js_length(text) == len(field)
    record = {**out, "responses": {"rationales": [{"value": [span], "user_id": "u"}]}}
    collected = Collected()
    argilla.read_record(record, "here", collected, texts={"x": text}, by_account=False)
    kept = collected.annotations[0].rationales.get("explorations", [])
    assert [text[low:high] for low, high in kept] == ([piece.strip()] if piece.strip() else [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not whole JSON"),
        ("[]", "neither a Label Studio export"),
        ('[{"data": {"row_id": "8", "response_post": "x"}, "annotations": []}]', "task 1: its 'row_id' is not a row"),
        (
            '[{"data": {"row_id": "7", "response_post": "secret"}, "annotations": []}]',
            "its response is not the study's",
        ),
        ('[{"data": {"row_id": "7", "response_post": "x"}}]', "task 1: not as Label Studio writes it"),
        ('[{"data": {"row_id": "7", "response_post": "x"}, "annotations": [{"result": [4]}]}]', "not as Label Studio"),
        (
            '[{"data": {"row_id": "7", "response_post": "x"}, "annotations": [{"result": [{"from_name": "explorations",'
            ' "value": {"choices": ["secret"]}}]}]}]',
            "explorations: level is not one of 0 .none., 1 .weak., 2 .strong.",
        ),
        ('[{"id": "8", "fields": {}, "responses": {}}]', "record 1: its 'id' is not a row"),
        ('[{"id": "7", "fields": {"response_post": "y"}, "responses": {}}]', "its response is not the study's"),
        ('[{"id": "7", "fields": {"response_post": "x"}, "responses": {"comment": 3}}]', "not as Argilla writes it"),
    ],
)
def test_unusable_exports(tmp_path, content, message):
    path = tmp_path / "export.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_annotations([path], texts={"7": "x"})
    assert str(path) in str(error.value)
    assert "secret" not in str(error.value)


def test_an_annotation_without_annotator_is_refused(tmp_path):
    content = [_label_studio_export(_regions(), completed_by=None)]
    with pytest.raises(DataError, match="it has no annotator"):
        read_annotations([_write(tmp_path / "export.json", content)], by_account=True)
