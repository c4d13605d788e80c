"""Annotations from files of any of the formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from errors import DataError
from experiments.annotation import argilla, label_studio
from experiments.annotation.annotations import Annotation, Collected, merge_repeats
from experiments.annotation.guidelines import STRATEGY_MEANINGS
from experiments.annotation.tables import read_table

__all__ = ["read_annotations"]


def read_annotations(
    paths: Iterable[Path], *, texts: Mapping[str, str] | None = None, by_account: bool = False
) -> tuple[list[Annotation], dict[str, int]]:
    """Read annotations; those without any answer are counted and left out.

    Args:
        paths: Label Studio exports in the format JSON, Argilla's `records.json` or the folder that holds it, and tables
            (CSV, TSV, JSON Lines, Parquet).
        texts: Row id -> response of the rows of a study; other rows, and other strategies than the study's, are then
            refused.
        by_account: Take the account that answered as the annotator, not the one whom the task was assigned to.

    Returns:
        One annotation for each annotator and row, and what was left out or noticed, by reason.

    Raises:
        DataError: With everything that is wrong.
    """
    collected = Collected()
    for path in paths:
        if path.is_dir():
            path = path / "records.json"
        if path.suffix.lower() == ".json":
            _read_json(path, collected, texts=texts, by_account=by_account)
        else:
            read_table(path, collected, texts=texts)
    for annotation in collected.annotations:
        if not annotation.id or not annotation.annotator:
            what = "row id (data.row_id, or the record's id)" if not annotation.id else "annotator"
            collected.problems.append(f"{annotation.where}: it has no {what}")
        if texts is not None and annotation.strategy and annotation.strategy not in STRATEGY_MEANINGS:
            collected.problems.append(f"{annotation.where}: strategy: not one of {', '.join(STRATEGY_MEANINGS)}")
    answered = Collected([a for a in collected.annotations if a.answered], collected.problems, collected.counts)
    if unanswered := len(collected.annotations) - len(answered.annotations):
        collected.counts["unanswered"] = unanswered
    annotations = merge_repeats(answered)
    if collected.problems:
        raise DataError(collected.problems)
    return annotations, dict(collected.counts)


def _read_json(path: Path, collected: Collected, *, texts: Mapping[str, str] | None, by_account: bool) -> None:
    problem = ""
    content: Any = None
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        problem = "no such file; check the path"
    except OSError as error:
        problem = f"{error.strerror}; check the path and rights"
    except UnicodeDecodeError:
        problem = "not UTF-8 text; export it anew"
    except (ValueError, RecursionError):
        problem = "not whole JSON; export it anew (a file of JSON lines must be named .jsonl)"
    read: Callable[..., None]
    if label_studio.is_export(content):
        read, item, tool = label_studio.read_task, "task", "Label Studio"
    elif argilla.is_export(content):
        read, item, tool = argilla.read_record, "record", "Argilla"
    else:
        kinds = "a Label Studio export (choose the format JSON, not JSON-MIN) nor Argilla's records"
        collected.problems.append(f"{path}: {problem or f'neither {kinds}'}")
        return
    for number, one in enumerate(content, 1):
        where = f"{path}, {item} {number}"
        try:
            read(one, where, collected, texts=texts, by_account=by_account)
        except (AttributeError, KeyError, TypeError):
            collected.problems.append(f"{where}: not as {tool} writes it; export it anew")
