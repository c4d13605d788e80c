"""What judgements of pairs show: preference, its uncertainty, strength over several systems.

One **outcome** is what became of two systems on one context: 1 the first is preferred, -1 the second, 0 a tie. Outcomes
of different contexts are taken as independent; those of one context (several pairs of systems) are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metrics.estimates import LEVEL, Estimate, wilson

__all__ = [
    "Outcome",
    "Preference",
    "bradley_terry",
    "calibrated",
    "preference",
]


class Outcome(NamedTuple):
    """Two systems on one context.

    Args:
        context: The context's id.
        one: A system.
        other: Another one.
        value: 1 where `one` is preferred, -1 where `other` is, 0 for a tie.
    """

    context: str
    one: str
    other: str
    value: int


class Preference(NamedTuple):
    """How often one system was preferred to another, with Wilson intervals.

    Args:
        win: Share of wins.
        loss: Share of losses.
        tie: Share of ties.
        decided: Share of wins where there was no tie: study B's win per cent.
        p: Exact two-sided sign test of as many wins as losses, ties left out.
    """

    win: Estimate
    loss: Estimate
    tie: Estimate
    decided: Estimate
    p: float


def preference(values: Sequence[int]) -> Preference:
    """Win, loss and tie of independent outcomes (1, -1, 0), each of another context."""
    from scipy.stats import binomtest

    win, loss, tie = (sum(value == kind for value in values) for kind in (1, -1, 0))
    p = binomtest(win, win + loss).pvalue if win + loss else 1.0
    total = len(values)
    return Preference(wilson(win, total), wilson(loss, total), wilson(tie, total), wilson(win, win + loss), float(p))


def bradley_terry(outcomes: Sequence[Outcome], systems: Sequence[str]) -> dict[str, Estimate]:
    """Strengths by which `one` is preferred to `other` with probability 1 / (1 + exp(strength other - strength one)).

    Maximum likelihood by the MM algorithm (Hunter, 2004, Annals of Statistics 32), a tie as half a win for each.
    Strengths are logarithmic with mean 0; intervals from the sandwich covariance clustered by context.

    Args:
        outcomes: At least one.
        systems: The systems, S of them.

    Returns:
        System -> strength, `n` its outcomes. All nan where the maximum doesn't exist: the systems fall into two groups
        of which one never lost to the other (Ford, 1957).
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.stats import norm

    place = {name: index for index, name in enumerate(systems)}
    one = np.array([place[outcome.one] for outcome in outcomes])  # [N]
    other = np.array([place[outcome.other] for outcome in outcomes])
    share = np.array([(outcome.value + 1) / 2 for outcome in outcomes])
    wins = np.zeros((len(systems), len(systems)))  # [S, S], of the row's system over the column's
    np.add.at(wins, (one, other), share)
    np.add.at(wins, (other, one), 1 - share)
    games = wins + wins.T
    counts = [int(count) for count in games.sum(1)]
    if connected_components(wins > 0, connection="strong")[0] > 1:
        return {name: Estimate(nan, nan, nan, count) for name, count in zip(systems, counts, strict=True)}
    strength = np.zeros(len(systems))
    for _ in range(10_000):
        odds = np.exp(strength)
        new = np.log(wins.sum(1) / (games / (odds[:, None] + odds)).sum(1))
        new -= new.mean()
        step, strength = np.abs(new - strength).max(), new
        if step < 1e-10:
            break
    error = _sandwich(one, other, share, strength, [outcome.context for outcome in outcomes])
    width = norm.ppf((1 + LEVEL) / 2) * error
    rows = zip(systems, strength, strength - width, strength + width, counts, strict=True)
    return {name: Estimate(float(value), float(low), float(high), count) for name, value, low, high, count in rows}


def _sandwich(
    one: npt.NDArray[np.int64],
    other: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
    strength: npt.NDArray[np.float64],
    contexts: Sequence[str],
) -> npt.NDArray[np.float64]:
    """Standard errors of the strengths, float64[S], robust to anything that outcomes of one context share."""
    rows = np.arange(len(one))
    design = np.zeros((len(one), len(strength)))  # [N, S]
    design[rows, one], design[rows, other] = 1, -1
    expected = 1 / (1 + np.exp(-design @ strength))
    names, clusters = np.unique(contexts, return_inverse=True)
    scores = np.zeros((len(names), len(strength)))
    np.add.at(scores, clusters, (share - expected)[:, None] * design)
    bread = np.linalg.pinv((design * (expected * (1 - expected))[:, None]).T @ design)
    covariance = bread @ scores.T @ scores @ bread * len(names) / max(len(names) - 1, 1)
    return np.sqrt(np.diag(covariance))


def calibrated(judge: Sequence[float], human: Sequence[float]) -> Estimate:
    """A judge's mean score corrected by its mean error where people judged too.

    The difference estimator of survey sampling, known as prediction-powered inference (Angelopoulos et al., 2023,
    Science 382): mean of the judge over all contexts plus mean of (human - judge) over those that people judged. Right
    when people judged a random part of the contexts, however wrong the judge is. Normal interval within 0 to 1.

    Args:
        judge: The judge's score of each context: 1 the system wins, 0 it loses, 0.5 a tie.
        human: Likewise, nan where no one judged.

    Returns:
        The score, `n` the contexts that people judged; nan without any, no interval below two.
    """
    from scipy.stats import norm

    scores, errors = np.asarray(judge, float), np.asarray(human, float) - np.asarray(judge, float)
    known = ~np.isnan(errors)
    number = int(known.sum())
    if not number:
        return Estimate(nan, nan, nan, 0)
    value = float(scores.mean() + errors[known].mean())
    if number < 2:
        return Estimate(value, nan, nan, number)
    influence = (scores - scores.mean()) / len(scores)
    influence[known] += (errors[known] - errors[known].mean()) / number
    width = float(norm.ppf((1 + LEVEL) / 2) * np.sqrt((influence**2).sum()))
    return Estimate(value, max(value - width, 0.0), min(value + width, 1.0), number)
