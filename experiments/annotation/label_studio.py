"""Label Studio: a project's labelling interface, its tasks, and its JSON export back.

Formats: https://labelstud.io/guide/tasks and https://labelstud.io/guide/export.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from datamodules.records import LEVEL_NAMES, MECHANISMS, Span
from datamodules.sources.placing import place
from experiments.annotation.annotations import Annotation, Collected, Suggestion, Task, add_level, add_span, trimmed
from experiments.annotation.guidelines import LEVEL_MEANINGS, STRATEGY_MEANINGS, TITLES, Questions

__all__ = ["interface", "is_export", "read_task", "task_json"]

_COLOURS = {"emotional_reactions": "#D55E00", "interpretations": "#0072B2", "explorations": "#009E73"}


def interface(questions: Questions) -> str:
    """The labelling interface of a project (Settings, Labeling Interface, Code).

    Args:
        questions: What is asked.

    Returns:
        XML: the two posts, a choice of level a mechanism with the levels' meanings as hints, labels for rationales.
    """
    view = ET.Element("View")
    ET.SubElement(view, "Header", value="Seeker post", size="5")
    ET.SubElement(view, "Text", name="seeker", value="$seeker_post")
    ET.SubElement(view, "Header", value="Response post", size="5")
    if questions.rationales:
        labels = ET.SubElement(view, "Labels", name="rationales", toName="response", showInline="true")
        for mechanism in questions.mechanisms:
            ET.SubElement(labels, "Label", value=mechanism, background=_COLOURS[mechanism])
    ET.SubElement(view, "Text", name="response", value="$response_post", granularity="word")
    for mechanism in questions.mechanisms:
        ET.SubElement(view, "Header", value=TITLES[mechanism], size="5")
        meanings = zip(LEVEL_NAMES, LEVEL_MEANINGS[mechanism], strict=True)
        _add_choices(view, mechanism, dict(meanings))
    if questions.strategies:
        ET.SubElement(view, "Header", value="Strategy", size="5")
        _add_choices(view, "strategy", STRATEGY_MEANINGS)
    ET.SubElement(
        view, "TextArea", name="comment", toName="response", placeholder="Comment", rows="2", maxSubmissions="1"
    )
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _add_choices(view: ET.Element, name: str, meanings: Mapping[str, str]) -> None:
    options = {"choice": "single", "required": "true", "requiredMessage": f"{TITLES.get(name, 'Strategy')}: choose one"}
    choices = ET.SubElement(view, "Choices", {"name": name, "toName": "response", **options})
    for value, meaning in meanings.items():
        ET.SubElement(choices, "Choice", value=value, hint=meaning)


def task_json(task: Task, questions: Questions) -> dict[str, Any]:
    """A task as it is imported, with the suggestion as a prediction.

    Args:
        task: The task.
        questions: What is asked.

    Returns:
        JSON's values.
    """
    data = {
        "row_id": task.id,
        "stage": task.stage,
        "assigned_to": task.annotator,
        "seeker_post": task.pair.seeker_post,
        "response_post": task.pair.response_post,
    }
    if task.suggestion is None:
        return {"data": data}
    return {"data": data, "predictions": [_prediction(task.suggestion, task.pair.response_post, questions)]}


def _prediction(suggestion: Suggestion, response: str, questions: Questions) -> dict[str, Any]:
    regions: list[dict[str, Any]] = []
    for mechanism in questions.mechanisms:
        if mechanism in suggestion.levels:
            value: dict[str, Any] = {"choices": [LEVEL_NAMES[suggestion.levels[mechanism]]]}
            regions.append({"from_name": mechanism, "type": "choices", "value": value})
        for start, end in suggestion.evidence(mechanism) if questions.rationales else ():
            value = {"start": start, "end": end, "text": response[start:end], "labels": [mechanism]}
            regions.append({"from_name": "rationales", "type": "labels", "value": value})
    result = [{"id": f"suggested-{number}", "to_name": "response", **region} for number, region in enumerate(regions)]
    confidence = list(suggestion.confidence.values())
    score = {"score": sum(confidence) / len(confidence)} if confidence else {}
    return {"model_version": "attune", **score, "result": result}


def is_export(content: Any) -> bool:
    """Whether JSON content is a Label Studio export in the format "JSON"."""
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "data" in content[0]


def read_task(
    task: Mapping[str, Any], where: str, collected: Collected, *, texts: Mapping[str, str] | None, by_account: bool
) -> None:
    """Read a task of an export in the format "JSON".

    The annotator is the one whom the task was assigned to, or the account's e-mail address (or number) for tasks
    without an assignment. Skipped tasks are counted.

    Args:
        task: The task.
        where: File and place, for messages.
        collected: Where annotations, problems and counts go.
        texts: Row id -> response of the rows of the study; None: any row, with the text that the export has.
        by_account: Take the account in any case.

    Raises:
        KeyError, TypeError, AttributeError: It is not as Label Studio writes it.
    """
    data = task["data"]
    row, text = str(data.get("row_id", "")), str(data.get("response_post", ""))
    if texts is not None and texts.get(row) != text:
        problem = "its response is not the study's" if row in texts else "its 'row_id' is not a row of the study"
        collected.problems.append(f"{where}: {problem}; export the tasks of this study, unchanged")
        return
    for given in task["annotations"]:
        if given.get("was_cancelled"):
            collected.counts["skipped by the annotator"] += 1
            continue
        assigned = "" if by_account else str(data.get("assigned_to", ""))
        account = _account(given.get("completed_by"))
        annotation = Annotation(
            id=row,
            annotator=assigned or account,
            account=account,
            stage=str(data.get("stage", "")),
            response_post=text,
            updated=str(given.get("updated_at") or given.get("created_at") or ""),
            where=where,
        )
        _read_result(given.get("result") or [], annotation, collected)
        collected.annotations.append(annotation)


def _account(completed_by: Any) -> str:
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id") or "")
    return "" if completed_by is None else str(completed_by)


def _read_result(result: Sequence[Mapping[str, Any]], annotation: Annotation, collected: Collected) -> None:
    for region in result:
        name, value = region.get("from_name"), region.get("value", {})
        if name in MECHANISMS:
            add_level(annotation, name, next(iter(value.get("choices", [])), None), collected)
        elif name == "strategy":
            annotation.strategy = next(iter(value.get("choices", [])), "")
        elif name == "comment":
            text = value.get("text", [])
            annotation.comment = " ".join(text) if isinstance(text, list) else str(text)
        elif name == "rationales":
            span = _locate(value, annotation.response_post)
            for label in value.get("labels", []):
                add_span(annotation, label, span, collected)


def _locate(value: Mapping[str, Any], text: str) -> Span | None:
    """The span that was marked: its offsets where they fit the marked text, else the nearest place of that text.

    Versions of Label Studio before 1.4 count characters beyond U+FFFF, such as emoji, twice, and line ends of two
    characters once (https://github.com/HumanSignal/label-studio/issues/1347, /539).
    """
    start, end = value.get("start"), value.get("end")
    marked = str(value.get("text") or "").replace("\\n", "\n")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text):
        same = not marked or text[start:end].split() == marked.split()
        if same:
            return trimmed(text, start, end)
    if starts := [match.start() for match in re.finditer(re.escape(marked), text)] if marked else []:
        nearest = min(starts, key=lambda found: abs(found - start) if isinstance(start, int) else found)
        return trimmed(text, nearest, nearest + len(marked))
    found = place(marked, text)
    return found[0] if found else None
