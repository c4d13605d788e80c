"""What the published studies print, beside ours, and whether the two compare."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from experiments.report import words
from experiments.report.document import Section
from experiments.report.series import Series, over_seeds
from pages import Table

__all__ = ["published", "published_section"]


@cache
def published() -> dict[str, Any]:
    """The studies' numbers, `published.yaml`."""
    import yaml

    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    return found


def published_section(series: list[Series]) -> Section | None:
    """The numbers of study A and of the published recogniser beside ours; None where nothing is alike.

    Args:
        series: All series of the report.
    """
    tables = [_study(each) for each in series if each.published in ("augmentation", "substitution")]
    empathy = [each for each in series if any(run.task == "empathy" for run in each.runs)]
    on_reddit = [each for each in empathy if any(run.tested_on == "reddit" for run in each.runs)]
    if on_reddit:
        tables.append(_recogniser(on_reddit))
    if not tables:
        return None
    text = ["Numbers “as published” are quoted from the papers. None was made by this code."]
    return Section("Published numbers beside ours", text, list(tables))


def _comparable(series: Series) -> str:
    tested = {run.tested_on for run in series.runs}
    if tested != {"clinical"}:
        return f"not comparable: ours test on {' and '.join(sorted(tested))}"
    counts = {run.manifest["splits"]["test"]["rows"] for run in series.runs}
    return (
        "comparable only if these are A's clinical pairs" if counts == {579} else "not comparable: other clinical rows"
    )


def _study(series: Series) -> Table:
    known = published()[series.published]
    verdict = _comparable(series)
    rows = []
    for mechanism, metric, dose, value in known["rows"]:
        ours: dict[tuple[int, ...], tuple[str, str]] = {}  # runs -> line, score
        for block in (block for block in series.blocks if block.target == mechanism):
            for line in (line for line in block.lines.values() if dose in line.runs):
                runs = tuple(id(run) for run in line.runs[dose].values())
                ours[runs] = line.name, str(block.score(line.name, dose, metric))
        told = [score if len(ours) == 1 else f"{name} {score}" for name, score in ours.values()]
        shown = "; ".join(told) or "no such dose"
        what = f"{words.mechanism(mechanism)}, {words.metric(metric)}, {series.dose(dose)}"
        rows.append([what, words.number(value, 2), shown, verdict])
    return Table(known["title"], ["", "as published", "ours", "comparable?"], rows, known["note"])


def _recogniser(series: list[Series]) -> Table:
    known = published()["recogniser"]
    rows = []
    for mechanism, values in known["rows"].items():
        label = f"{words.mechanism(mechanism)}, as published"
        rows.append([label, *(words.number(value, 3) for value in values), "not comparable: split, pre-training"])
        for each in series:
            for block in (block for block in each.blocks if block.target == mechanism):
                line = next(iter(block.lines.values()))
                runs = list(line.runs[line.doses[0]].values())
                keys = [f"test/{mechanism}/{key}" for key in known["keys"]]
                cells = [words.number(over_seeds(runs, key).value) for key in keys]
                kind = block.base if not line.doses[0] else f"{line.name}, {each.dose(line.doses[0])}"
                told = f"{words.mechanism(mechanism)}, ours: {each.title}, {kind}"
                rows.append([told, *cells, f"published convention, test set {block.protocol['test set']}"])
    return Table(known["title"], ["", *known["columns"], ""], rows, known["note"])
