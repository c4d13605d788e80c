"""How the models learnt and what they do: learning curves, confusion, calibration, rationales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan

import numpy as np

from datamodules.records import LEVEL_NAMES
from datamodules.splits import seeded_key
from experiments.report import words
from experiments.report.document import Example, Examples, Section
from experiments.report.figures import Confusion, Trace, confusions, curves, reliabilities
from experiments.report.predictions import Predicted
from experiments.report.runs import Run
from experiments.report.series import Block, Series
from experiments.report.series_section import panel_name
from metrics.calibration import Reliability, reliability

__all__ = ["behaviour_section", "traces"]

_SHOWN = 4
"""Conditions that the figures show of a block."""


def behaviour_section(series: Series, number: int, examples: int) -> Section:
    """Figures and examples of a series' runs.

    Args:
        series: The series.
        number: Its place in the report, for the figures' names.
        examples: Rationales to show of each mechanism.
    """
    section = Section(f"{series.title}: how the models learn and what they say")
    name = f"{number}-{series.experiment.name}-{series.kind}"
    shown = {id(block): dict(_shown(series, block)) for block in series.blocks}
    rows = []
    for metric, label in (("train/loss", "training loss"), ("f1_macro", "macro-F1, validation")):
        panels = [
            (panel_name(series, block), list(traces(shown[id(block)], _curve_key(block, metric))))
            for block in series.blocks
        ]
        if all(found for _, found in panels):
            rows.append((label, panels))
    if rows:
        section.blocks.append(curves(f"{name}-learning", "Learning curves", rows))
    matrices = [list(_confusions(series, block, shown[id(block)])) for block in series.blocks]
    if any(matrices):
        note = "Test rows of all seeds together; shaded, and in per cent, by the share of the annotated label."
        section.blocks.append(confusions(f"{name}-confusion", "Confusion matrices", [r for r in matrices if r], note))
    panels_of = [
        (
            panel_name(series, block),
            [(label, _reliability(block, runs)) for label, runs in shown[id(block)].items()],
        )
        for block in series.blocks
    ]
    kept = [(panel, [(label, each) for label, each in found if not isnan(each.error)]) for panel, found in panels_of]
    if kept := [each for each in kept if each[1]]:
        section.blocks.append(reliabilities(f"{name}-calibration", "Calibration", kept))
    if found := [each for block in series.blocks for each in _examples(block, examples)]:
        section.blocks.append(
            Examples(
                "Rationales",
                found,
                "Shaded: predicted; underlined: annotated. Test rows with an annotated rationale, drawn by their "
                "names, so the same for every run. They are people's own words: the corpus' terms hold for this page "
                "too. Rows of clinical sources are never shown.",
            )
        )
    return section


def _shown(series: Series, block: Block) -> Iterator[tuple[str, Mapping[int, Run]]]:
    """The lowest dose of the first line and the largest of every line, a few of them."""
    first = next(iter(block.lines.values()))
    yield (f"{first.name}, {series.dose(first.start)}" if first.start else block.base), first.runs[first.start]
    for line in list(block.lines.values())[: _SHOWN - 1]:
        if line.largest != line.start:
            yield series.condition(line, line.largest), line.runs[line.largest]


def _curve_key(block: Block, metric: str) -> str:
    """A key of `metrics.csv`."""
    if "/" in metric:
        return metric
    return f"validation/{metric}" if block.target == "strategy" else f"validation/{block.target}/level_{metric}"


def traces(shown: Mapping[str, Mapping[int, Run]], key: str) -> Iterator[Trace]:
    """Curves of conditions.

    Args:
        shown: Condition -> seed -> run.
        key: Of `metrics.csv`.
    """
    for label, runs in shown.items():
        for run in runs.values():
            steps, values = run.curve(key)
            if steps:
                yield Trace(label, steps, values)


def _predicted(block: Block, runs: Mapping[int, Run]) -> list[Predicted]:
    return [found for run in runs.values() if (found := run.predicted(block.target)) is not None]


def _confusions(series: Series, block: Block, shown: Mapping[str, Mapping[int, Run]]) -> Iterator[Confusion]:
    for label, runs in shown.items():
        if found := _predicted(block, runs):
            counts = np.sum([each.confusion for each in found], axis=0)
            yield Confusion(f"{panel_name(series, block)}\n{label}", counts, found[0].labels)


def _reliability(block: Block, runs: Mapping[int, Run]) -> Reliability:
    found = [each for each in _predicted(block, runs) if not np.isnan(each.confidence).any()]
    confidence = np.concatenate([np.zeros(0), *(each.confidence for each in found)])
    right = np.concatenate([np.zeros(0), *(each.confirmed.astype(np.float64) for each in found)])
    return reliability(confidence, right)


def _examples(block: Block, count: int) -> Iterator[Example]:
    """Test rows with an annotated rationale, as the run of the lowest dose sees them."""
    if block.target == "strategy":
        return
    line = next(iter(block.lines.values()))
    run = next(iter(line.runs[line.doses[0]].values()))
    mechanism = block.target
    rows = [
        row
        for row in run.predictions()
        if row["source"] != "clinical" and row.get("response_post") and row["gold"]["rationales"].get(mechanism)
    ]
    rows.sort(key=lambda row: seeded_key(0, f"{row['source']}:{row['id']}"))
    for row in rows[:count]:
        gold, said = row["gold"]["levels"][mechanism], row["levels"][mechanism]
        yield Example(
            f"{words.mechanism(mechanism)}: annotated {LEVEL_NAMES[gold]}, predicted {LEVEL_NAMES[said]} ({run.name})",
            str(row.get("seeker_post") or ""),
            str(row["response_post"]),
            [tuple(span) for span in row["gold"]["rationales"][mechanism]],
            [tuple(span) for span in row["rationales"].get(mechanism, [])] if said else [],
        )
