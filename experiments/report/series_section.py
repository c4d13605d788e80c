"""A series' part of the report: its figure, its scores and differences, its trends, and what the test set can show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import isnan, nan
from statistics import median

from experiments.report import words
from experiments.report.document import Picture, Section
from experiments.report.figures import Curve, doses
from experiments.report.published import published
from experiments.report.runs import Run
from experiments.report.series import ALPHA, OF_ROWS, Block, Series, unlike
from metrics.estimates import detectable_difference
from pages import Table

__all__ = ["panel_name", "series_section"]


def series_section(series: Series, number: int) -> Section:
    """Figure and tables of a series.

    Args:
        series: The series.
        number: Its place in the report, for the figures' names.
    """
    section = Section(series.title)
    if differing := _differing(series):
        section.text.append(words.apart(differing))
    section.text.append(
        "Scores are means over seeds; intervals (95 %) draw whole groups of test rows and whole seeds anew. "
        "With one seed they say nothing of training anew, with two or three they are rough. Differences "
        "are paired by rows and seeds; p is Holm-corrected over all of a metric's comparisons here. "
        "Where fewer than two groups have a score, there is neither an interval nor a p. " + words.CLOSED_FORM
    )
    if series.experiment.missing:
        reasons: dict[str, list[str]] = defaultdict(list)
        for point, reason in series.experiment.missing.items():
            reasons[reason].append(point)
        told = "; ".join(f"{', '.join(points)} ({reason})" for reason, points in reasons.items())
        section.text.append(f"Points without a result: {told}.")
    if series.kind != "conditions" and any(len(line.doses) > 1 for b in series.blocks for line in b.lines.values()):
        section.blocks.append(_figure(series, number))
    for block in series.blocks:
        section.blocks += _scores(series, block)
    if series.kind != "conditions":
        section.blocks.append(_trends(series))
    section.blocks += [_power(series), _matched(series)]
    section.blocks = [each for each in section.blocks if not isinstance(each, Table) or each.rows]
    return section


def _differing(series: Series) -> list[str]:
    """What differs between the protocols; which rows are scored, between those of one mechanism."""
    every = [(block.target, block.protocol) for block in series.blocks]
    told = unlike({key: value for key, value in each.items() if key not in OF_ROWS} for _, each in every)
    for target in dict.fromkeys(name for name, _ in every):
        told += unlike({key: each[key] for key in OF_ROWS if key in each} for name, each in every if name == target)
    return list(dict.fromkeys(told))


def panel_name(series: Series, block: Block) -> str:
    """A block's name; where several blocks are of one mechanism, with its test set and how its rows differ."""
    alike = [each.protocol for each in series.blocks if each.target == block.target]
    if len(alike) == 1:
        return words.mechanism(block.target)
    told = ["test set", *(key for key in OF_ROWS if len({each.get(key) for each in alike}) > 1)]
    return f"{words.mechanism(block.target)} ({', '.join(f'{key} {block.protocol[key]}' for key in told)})"


def _figure(series: Series, number: int) -> Picture:
    rows = []
    for metric in series.metrics:
        columns = [
            [
                Curve(line.name, [(dose, block.score(line.name, dose, metric)) for dose in line.doses])
                for line in block.lines.values()
            ]
            for block in series.blocks
        ]
        rows.append((words.metric(metric), columns))
    return doses(
        f"{number}-{series.experiment.name}-{series.kind}",
        series.title,
        [panel_name(series, block) for block in series.blocks],
        rows,
        series.x_label,
        "A panel a mechanism, a line a generator; bands are 95 % intervals over test rows and seeds.",
        percent=series.kind == "substitute",
    )


def _scores(series: Series, block: Block) -> Iterator[Table]:
    """A block's scores, those of rationales and those without a difference in tables of their own."""
    title = panel_name(series, block).capitalize()
    note = f"Test set {block.protocol['test set']}; {block.protocol['metric variant']}."
    if any(not isnan(block.gain(*each, metric).value) for each in block.comparisons() for metric in series.compared):
        note += f" Differences are from {series.base(block)}."
    frequent = "The trivial baseline gives every row the most frequent label."
    everything = "The trivial baseline calls everything rationale."
    of_rationales = [metric for metric in series.compared if metric.startswith("rationale")]
    of_labels = [metric for metric in series.compared if metric not in of_rationales]
    parts = [("", of_labels, frequent), (": rationales", of_rationales, everything)]
    for suffix, metrics, trivial in [*parts, (": further scores", series.beside, frequent)]:
        if shown := [metric for metric in metrics if _known(block, metric)]:
            rows = [*_rows(series, block, shown), _trivial(series, block, shown)]
            beside = _published(block, shown)
            rows += beside
            told = f" As published: {published()['classifier']['note']}" if beside else ""
            yield Table(f"{title}{suffix}", _columns(series, shown), rows, f"{note} {trivial}{told}")


def _columns(series: Series, shown: list[str]) -> list[str]:
    columns = ["", "seeds"]
    for metric in shown:
        columns += [words.metric(metric), *(["difference", "p"] if metric in series.compared else [])]
    return columns


def _rows(series: Series, block: Block, shown: list[str]) -> Iterator[list[str]]:
    """A row a condition; base runs that lines share stand once."""
    told = set()
    for line in block.lines.values():
        for dose in line.doses:
            label = series.condition(line, dose)
            if dose == 0:
                key = tuple(sorted(id(run) for run in line.runs[0].values()))
                if key in told:
                    continue
                told.add(key)
                every = {id(run) for each in block.lines.values() for run in each.runs.get(0, {}).values()}
                label = f"{line.name}, {block.base}" if len(every) > len(key) else block.base
            yield [label, str(len(line.runs[dose])), *_cells(series, block, line.name, dose, shown)]


def _known(block: Block, metric: str) -> bool:
    key = Run.key(block.target, metric)
    return all(key in run.metrics for run in block.all_runs())


def _cells(series: Series, block: Block, line: str, dose: float, shown: list[str]) -> list[str]:
    cells = []
    for metric in shown:
        cells.append(str(block.score(line, dose, metric)))
        if metric in series.compared:
            cells.append(words.gain(block.gain(line, dose, metric)))
            cells.append(words.p_value(block.holm.get((metric, line, dose), nan)))
    return cells


def _trivial(series: Series, block: Block, shown: list[str]) -> list[str]:
    line = next(iter(block.lines.values()))
    run = next(iter(line.runs[line.doses[0]].values()))
    cells = ["trivial baseline", ""]
    for metric in shown:
        trivial = words.number(run.trivial(Run.key(block.target, metric)))
        cells += [trivial, *(["–", "–"] if metric in series.compared else [])]
    return cells


def _published(block: Block, shown: list[str]) -> list[list[str]]:
    """Study B's classifier beside runs that do its task: categories of the next turn, by its scheme."""
    alike = block.protocol.get("label space") == "categories" and all(
        run.model.get("target", "next") == "next" and run.data.get("scheme") is None for run in block.all_runs()
    )
    if block.target != "strategy" or "accuracy" not in shown or not alike:
        return []
    cells = [words.number(published()["classifier"]["accuracy"], 2) if key == "accuracy" else "–" for key in shown]
    return [["study B, as published", "", *(each for cell in cells for each in (cell, "–", "–"))]]


def _trends(series: Series) -> Table:
    """Slopes and points of diminishing returns of the main metric."""
    unit, told = (0.1, "per 10 % replaced") if series.kind == "substitute" else (100.0, "per 100 rows")
    rows = []
    for block in series.blocks:
        for line in block.lines.values():
            if len(line.doses) < 2 or isnan((found := block.slope(line.name, series.main)).value):
                continue
            bent = block.bend(line.name, series.main)
            if bent is None:
                cells = ["–", "–", "–", "fewer than five doses: not asked"]
            elif isnan(bent.change.low):
                cells = ["–", "–", "–", "fewer than two groups of test rows: not asked"]
            else:
                low, high = (series.dose(end) for end in bent.point[1:3])
                sure = bent.change.high < 0
                verdict = "the gain slows down" if sure else "no slowing down could be shown"
                place = f"{series.dose(bent.point.value)} ({low} to {high})"
                cells = [place, words.gain(bent.before, unit), words.gain(bent.after, unit), verdict]
            rows.append([f"{panel_name(series, block)}, {line.name}", words.gain(found, unit), *cells])
    return Table(
        f"How {words.metric(series.main)} goes with the dose",
        ["", f"slope, {told}", "best place of a bend", "slope before it", "slope after it", "diminishing returns"],
        rows,
        "Least squares over all doses, and two straight lines that meet at the dose that fits best; intervals (95 %) "
        "from fitting every draw of rows and seeds anew. The gain slows down where the interval of the change in slope "
        "is below 0.",
    )


def _power(series: Series) -> Table:
    """What this test set can show."""
    rows = []
    for block in series.blocks:
        for metric in series.compared:
            errors = [block.gain(line, dose, metric).error for line, dose in block.comparisons()]
            if any(not isnan(error) for error in errors):
                # Models that predict alike vary with no row: they say nothing of what could be found.
                error = median([error for error in errors if error > 0] or [nan])
                run = next(block.all_runs())
                count = run.metrics[Run.key(block.target, metric)]["n"]
                seeds = max(len(runs) for line in block.lines.values() for runs in line.runs.values())
                least = words.number(detectable_difference(error))
                first = words.number(detectable_difference(error, level=1 - ALPHA / series.tests(metric)))
                rows.append([panel_name(series, block), words.metric(metric), str(count), str(seeds), least, first])
    return Table(
        "What this test set can show",
        ["", "score", "test rows", "seeds", "detectable difference", "after Holm (first step)"],
        rows,
        "A true difference of this size is found eight times in ten at 5 %; smaller ones are likely to be missed, so "
        "that “not shown” is not “not there”. From the median standard error of the paired differences; the last "
        "column is for the largest of all comparisons here, which Holm's correction tests first.",
    )


def _matched(series: Series) -> Table:
    """McNemar's test at the largest dose, a seed a row."""
    rows = []
    for block in series.blocks:
        for line in block.lines.values():
            if not block.compared(line, series.main):
                continue
            told = series.condition(line, line.largest)
            for seed, found in block.matched(line.name, line.largest).items():
                cells = [str(seed), str(found.only_one), str(found.only_other), words.p_value(found.p)]
                rows.append([f"{panel_name(series, block)}, {told}", *cells])
    return Table(
        f"McNemar's test against {series.base()}, run by run",
        ["", "seed", "right here alone", "right there alone", "p"],
        rows,
        "Exact, over single rows' labels, not corrected; rows of one group count as independent here.",
    )
