"""A study's scores as plain text tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import isnan, nan
from statistics import median

from experiments.pairwise.score import Scores
from metrics.estimates import Estimate

__all__ = ["report"]

_SHARES = ["", "n", "win/loss", "win", "loss", "tie"]
_INTERVAL = "win without ties [95 %]"
_NOTES = """\
Win, loss and tie: per cent of n. win/loss, its Wilson interval and the exact two-sided sign test leave ties out; Holm's
correction is over the rows of a table. n counts contexts; where it says so, judgements, which are not independent."""


def report(scores: Scores) -> str:
    """The tables that `compare score` prints; every number is one of `scores.estimates`, but for the seconds."""
    judged = [len(said) for said in scores.raters.values()]
    head = (
        f"{scores.question}\n{len(scores.systems)} systems, {scores.contexts} contexts; {sum(judged)} judgements by "
        f"{len(judged)} {'person' if len(judged) == 1 else 'people'}"
    )
    if not judged and not scores.judges:
        return f"{head}\n\nNothing is judged yet: `compare rate` serves the page for it."
    parts = [head]
    if judged:
        parts += _people(scores)
    for name in scores.judges:
        parts += _judge(scores, name)
    return "\n\n".join([*parts, _NOTES])


def _people(scores: Scores) -> list[str]:
    several = len(scores.raters) > 1
    rule = ", one outcome a context: what more than half of its raters said, else a tie"
    title = f"People{rule if several else ''}"
    parts = [_table(title, [*_SHARES, _INTERVAL, "p", "p (Holm)"], _rows(scores, "human"))]
    if f"human/strength/{scores.systems[0]}" in scores.estimates:
        parts.append(_strengths(scores))
    if several:
        rows = [row[:6] for row in _rows(scores, "human/every")]
        parts.append(_table("People, every judgement (n: judgements)", _SHARES, rows))
        rows = [row[:7] for name in scores.raters for row in _rows(scores, f"rater/{name}", name)]
        parts.append(_table("Each rater", [*_SHARES, _INTERVAL], rows))
        parts.append(_agreement(scores))
    habits = [
        [name, str(len(said)), *_habits(scores, f"rater/{name}"), f"{median(one.seconds for one in said):.1f}"]
        for name, said in scores.raters.items()
    ]
    header = ["", "judged", "left chosen [95 %]", "longer chosen [95 %]", "median seconds"]
    return [*parts, _table("Habits, ties left out", header, habits)]


def _strengths(scores: Scores) -> str:
    found = {name: scores.estimates[f"human/strength/{name}"] for name in scores.systems}
    title = "Bradley-Terry strength: log odds, mean 0, a tie half a win for each, interval clustered by context"
    if any(isnan(one.value) for one in found.values()):
        return f"{title}\nNot defined: a system, or a group of them, never lost to the others. Judge more contexts."
    ranked = sorted(found.items(), key=lambda item: -item[1].value)
    rows = [[name, str(one.n), _number(one, "+.2f")] for name, one in ranked]
    return _table(title, ["", "n", "strength [95 %]"], rows)


def _agreement(scores: Scores) -> str:
    prefixes = {f"{one}, {other}": f"{one}~{other}/" for one, other in combinations(scores.raters, 2)}
    if len(prefixes) > 1:
        prefixes["mean of the pairs"] = "mean_pairwise_"
    rows = []
    for label, prefix in prefixes.items():
        same, kappa = (scores.estimates.get(f"agreement/{prefix}{what}") for what in ("agreement", "kappa"))
        if same and kappa:
            rows.append([label, str(same.n), _share(same), _number(kappa, ".2f")])
    title = "Agreement of raters over win, loss and tie"
    if not rows:
        return f"{title}\nNo two raters share a task."
    alpha = _number(scores.estimates["agreement/alpha_nominal"], ".2f")
    table = _table(title, ["", "n", "same answer [95 %]", "Cohen's kappa [95 %]"], rows)
    return f"{table}\nKrippendorff's alpha (nominal) {alpha}"


def _judge(scores: Scores, name: str) -> list[str]:
    prefix, found = f"judge/{name}", scores.estimates
    rows = _rows(scores, prefix, "both orders")
    for order, label in (("one_left", "the first one left"), ("other_left", "the other one left")):
        rows += _rows(scores, f"{prefix}/{order}", label)
    title = f"Judge {name}, a model: a tie where its answer changes with the order"
    steady, (left, longer) = _share(found[f"{prefix}/consistent"]), _habits(scores, prefix)
    lines = [
        _table(title, [*_SHARES, _INTERVAL, "p", "p (Holm)"], rows),
        f"Same answer in both orders {steady}; left chosen {left}; longer chosen {longer}.",
    ]
    if f"{prefix}/same_as_human" not in found:
        return ["\n".join(lines)]
    same, kappa = found[f"{prefix}/same_as_human"], found[f"{prefix}/kappa_with_human"]
    lines.append(f"Same outcome as people {_share(same)} of {same.n}, kappa {_number(kappa, '.2f')}.")
    rows = []
    for one, other in scores.pairs:
        key = f"{prefix}/{one}_vs_{other}/points"
        if key in found:
            alone, people = found[key], found[f"{key}_human"]
            counted = [text for part in (alone, people) for text in (str(part.n), _share(part))]
            rows.append([f"{one} : {other}", *counted, _share(found[f"{key}_calibrated"])])
    header = ["", "n", "judge alone", "n", "people alone", "judge, calibrated [95 %]"]
    table = _table(f"Judge {name} calibrated by people: wins and half of the ties, per cent", header, rows)
    return ["\n".join(lines), table]


def _rows(scores: Scores, prefix: str, label: str = "") -> list[list[str]]:
    """A row for each pair that was judged: name, n, win/loss, win, loss, tie, interval, and p twice where tested."""
    rows = []
    for one, other in scores.pairs:
        found = {
            name: scores.estimates[f"{prefix}/{one}_vs_{other}/{name}"]
            for name in ("win", "loss", "tie", "decided", "p", "p_holm")
            if f"{prefix}/{one}_vs_{other}/{name}" in scores.estimates
        }
        if found:
            shares = [_share(found[name]._replace(low=nan)) for name in ("win", "loss", "tie")]
            decided = found["decided"]
            share = "–" if not decided.n else f"{100 * decided.value:.0f}/{100 - round(100 * decided.value)}"
            tests = [_p(found[name].value) for name in ("p", "p_holm") if name in found]
            name = f"{one} : {other}" + (f", {label}" if label else "")
            rows.append([name, str(found["win"].n), share, *shares, _share(decided), *tests])
    return rows


def _habits(scores: Scores, prefix: str) -> list[str]:
    return [_share(scores.estimates[f"{prefix}/{name}"]) for name in ("left", "longer")]


def _share(share: Estimate) -> str:
    """A share in per cent, with its interval where it has one."""
    return _number(Estimate(100 * share.value, 100 * share.low, 100 * share.high, share.n), ".1f")


def _number(one: Estimate, form: str) -> str:
    if isnan(one.value):
        return "–"
    return f"{one.value:{form}}" + ("" if isnan(one.low) else f" [{one.low:{form}}, {one.high:{form}}]")


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns apart by two spaces, the first one to the left."""
    cells = [list(header), *(list(row) + [""] * (len(header) - len(row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        row[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in cells
    ]
    return "\n".join([title, *(line.rstrip() for line in lines)])
