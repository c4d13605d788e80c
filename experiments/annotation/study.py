"""An annotation study as a folder: its rows, who annotates what, the guidelines, and the tasks for a tool."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from datamodules.files import replacing_path, write_json
from datamodules.records import Pair
from datamodules.sources.cells import parse_name, parse_object
from datamodules.sources.formats import raw_rows
from errors import DataError, UserError
from experiments.annotation import argilla, label_studio
from experiments.annotation.annotations import Suggestion, Task, level_of
from experiments.annotation.guidelines import Questions
from experiments.annotation.sampling import Assignment
from experiments.annotation.tables import sheet_rows, write_csv, write_sheet

__all__ = ["TOOLS", "Study", "Tool", "dataset_of", "read_pairs", "read_suggestions", "row_ids"]

Tool = Literal["label_studio", "argilla", "csv", "jsonl"]
TOOLS: tuple[Tool, ...] = get_args(Tool)


@dataclass(frozen=True)
class Study:
    """What is annotated by whom.

    Args:
        questions: What is asked.
        annotators: Their names.
        rows: Row id -> row.
        assignments: One a row.
    """

    questions: Questions
    annotators: Sequence[str]
    rows: Mapping[str, Pair]
    assignments: Sequence[Assignment]

    def write(self, folder: Path, tool: Tool, guidelines: str, suggestions: Mapping[str, Suggestion]) -> list[Path]:
        """Write the study's folder.

        Args:
            folder: A new or empty one.
            tool: What the annotators work with.
            guidelines: Markdown.
            suggestions: Row id -> what a model says.

        Returns:
            The files (folders for Argilla) with the tasks, one for each stage and annotator.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "study.json", {"annotators": list(self.annotators), "questions": asdict(self.questions)})
        with replacing_path(folder / "rows.jsonl") as part:
            part.write_text("".join(f"{pair.to_json()}\n" for pair in self.rows.values()), encoding="utf-8")
        assigned = [(row.id, row.stage, name) for row in self.assignments for name in row.annotators]
        columns = ("id", "stage", "annotator")
        write_csv(folder / "assignment.csv", columns, [dict(zip(columns, row, strict=True)) for row in assigned])
        with replacing_path(folder / "guidelines.md") as part:
            part.write_text(guidelines, encoding="utf-8")
        if tool == "label_studio":
            with replacing_path(folder / "label_studio.xml") as part:
                part.write_text(label_studio.interface(self.questions), encoding="utf-8")
        written = []
        for stage, annotator in dict.fromkeys((stage, name) for _, stage, name in assigned):
            tasks = [
                Task(row.id, stage, annotator, self.rows[row.id], suggestions.get(row.id))
                for row in self.assignments
                if row.stage == stage and annotator in row.annotators
            ]
            written.append(self._write_tasks(folder / stage / annotator, tool, tasks, guidelines))
        return written

    def _write_tasks(self, path: Path, tool: Tool, tasks: Sequence[Task], guidelines: str) -> Path:
        if tool == "label_studio":
            path = path.with_name(f"{path.name}.json")
            write_json(path, [label_studio.task_json(task, self.questions) for task in tasks])
        elif tool == "argilla":
            task = tasks[0]
            write_json(path / "records.json", [argilla.record_json(task, self.questions) for task in tasks])
            write_json(path / ".argilla" / "settings.json", argilla.settings_json(self.questions, guidelines))
            write_json(path / ".argilla" / "dataset.json", argilla.dataset_json(task.stage, task.annotator, guidelines))
        else:
            path = path.with_name(f"{path.name}.{tool}")
            write_sheet(path, sheet_rows(tasks, self.questions))
        return path

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Read a study's folder.

        Raises:
            UserError: There is none.
        """
        try:
            about = json.loads((folder / "study.json").read_text(encoding="utf-8"))
            rows = read_pairs(folder / "rows.jsonl")
            assigned = [row.cells for row in raw_rows(folder / "assignment.csv")]
            asked = about["questions"]
            questions = Questions(tuple(asked["mechanisms"]), asked["rationales"], asked["strategies"])
            by_row: dict[tuple[str, str], list[str]] = {}
            for row in assigned:
                by_row.setdefault((row["stage"], row["id"]), []).append(row["annotator"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"--study {folder}: not a whole folder of `annotate export` ({type(error).__name__}); name the folder "
                "that the tasks were exported to, with its study.json, rows.jsonl and assignment.csv"
            ) from None
        assignments = [Assignment(stage, row, tuple(names)) for (stage, row), names in by_row.items()]
        return cls(questions, about["annotators"], dict(zip(row_ids(rows), rows, strict=True)), assignments)


def row_ids(pairs: Sequence[Pair]) -> list[str]:
    """What rows are called in a study: their own id, or `source:generator:id` where several have the same."""
    counts = Counter(pair.id for pair in pairs)
    return [pair.id if counts[pair.id] == 1 else pair.uid for pair in pairs]


def dataset_of(pair: Pair) -> str:
    """Source and generator of a row, such as `synthetic/gpt3`."""
    return f"{pair.source}/{pair.generator}" if pair.generator else pair.source


def read_pairs(path: Path) -> list[Pair]:
    """Read rows as `Pair.to_json` writes them."""
    pairs = [Pair(**row.cells) for row in raw_rows(path)]
    for pair in pairs:
        pair.rationales = {name: [(start, end) for start, end in spans] for name, spans in pair.rationales.items()}
    return pairs


def read_suggestions(paths: Iterable[Path], ids: Mapping[str, str]) -> dict[str, Suggestion]:
    """Read what `cli.py score` wrote.

    Args:
        paths: JSON Lines or Parquet with `id`, `levels`, `probabilities` and `rationales`.
        ids: Id in the files -> row id; other rows of the files are left out.

    Returns:
        Row id -> suggestion.

    Raises:
        DataError: A row can't be read.
    """
    problems = []
    suggestions = {}
    for path in paths:
        for row in raw_rows(path):
            try:
                name = parse_name(row.cells.get("id"))
                if name in ids:
                    suggestions[ids[name]] = _suggestion(row.cells)
            except (ValueError, TypeError, IndexError, KeyError):
                problems.append(f"{row.where(path)}: not as `cli.py score` writes it; score the rows anew")
    if problems:
        raise DataError(problems)
    return suggestions


def _suggestion(cells: Mapping[str, Any]) -> Suggestion:
    answers, probabilities, rationales = (
        parse_object(cells.get(key)) for key in ("levels", "probabilities", "rationales")
    )
    levels = {mechanism: level for mechanism, cell in answers.items() if (level := level_of(cell)) is not None}
    return Suggestion(
        levels,
        {name: float(probabilities[name][level]) for name, level in levels.items() if name in probabilities},
        {name: [(start, end) for start, end in spans] for name, spans in rationales.items()},
    )
