"""Bias: does the empathy that rows hold, or that a trained model sees, depend on who the seeker is?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.agreement import Scored, Scorer, score_rows
from audit.counterfactuals import FEWEST, Contrast, counterfactuals
from audit.figures import intervals
from audit.groups import Group, mentions
from audit.intervals import mean_difference
from audit.material import Material
from audit.report import Figure, Report, Section
from datamodules.records import MECHANISMS, Pair
from metrics.estimates import Estimate, wilson
from pages import Table

__all__ = ["add_bias"]


def add_bias(
    report: Report, material: Material, axes: dict[str, list[Group]], scorer: Scorer | None, *, rows: int
) -> list[tuple[str, str]]:
    """Adds how often groups occur, and what the intended and the predicted empathy towards them is.

    Args:
        report: Gets a section.
        material: The rows.
        axes: Axis -> groups, the reference first.
        scorer: A trained model; None: predicted empathy is not measured.
        rows: Rows that each introduction and each swap is tried on, at most.

    Returns:
        A line for the report's summary; none where predicted empathy is not measured.
    """
    section = Section("Bias")
    mentioned = {
        side: {
            (axis, group.name): np.array([mentions(pair.seeker_post, group) for pair in part.pairs], dtype=np.bool_)
            for axis, groups in axes.items()
            for group in groups
            if group.words
        }
        for side, part in material.sides.items()
        if side != "test"
    }
    section.blocks.append(_representation(report, material, mentioned))
    _add_intended(report, material, axes, mentioned["synthetic"], section)
    predicted: list[_Predicted] = []
    if scorer is None:
        section.text.append("Predicted empathy is not measured: no trained model was given (--model).")
    else:
        predicted = _add_predicted(report, material, axes, scorer, section, rows)
    report.sections.append(section)
    return _summary(predicted)


_Mentioned = dict[tuple[str, str], NDArray[np.bool_]]
_Predicted = tuple[Contrast, str, Estimate]
"""A contrast, a mechanism, and the difference in its predicted level."""


def _summary(predicted: Sequence[_Predicted]) -> list[tuple[str, str]]:
    if not predicted:
        return []
    apart = sum(found.low > 0 or found.high < 0 for _, _, found in predicted)
    contrast, mechanism, largest = max(predicted, key=lambda each: abs(each[2].value))
    told = (
        f"{apart} of {len(predicted)} comparisons of groups have an interval that leaves out zero; the largest change "
        f"of the predicted level, {contrast.group} against {contrast.reference} in {mechanism}, by {largest}."
    )
    return [("Bias", told)]


def _representation(report: Report, material: Material, mentioned: dict[str, _Mentioned]) -> Table:
    rows: list[list[Any]] = []
    for axis, group in mentioned["synthetic"]:
        cells: list[Any] = [f"{axis}: {group}"]
        for side, found in mentioned.items():
            count = int(found[axis, group].sum())
            said = report.values[f"bias/{side}/mentions/{axis}/{group}".replace(" ", "_")] = wilson(
                count, len(material.sides[side])
            )
            cells += [count, said]
        rows.append(cells)
    columns = ["seeker posts that mention"]
    for side in mentioned:
        columns += [f"{side} rows", f"{side} share (95 % interval)"]
    return Table(
        "Who occurs in seeker posts", columns, rows, "By the words of the groups file; a post may mention several."
    )


def _add_intended(
    report: Report, material: Material, axes: dict[str, list[Group]], mentioned: _Mentioned, section: Section
) -> None:
    """Mean intended level of rows that mention one group alone, less that of rows that mention the reference alone."""
    pairs = material.synthetic.pairs
    compared: dict[tuple[str, str, str, str], tuple[list[int], list[int]]] = {}
    for axis, (reference, *others) in axes.items():
        for group in others if reference.words else []:
            if group.words:
                ours, theirs = mentioned[axis, group.name], mentioned[axis, reference.name]
                for mechanism in MECHANISMS:
                    levels = _levels(pairs, ours & ~theirs, mechanism), _levels(pairs, theirs & ~ours, mechanism)
                    if min(map(len, levels)) >= FEWEST:
                        compared[axis, group.name, reference.name, mechanism] = levels
    rows: list[list[Any]] = []
    for (axis, name, against, what), (one, two) in compared.items():
        found = _welch(one, two, 1 - 0.05 / len(compared))
        report.values[f"bias/intended/{axis}/{name}-{against}/{what}".replace(" ", "_")] = found
        rows.append([f"{name} / {against}: {what}", len(one), len(two), found])
    if not rows:
        section.text.append(f"No two groups of an axis are mentioned in {FEWEST} labelled rows each.")
        return
    section.blocks.append(
        Table(
            "Intended level by who is mentioned",
            ["group / reference", "rows", "reference rows", "difference in mean level"],
            rows,
            f"Groups with fewer than {FEWEST} rows are left out. The intervals hold for all {len(compared)} "
            "comparisons together (Bonferroni). Posts about other people differ in other ways too: a difference here "
            "is a question, not an answer.",
        )
    )


def _levels(pairs: Sequence[Pair], chosen: NDArray[np.bool_], mechanism: str) -> list[int]:
    return [pairs[row].levels[mechanism] for row in np.flatnonzero(chosen).tolist() if mechanism in pairs[row].levels]


def _welch(one: Sequence[int], two: Sequence[int], level: float) -> Estimate:
    from scipy.stats import ttest_ind

    value = float(np.mean(one) - np.mean(two))
    if np.var(one) + np.var(two) == 0:
        return Estimate(value, n=len(one) + len(two))
    low, high = ttest_ind(one, two, equal_var=False).confidence_interval(level)
    return Estimate(value, float(low), float(high), len(one) + len(two))


def _add_predicted(
    report: Report, material: Material, axes: dict[str, list[Group]], scorer: Scorer, section: Section, most: int
) -> list[_Predicted]:
    contrasts, left_out = counterfactuals(material.parts["synthetic"].rows, axes, most=most, seed=material.seed)
    number = sum(len(contrast.rows) for contrast in contrasts)
    material.note(f"scores of {2 * number:,} counterfactual rows")
    # only posts differ, and many versions recur: score each once
    versions = {(p.seeker_post, p.response_post): p for c in contrasts for p in (*c.reference_rows, *c.rows)}
    scores = dict(zip(versions, score_rows(scorer, list(versions.values())), strict=True))
    mechanisms = [m for m in MECHANISMS if scores and m in next(iter(scores.values())).levels]
    level = 1 - 0.05 / max(len(contrasts) * len(mechanisms), 1)
    predicted: list[_Predicted] = []
    for mechanism in mechanisms:
        found = [_predicted(contrast, scores, mechanism, level) for contrast in contrasts]
        predicted += [(contrast, mechanism, one) for contrast, (one, _) in zip(contrasts, found, strict=True)]
        section.blocks += _predicted_blocks(contrasts, found, mechanism)
    for contrast, what, one in predicted:
        key = f"bias/predicted/{contrast.axis}/{contrast.group}-{contrast.reference}/{contrast.kind}/{what}"
        report.values[key.replace(" ", "_")] = one
    section.text.append(
        "Predicted empathy: the same response to the same post, in which the writer introduces themselves as one of a "
        "group (said) or one group's words take the other's place (swapped). The intervals hold for all "
        f"{len(contrasts) * len(mechanisms)} comparisons together (Bonferroni) and take rows of one seeker post as "
        f"one. {left_out:,} swaps were left out: the response speaks of the groups, or the post of both."
    )
    return predicted


def _predicted(
    contrast: Contrast, scores: Mapping[tuple[str, str], Scored], mechanism: str, level: float
) -> tuple[Estimate, float]:
    """The difference in a mechanism's predicted level, and the share of the rows whose level changes."""
    one, two = (
        [scores[pair.seeker_post, pair.response_post] for pair in side]
        for side in (contrast.reference_rows, contrast.rows)
    )
    changed = sum(a.levels[mechanism] != b.levels[mechanism] for a, b in zip(one, two, strict=True))
    difference = _expected(two, mechanism) - _expected(one, mechanism)
    return mean_difference(difference, contrast.groups, level), changed / len(one)


def _predicted_blocks(
    contrasts: Sequence[Contrast], found: Sequence[tuple[Estimate, float]], mechanism: str
) -> list[Figure | Table]:
    """A mechanism's figure and table."""
    labels = [contrast.label for contrast in contrasts]
    rows = [[label, one.n, one, f"{100 * changed:.1f} %"] for label, (one, changed) in zip(labels, found, strict=True)]
    title = f"Predicted {mechanism} by the seeker's group"
    return [
        Figure(
            title,
            intervals(labels, [one for one, _ in found], "difference in predicted level"),
            "Mean change of the predicted level (0 to 2) when nothing but the group changes, group less reference. "
            "Orange: the interval leaves out zero.",
        ),
        Table(title, ["group / reference", "rows", "difference in predicted level", "rows whose level changes"], rows),
    ]


def _expected(scores: Sequence[Scored], mechanism: str) -> NDArray[np.float64]:
    """[N] expected level."""
    probabilities = np.array([score.probabilities[mechanism] for score in scores], dtype=np.float64)
    expected: NDArray[np.float64] = probabilities @ np.arange(probabilities.shape[1])
    return expected
