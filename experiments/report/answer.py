"""The question of the studies, answered from a series: does the mix help, by how much, how sure is that."""

from __future__ import annotations

from collections import defaultdict

from experiments.report import words
from experiments.report.document import Answer
from experiments.report.series import ALPHA, Block, Line, Series
from experiments.report.series_section import panel_name

__all__ = ["answer"]


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
        head = f"{'; '.join(_alone(series))}." if series.kind == "conditions" else _nothing(series)
        return Answer(head, _untested(series))
    better = [each for each in tested if each[4] < ALPHA and each[3].value > 0]
    worse = [each for each in tested if each[4] < ALPHA and each[3].value < 0]
    what = series.subject
    told = {f"better in {len(better)}": better, f"worse in {len(worse)}": worse}
    shown = " and ".join(text for text, found in told.items() if found)
    counted = f"{len(tested)} comparison{'s' * (len(tested) != 1)} with {series.base()}"
    verdict = f"{what} are shown to be {shown} of {counted}" if shown else f"no effect of {what} is shown in {counted}"
    head = f"{series.title}: {verdict} ({words.metric(series.main)}, Holm-corrected at 5 %)."
    of_one_seed = sum(each[3].n == 1 for each in (*better, *worse))
    if of_one_seed:
        head += f" {of_one_seed} of these rest on one training seed each: trained anew, they may come out otherwise."
    lines = [(block, line) for block in series.blocks for line in block.lines.values()]
    details = [_of_line(series, *each) for each in lines if each[0].compared(each[1], series.main)]
    if series.kind == "conditions":
        details += [f"{each}." for each in _alone(series)]
    return Answer(head, details + _untested(series))


def _nothing(series: Series) -> str:
    if any(block.comparisons() for block in series.blocks):
        return f"{series.title}: no differences."
    return f"{series.title}: one dose under each protocol, so there is nothing to compare with."


def _untested(series: Series) -> list[str]:
    """What should have been compared and why it couldn't be, as one sentence; nothing where everything was."""
    reasons: dict[str, dict[str, None]] = defaultdict(dict)
    blocks = []
    for block in series.blocks:
        for name, dose in block.comparisons():
            if (series.main, name, dose) not in block.holm:
                reason = block.untested(name, dose, series.main)
                reasons[reason][series.condition(block.lines[name], dose)] = None
                blocks.append(block)
    told = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    return [f"Not compared with {series.base(*blocks)}: {told}."] if told else []


def _alone(series: Series) -> list[str]:
    """The scores of settings that nothing is compared with."""
    scores = defaultdict(list)
    for block in series.blocks:
        rest = [line for line in block.lines.values() if not block.compared(line, series.main)]
        places = [(line.name, line.name, line.largest) for line in rest if line.largest != line.start]
        if len(rest) == len(block.lines):
            places.insert(0, (block.base, rest[0].name, rest[0].start))
        for told, line, dose in places:
            scores[told].append(f"{panel_name(series, block)} {block.score(line, dose, series.main)}")
    return [f"{name}: {words.metric(series.main)} {', '.join(told)}" for name, told in scores.items()]


def _of_line(series: Series, block: Block, line: Line) -> str:
    """A line's largest dose, its best one and its slope."""
    where = f"{panel_name(series, block)}, {line.name}"
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
    scores = {each: block.score(line.name, each, series.main).value for each in block.compared(line, series.main)}
    best = max(scores, key=scores.__getitem__)
    if words.number(scores[best]) not in (words.number(start), words.number(end)) and scores[best] > start:
        text += f"; highest with {series.dose(best)}, difference {_verdict(series, block, line, best)}"
    return f"{text}.{_slowing(series, block, line)}"


def _slowing(series: Series, block: Block, line: Line) -> str:
    """Study A's question: after which dose the gain slows down."""
    bent = block.bend(line.name, series.main) if series.kind == "augment" else None
    if bent is None or not bent.change.high < 0:
        return ""
    low, high = (series.dose(end) for end in bent.point[1:3])
    return f" The gain slows down after {series.dose(bent.point.value)} ({low} to {high})."


def _verdict(series: Series, block: Block, line: Line, dose: float) -> str:
    """A difference with its interval, its p-value and what follows."""
    found, p = block.gain(line.name, dose, series.main), block.holm[series.main, line.name, dose]
    shown = "not shown" if p >= ALPHA else "better" if found.value > 0 else "worse"
    return f"{words.gain(found)}, p {words.p_value(p)}: {shown}"
