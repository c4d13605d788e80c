"""Do the intended levels hold? Compared with what a trained model and a judge say of the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audit.material import Material
from audit.report import Report, Section
from audit.words import Ints
from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS, Pair
from metrics.agreement_coefficients import cohen_kappa
from metrics.estimates import Estimate, wilson
from pages import Table

__all__ = ["Judgement", "Scored", "Scorer", "add_agreement", "judge_levels", "score_rows"]


class Scored(Protocol):
    """What a trained model says of one row."""

    @property
    def levels(self) -> Mapping[str, int]:
        """Mechanism -> predicted level."""
        ...

    @property
    def probabilities(self) -> Mapping[str, Sequence[float]]:
        """Mechanism -> probability of each level."""
        ...


class Scorer(Protocol):
    """A trained model, such as `inference.scorer.EmpathyScorer`."""

    def score(self, pairs: Sequence[Pair], /) -> Sequence[Scored]:
        """Scores rows, in their order."""
        ...


_CHUNK = 2048


def score_rows(scorer: Scorer, pairs: Sequence[Pair]) -> list[Scored]:
    """Scores rows a chunk at a time, so that the memory doesn't grow with their number.

    Args:
        scorer: A trained model.
        pairs: Rows.

    Returns:
        A score a row, in their order.
    """
    starts = range(0, len(pairs), _CHUNK)
    return [score for start in starts for score in scorer.score(pairs[start : start + _CHUNK])]


Judgement = Mapping[int, Mapping[str, int]]
"""Row number -> mechanism -> level, of the rows that were judged."""


def judge_levels(synthetic: Sequence[Pair], judged: Iterable[Pair]) -> dict[int, dict[str, int]]:
    """Finds the synthetic rows that a judge's rows speak of.

    Args:
        synthetic: The synthetic rows.
        judged: Rows with the judge's levels, of the same generator and id.

    Returns:
        Row number -> the judge's levels. Rows of ids that are not unique are left out.
    """
    numbers: dict[tuple[str, str], int] = {}
    for number, pair in enumerate(synthetic):
        key = pair.generator, pair.id
        numbers[key] = -1 if key in numbers else number
    found = ((numbers.get((pair.generator, pair.id), -1), pair.levels) for pair in judged)
    return {number: dict(levels) for number, levels in found if number >= 0}


def add_agreement(report: Report, material: Material, opinions: Mapping[str, Judgement]) -> None:
    """Adds how far the intended levels agree with others' levels, and the others with each other.

    Args:
        report: Gets a section.
        material: The rows.
        opinions: Who (`trained model`, `judge`) -> levels.
    """
    labelled = {number: pair.levels for number, pair in enumerate(material.synthetic.pairs) if pair.levels}
    asked = material.synthetic.asked
    sides: dict[str, Judgement] = {"intended": asked, "label": labelled} if asked else {"intended": labelled}
    sides |= opinions
    names = list(sides)
    section = Section("Do the intended levels hold?")
    summary: list[list[Any]] = []
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            for mechanism in MECHANISMS:
                table = _confusion(sides[one], sides[two], mechanism)
                count = int(table.sum())
                if not count:
                    continue
                key = f"quality/agreement/{one}-{two}/{mechanism}".replace(" ", "_")
                same = report.values[f"{key}/accuracy"] = wilson(int(np.trace(table)), count)
                agreed = Estimate(float(cohen_kappa(table, "quadratic")), n=count)
                report.values[f"{key}/kappa_quadratic"] = agreed
                summary.append([f"{one} and {two}: {mechanism}", count, same, agreed])
                if one == "intended":
                    section.blocks.append(_confusion_table(table, mechanism, two))
    section.text.append(
        "A row whose level isn't the intended one teaches the wrong thing. A trained model that has learned from rows "
        "like these agrees with them too readily: prefer one trained on real rows."
    )
    if asked:
        section.text.append(
            "Intended is what the prompt asked for; label is what the rows carry: the verdict of the language model or "
            "the trained model that judged them while they were made. Rows made without an evaluator carry what was "
            "asked for."
        )
    title = "Agreement on levels"
    columns = ["who and what", "rows", "same level (95 % interval)", "quadratic kappa"]
    section.blocks.insert(0, Table(title, columns, summary))
    report.sections.append(section)


def _confusion(one: Judgement, two: Judgement, mechanism: str) -> Ints:
    table: NDArray[np.int64] = np.zeros((len(LEVELS), len(LEVELS)), dtype=np.int64)
    for number, levels in one.items():
        other = two.get(number, {})
        if mechanism in levels and mechanism in other:
            table[levels[mechanism], other[mechanism]] += 1
    return table


def _confusion_table(table: Ints, mechanism: str, who: str) -> Table:
    rows = [[f"intended {LEVEL_NAMES[level]}", *table[level].tolist()] for level in LEVELS]
    return Table(f"{mechanism}: intended level against {who}", ["", *(f"{who}: {name}" for name in LEVEL_NAMES)], rows)
