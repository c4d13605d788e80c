"""Bias: does the empathy that rows hold, or that a trained model sees, depend on who the seeker is?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.agreement import Scored, Scorer, score_rows
from audit.figures import intervals
from audit.groups import Group, introduce, mentions, swap
from audit.intervals import Measured, mean_difference, share
from audit.material import Material
from audit.report import Figure, Report, Section, Table
from audit.rows import RowSet, sample_rows
from audit.words import Ints
from datamodules.records import MECHANISMS, Pair

__all__ = ["Contrast", "add_bias", "counterfactuals"]

_FEWEST = 10
"""Rows that a comparison needs."""


@dataclass
class Contrast:
    """Rows in two versions that differ in the seeker's or a third person's group alone.

    Args:
        axis: What the groups divide people by.
        reference: Name of the reference group.
        group: Name of the other group.
        kind: `swapped` words of the post, or a sentence that is `said` before it.
        reference_rows: [N] rows in the reference's version.
        rows: [N] the same rows in the other's version.
        groups: [N] groups of dependent rows.
    """

    axis: str
    reference: str
    group: str
    kind: str
    reference_rows: list[Pair]
    rows: list[Pair]
    groups: Ints

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.group} / {self.reference} ({self.kind})"


def add_bias(
    report: Report, material: Material, axes: dict[str, list[Group]], scorer: Scorer | None, *, rows: int
) -> None:
    """Adds how often groups occur, and what the intended and the predicted empathy towards them is.

    Args:
        report: Gets a section.
        material: The rows.
        axes: Axis -> groups, the reference first.
        scorer: A trained model; None: predicted empathy is not measured.
        rows: Rows that each introduction and each swap is tried on, at most.
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
    if scorer is None:
        section.text.append("Predicted empathy is not measured: no trained model was given (--model).")
    else:
        _add_predicted(report, material, axes, scorer, section, rows)
    report.sections.append(section)


_Mentioned = dict[tuple[str, str], NDArray[np.bool_]]


def _representation(report: Report, material: Material, mentioned: dict[str, _Mentioned]) -> Table:
    rows: list[list[Any]] = []
    for axis, group in mentioned["synthetic"]:
        cells: list[Any] = [f"{axis}: {group}"]
        for side, found in mentioned.items():
            count = int(found[axis, group].sum())
            said = report.values[f"bias/{side}/mentions/{axis}/{group}".replace(" ", "_")] = share(
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
                    if min(map(len, levels)) >= _FEWEST:
                        compared[axis, group.name, reference.name, mechanism] = levels
    rows: list[list[Any]] = []
    for (axis, name, against, what), (one, two) in compared.items():
        found = _welch(one, two, 1 - 0.05 / len(compared))
        report.values[f"bias/intended/{axis}/{name}-{against}/{what}".replace(" ", "_")] = found
        rows.append([f"{name} / {against}: {what}", len(one), len(two), found])
    if not rows:
        section.text.append(f"No two groups of an axis are mentioned in {_FEWEST} labelled rows each.")
        return
    section.blocks.append(
        Table(
            "Intended level by who is mentioned",
            ["group / reference", "rows", "reference rows", "difference in mean level"],
            rows,
            f"Groups with fewer than {_FEWEST} rows are left out. The intervals hold for all {len(compared)} "
            "comparisons together (Bonferroni). Posts about other people differ in other ways too: a difference here "
            "is a question, not an answer.",
        )
    )


def _levels(pairs: Sequence[Pair], chosen: NDArray[np.bool_], mechanism: str) -> list[int]:
    return [pairs[row].levels[mechanism] for row in np.flatnonzero(chosen).tolist() if mechanism in pairs[row].levels]


def _welch(one: Sequence[int], two: Sequence[int], level: float) -> Measured:
    from scipy.stats import ttest_ind

    value = float(np.mean(one) - np.mean(two))
    if np.var(one) + np.var(two) == 0:
        return Measured(value, n=len(one) + len(two))
    low, high = ttest_ind(one, two, equal_var=False).confidence_interval(level)
    return Measured(value, float(low), float(high), len(one) + len(two))


def counterfactuals(
    rows: RowSet, axes: dict[str, list[Group]], *, most: int, seed: int, fewest: int = _FEWEST
) -> tuple[list[Contrast], int]:
    """Makes the versions of rows that are compared.

    A **swap** takes the rows whose post has words of exactly one of two groups and whose response has none of either
    (it would no longer fit). An **introduction** puts a sentence before any post.

    Args:
        rows: The rows.
        axes: Axis -> groups, the reference first.
        most: Rows a contrast, at most.
        seed: Seed of the draws.
        fewest: Rows that a swap needs.

    Returns:
        The contrasts, and how many swaps were left out because of the response or the other group.
    """
    members = np.unique(np.asarray(rows.groups), return_inverse=True)[1]
    contrasts: list[Contrast] = []
    left_out = 0
    said = sample_rows(len(rows), most, seed).tolist()

    def add(axis: str, reference: Group, group: Group, kind: str, numbers: list[int]) -> None:
        versions: list[list[Pair]] = [[], []]
        for number in numbers:
            pair = rows.pairs[number]
            for version, target, source in ((0, reference, group), (1, group, reference)):
                post = pair.seeker_post
                post = introduce(post, target, number) if kind == "said" else swap(post, source, target)
                versions[version].append(replace(pair, seeker_post=post))
        contrasts.append(Contrast(axis, reference.name, group.name, kind, versions[0], versions[1], members[numbers]))

    for axis, (reference, *others) in axes.items():
        for group in others:
            if reference.says and group.says:
                add(axis, reference, group, "said", said)
            if reference.words and group.words:
                found, unfit = _swappable(rows.pairs, reference, group)
                left_out += unfit
                if len(found) >= fewest:
                    drawn = sample_rows(len(found), most, seed).tolist()
                    add(axis, reference, group, "swapped", [found[place] for place in drawn])
    return contrasts, left_out


def _swappable(pairs: Sequence[Pair], one: Group, two: Group) -> tuple[list[int], int]:
    found, unfit = [], 0
    for number, pair in enumerate(pairs):
        in_post = mentions(pair.seeker_post, one) + mentions(pair.seeker_post, two)
        if in_post == 1 and not mentions(pair.response_post, one) and not mentions(pair.response_post, two):
            found.append(number)
        elif in_post:
            unfit += 1
    return found, unfit


def _add_predicted(
    report: Report, material: Material, axes: dict[str, list[Group]], scorer: Scorer, section: Section, most: int
) -> None:
    contrasts, left_out = counterfactuals(material.parts["synthetic"].rows, axes, most=most, seed=material.seed)
    number = sum(len(contrast.rows) for contrast in contrasts)
    material.note(f"scores of {2 * number:,} counterfactual rows")
    # only posts differ, and many versions recur: score each once
    versions = {(p.seeker_post, p.response_post): p for c in contrasts for p in (*c.reference_rows, *c.rows)}
    scores = dict(zip(versions, score_rows(scorer, list(versions.values())), strict=True))
    mechanisms = [m for m in MECHANISMS if scores and m in next(iter(scores.values())).levels]
    level = 1 - 0.05 / max(len(contrasts) * len(mechanisms), 1)
    for mechanism in mechanisms:
        section.blocks += _predicted_blocks(report, contrasts, scores, mechanism, level)
    section.text.append(
        "Predicted empathy: the same response to the same post, in which the writer introduces themselves as one of a "
        "group (said) or one group's words take the other's place (swapped). The intervals hold for all "
        f"{len(contrasts) * len(mechanisms)} comparisons together (Bonferroni) and take rows of one seeker post as "
        f"one. {left_out:,} swaps were left out: the response speaks of the groups, or the post of both."
    )


def _predicted_blocks(
    report: Report,
    contrasts: Sequence[Contrast],
    scores: Mapping[tuple[str, str], Scored],
    mechanism: str,
    level: float,
) -> list[Figure | Table]:
    """A mechanism's figure and table."""
    rows: list[list[Any]] = []
    found: list[Measured] = []
    for contrast in contrasts:
        one, two = (
            [scores[pair.seeker_post, pair.response_post] for pair in side]
            for side in (contrast.reference_rows, contrast.rows)
        )
        difference = _expected(two, mechanism) - _expected(one, mechanism)
        changed = sum(a.levels[mechanism] != b.levels[mechanism] for a, b in zip(one, two, strict=True))
        measured = mean_difference(difference, contrast.groups, level)
        key = f"bias/predicted/{contrast.axis}/{contrast.group}-{contrast.reference}/{contrast.kind}/{mechanism}"
        report.values[key.replace(" ", "_")] = measured
        found.append(measured)
        rows.append([contrast.label, len(one), measured, f"{100 * changed / len(one):.1f} %"])
    title = f"Predicted {mechanism} by the seeker's group"
    return [
        Figure(
            title,
            intervals([contrast.label for contrast in contrasts], found, "difference in predicted level"),
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
