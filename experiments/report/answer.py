"""The question of the studies, answered from a series: does the mix help, by how much, how sure is that."""

from __future__ import annotations

from collections import defaultdict
from math import isnan
from statistics import median

from experiments.report import words
from experiments.report.document import Answer, Picture, Section, Table
from experiments.report.figures import Curve, doses
from experiments.report.series import Block, Line, Series, unlike
from metrics.estimates import detectable_difference

__all__ = ["answer", "series_section"]

ALPHA = 0.05


def answer(series: Series) -> Answer:
    """What came out, over the whole grid and of each line.

    Args:
        series: Corrected for its number of comparisons.
    """
    tested = [
        (block, line, dose, block.gain(line, dose, series.main), block.holm[series.main, line, dose])
        for block in series.blocks
        for line, dose in block.comparisons()
        if (series.main, line, dose) in block.holm
    ]
    if not tested:
        return Answer(_alone(series) if series.kind == "conditions" else f"{series.title}: {_untested(series)}")
    better = [each for each in tested if each[4] < ALPHA and each[3].value > 0]
    worse = [each for each in tested if each[4] < ALPHA and each[3].value < 0]
    what = series.subject
    told = {f"better in {len(better)}": better, f"worse in {len(worse)}": worse}
    shown = " and ".join(text for text, found in told.items() if found)
    counted = f"{len(tested)} comparison{'s' * (len(tested) != 1)} with {series.base}"
    verdict = f"{what} are shown to be {shown} of {counted}" if shown else f"no effect of {what} is shown in {counted}"
    head = f"{series.title}: {verdict} ({words.metric(series.main)}, Holm-corrected at 5 %)."
    of_one_seed = sum(each[3].n == 1 for each in (*better, *worse))
    if of_one_seed:
        head += f" {of_one_seed} of these rest on one training seed each: trained anew, they may come out otherwise."
    lines = [(block, line) for block in series.blocks for line in block.lines.values()]
    return Answer(head, [_of_line(series, *each) for each in lines if _compared(series, *each)])


def _compared(series: Series, block: Block, line: Line) -> list[float]:
    """The doses whose differences are known; the largest of the line is among them, or none is."""
    doses = [dose for name, dose in block.comparisons() if name == line.name]
    return doses if (series.main, line.name, line.largest) in block.holm else []


def _untested(series: Series) -> str:
    if any(block.comparisons() for block in series.blocks):
        return "the doses share no seed, or their runs have no predictions: no differences."
    return "one dose under each protocol, so there is nothing to compare with."


def _alone(series: Series) -> str:
    block = series.blocks[0]
    scores = [
        f"{words.mechanism(each.mechanism)} {block_score}"
        for each in series.blocks
        for block_score in [words.interval(each.score(next(iter(each.lines)), 0.0, series.main))]
    ]
    return f"{block.base}: {words.metric(series.main)} " + ", ".join(scores) + "."


def _of_line(series: Series, block: Block, line: Line) -> str:
    """A line's largest dose, its best one and its slope."""
    where = f"{words.mechanism(block.mechanism)}, {line.name}"
    dose = line.largest
    start, end = (block.score(line.name, each, series.main).value for each in (line.start, dose))
    found = block.gain(line.name, dose, series.main)
    told = "" if series.kind == "conditions" else f" with {series.dose(dose)}"
    text = (
        f"{where}: {words.metric(series.main)} {words.number(start)}, {words.number(end)}{told}; difference "
        f"{_verdict(series, block, line, dose)}"
    )
    if found.n < max(len(line.runs[line.start]), len(line.runs[dose])):
        text += f", from the {words.seeds(found.n)} that both have"
    best = max(_compared(series, block, line), key=lambda each: block.score(line.name, each, series.main).value)
    if best != dose:
        text += f"; highest with {series.dose(best)}, difference {_verdict(series, block, line, best)}"
    return f"{text}.{_slowing(series, block, line)}"


def _slowing(series: Series, block: Block, line: Line) -> str:
    """Study A's question: after which dose the gain slows down."""
    bent = block.bend(line.name, series.main) if series.kind == "augment" else None
    if bent is None or bent.change.high >= 0:
        return ""
    low, high = (series.dose(end) for end in bent.point[1:3])
    return f" The gain slows down after {series.dose(bent.point.value)} ({low} to {high})."


def _verdict(series: Series, block: Block, line: Line, dose: float) -> str:
    """A difference with its interval, its p-value and what follows."""
    found, p = block.gain(line.name, dose, series.main), block.holm[series.main, line.name, dose]
    shown = "not shown" if p >= ALPHA else "better" if found.value > 0 else "worse"
    return f"{words.gain(found)}, p {words.p_value(p)}: {shown}"


def series_section(series: Series, number: int) -> Section:
    """Figure and tables of a series.

    Args:
        series: The series.
        number: Its place in the report, for the figures' names.
    """
    section = Section(series.title)
    differing = unlike(block.protocol for block in series.blocks)
    if differing:
        section.text.append(words.apart(differing))
    section.text.append(
        "Scores are means over seeds; intervals (95 %) draw whole groups of test rows and whole seeds anew. "
        "With one seed they say nothing of training anew, with two or three they are rough. Differences "
        "are paired by rows and seeds; p is Holm-corrected over all of a metric's comparisons here."
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
        section.blocks.append(_scores(series, block))
    if series.kind != "conditions":
        section.blocks.append(_trends(series))
    section.blocks += [_power(series), _matched(series)]
    section.blocks = [each for each in section.blocks if not isinstance(each, Table) or each.rows]
    return section


def panel_name(series: Series, block: Block) -> str:
    """A block's name, with its test set where several blocks are of one mechanism."""
    several = sum(each.mechanism == block.mechanism for each in series.blocks) > 1
    return words.mechanism(block.mechanism) + (f" (test set {block.protocol['test set']})" if several else "")


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


def _scores(series: Series, block: Block) -> Table:
    shown = list(dict.fromkeys([*series.metrics, "rationale_f1"]))
    shown = [metric for metric in shown if _known(block, metric)]
    columns = ["", "seeds"]
    for metric in shown:
        columns += [words.metric(metric), "difference", "p"] if metric in series.metrics else [words.metric(metric)]
    rows, told = [], set()
    for line in block.lines.values():
        for dose in line.doses:
            if dose == 0:
                label = block.base
                key = tuple(sorted(id(run) for run in line.runs[0].values()))
                if key in told:
                    continue
                told.add(key)
                if len({id(run) for each in block.lines.values() for run in each.runs.get(0, {}).values()}) > len(key):
                    label = f"{line.name}, {block.base}"
            else:
                label = line.name if series.kind == "conditions" else f"{line.name}, {series.dose(dose)}"
            rows.append([label, str(len(line.runs[dose])), *_cells(series, block, line.name, dose, shown)])
    return Table(
        panel_name(series, block).capitalize(),
        columns,
        [*rows, _trivial(series, block, shown)],
        f"Test set {block.protocol['test set']}; {block.protocol['metric variant']}. Differences are from "
        f"{series.base}. The trivial baseline gives every row the most frequent level, or calls everything rationale.",
    )


def _known(block: Block, metric: str) -> bool:
    key = f"test/{block.mechanism}/{metric}"
    return all(key in run.metrics for run in block.all_runs())


def _cells(series: Series, block: Block, line: str, dose: float, shown: list[str]) -> list[str]:
    cells = []
    for metric in shown:
        cells.append(words.interval(block.score(line, dose, metric)))
        if metric in series.metrics:
            cells.append(words.gain(block.gain(line, dose, metric)))
            cells.append(words.p_value(block.holm.get((metric, line, dose), float("nan"))))
    return cells


def _trivial(series: Series, block: Block, shown: list[str]) -> list[str]:
    line = next(iter(block.lines.values()))
    run = next(iter(line.runs[line.doses[0]].values()))
    cells = ["trivial baseline", ""]
    for metric in shown:
        key = f"test/{block.mechanism}/{metric}"
        cells += [words.number(run.trivial(key)), *(["–", "–"] if metric in series.metrics else [])]
    return cells


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
        for metric in series.metrics:
            errors = [block.gain(line, dose, metric).error for line, dose in block.comparisons()]
            errors = [error for error in errors if not isnan(error)]
            if errors:
                run = next(block.all_runs())
                count = run.metrics[f"test/{block.mechanism}/{metric}"]["n"]
                seeds = max(len(runs) for line in block.lines.values() for runs in line.runs.values())
                least = words.number(detectable_difference(median(errors)))
                first = words.number(detectable_difference(median(errors), level=1 - ALPHA / series.tests(metric)))
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
            if not _compared(series, block, line):
                continue
            told = line.name if series.kind == "conditions" else f"{line.name}, {series.dose(line.largest)}"
            for seed, found in block.matched(line.name, line.largest).items():
                cells = [str(seed), str(found.only_one), str(found.only_other), words.p_value(found.p)]
                rows.append([f"{panel_name(series, block)}, {told}", *cells])
    return Table(
        f"McNemar's test against {series.base}, run by run",
        ["", "seed", "right here alone", "right there alone", "p"],
        rows,
        "Exact, over the levels of single rows, not corrected; rows of one group count as independent here.",
    )
