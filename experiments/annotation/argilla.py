"""Argilla 2: a dataset's folder as `argilla.Dataset.from_disk` reads it, and its records back.

Argilla's page counts the characters of a span as JavaScript does: those beyond U+FFFF, such as emoji, twice. Its server
counts them once and refuses a span that ends beyond the text (https://github.com/argilla-io/argilla/issues/5729). So
spans go out and come in as the page counts them, and the text gets a space at its end for each such character.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from datamodules.records import LEVEL_NAMES, MECHANISMS, Span
from experiments.annotation.annotations import Annotation, Collected, Suggestion, Task, add_level, add_span, trimmed
from experiments.annotation.guidelines import LEVEL_MEANINGS, STRATEGY_MEANINGS, TITLES, Questions

__all__ = ["dataset_json", "is_export", "padded", "read_record", "record_json", "settings_json"]


def dataset_json(stage: str, annotator: str, guidelines: str) -> dict[str, Any]:
    """A dataset of one stage for one annotator (`.argilla/dataset.json`)."""
    return {
        "name": re.sub(r"[^a-zA-Z0-9_-]+", "-", f"{stage}-{annotator}").strip("-_"),
        "guidelines": guidelines,
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
    }


def settings_json(questions: Questions, guidelines: str) -> dict[str, Any]:
    """A dataset's fields and questions (`.argilla/settings.json`).

    Args:
        questions: What is asked.
        guidelines: Markdown.

    Returns:
        JSON's values: the two posts, a label question a mechanism with the levels' meanings, a span question.
    """
    asked = []
    for mechanism in questions.mechanisms:
        meanings = dict(zip(LEVEL_NAMES, LEVEL_MEANINGS[mechanism], strict=True))
        asked.append(_question(mechanism, TITLES[mechanism], "label_selection", meanings))
    if questions.rationales:
        titles = {mechanism: TITLES[mechanism] for mechanism in questions.mechanisms}
        spans = _question("rationales", "Rationales", "span", titles, required=False)
        spans["settings"] |= {"field": "response_post", "allow_overlapping": True}
        asked.append(spans)
    if questions.strategies:
        asked.append(_question("strategy", "Strategy", "label_selection", STRATEGY_MEANINGS))
    comment = {"name": "comment", "title": "Comment", "required": False}
    asked.append({**comment, "settings": {"type": "text", "use_markdown": False}})
    text = {"type": "text", "use_markdown": False}
    hidden = {"settings": {"type": "terms"}, "visible_for_annotators": False}
    return {
        "guidelines": guidelines,
        "questions": asked,
        "fields": [
            {"name": "seeker_post", "title": "Seeker post", "required": True, "settings": text},
            {"name": "response_post", "title": "Response post", "required": True, "settings": text},
        ],
        "vectors": [],
        "metadata": [{"name": name, "title": name, **hidden} for name in ("stage", "assigned_to")],
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def _question(
    name: str, title: str, kind: str, meanings: Mapping[str, str], *, required: bool = True
) -> dict[str, Any]:
    options = [
        {"value": value, "text": value if kind == "label_selection" else meaning, "description": meaning}
        for value, meaning in meanings.items()
    ]
    return {"name": name, "title": title, "required": required, "settings": {"type": kind, "options": options}}


def record_json(task: Task, questions: Questions) -> dict[str, Any]:
    """A record of `records.json`, with the suggestion where there is one."""
    fields = {"seeker_post": task.pair.seeker_post, "response_post": padded(task.pair.response_post)}
    suggested = _suggestions(task.suggestion, task.pair.response_post, questions) if task.suggestion else {}
    return {
        "id": task.id,
        "fields": fields,
        "metadata": {"stage": task.stage, "assigned_to": task.annotator},
        "suggestions": suggested,
        "responses": {},
        "vectors": {},
        "status": "pending",
        "_server_id": None,
    }


def _suggestions(suggestion: Suggestion, response: str, questions: Questions) -> dict[str, Any]:
    suggested: dict[str, Any] = {
        mechanism: {
            "value": LEVEL_NAMES[suggestion.levels[mechanism]],
            "score": suggestion.confidence.get(mechanism),
            "agent": "attune",
        }
        for mechanism in questions.mechanisms
        if mechanism in suggestion.levels
    }
    spans = [
        {"label": mechanism, "start": _page_offset(response, start), "end": _page_offset(response, end)}
        for mechanism in questions.mechanisms
        for start, end in suggestion.evidence(mechanism)
    ]
    if questions.rationales and spans:
        suggested["rationales"] = {"value": spans, "score": None, "agent": "attune"}
    return suggested


def padded(text: str) -> str:
    """The text with a space for each character that Argilla's page counts twice."""
    return text + " " * (_page_offset(text, len(text)) - len(text))


def _page_offset(text: str, offset: int) -> int:
    """A character offset as the page counts it: in UTF-16 code units."""
    return len(text[:offset].encode("utf-16-le")) // 2


def _span(text: str, start: Any, end: Any) -> Span | None:
    """A span that the page counted, without white space at its ends; None where it marks no character."""
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end):
        return None
    units = text.encode("utf-16-le")
    left = len(units[: 2 * start].decode("utf-16-le", "ignore"))
    right = len(units[: 2 * end].decode("utf-16-le", "ignore"))
    return trimmed(text, left, right)


def is_export(content: Any) -> bool:
    """Whether JSON content is a list of Argilla's records (`records.json`, or `records.to_json`)."""
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "responses" in content[0]


def read_record(
    record: Mapping[str, Any], where: str, collected: Collected, *, texts: Mapping[str, str] | None, by_account: bool
) -> None:
    """Read a record. Argilla's files don't tell drafts from submitted answers: export the submitted ones.

    Args:
        record: The record.
        where: File and place, for messages.
        collected: Where annotations, problems and counts go.
        texts: Row id -> response of the rows of the study; None: any row, with the text that the record has.
        by_account: Take the account's id as the annotator's name even where the record was assigned to somebody.

    Raises:
        KeyError, TypeError, AttributeError: It is not as Argilla writes it.
    """
    row, shown = str(record.get("id") or ""), str(record["fields"].get("response_post", ""))
    text = shown if texts is None else texts.get(row, "")
    if texts is not None and (row not in texts or padded(text) != shown):
        problem = "its response is not the study's" if row in texts else "its 'id' is not a row of the study"
        collected.problems.append(f"{where}: {problem}; export the records of this study, unchanged")
        return
    metadata = record.get("metadata") or {}
    assigned = "" if by_account else str(metadata.get("assigned_to", ""))
    by_user: dict[str, dict[str, Any]] = defaultdict(dict)
    for question, responses in record["responses"].items():
        for response in responses:
            by_user[str(response.get("user_id") or "")][question] = response.get("value")
    for user, answers in by_user.items():
        annotation = Annotation(row, assigned or user, stage=str(metadata.get("stage", "")), where=where)
        annotation.account = user
        annotation.response_post = text
        _read_answers(answers, annotation, collected)
        collected.annotations.append(annotation)


def _read_answers(answers: Mapping[str, Any], annotation: Annotation, collected: Collected) -> None:
    for question, answer in answers.items():
        if answer is None:
            continue
        if question in MECHANISMS:
            add_level(annotation, question, answer, collected)
        elif question == "strategy":
            annotation.strategy = str(answer)
        elif question == "comment":
            annotation.comment = str(answer)
        elif question == "rationales":
            for marked in answer:
                span = _span(annotation.response_post, marked.get("start"), marked.get("end"))
                add_span(annotation, marked.get("label"), span, collected)
