"""A study's numbers, under flat keys: what people said, how they agree, what models that judge said.

<pair> stands for `<system>_vs_<system>`, <name> for a rater or judge, <pref> for `win`, `loss`, `tie` (shares of all),
`decided` (wins where there was no tie) and, for people's and a judge's outcomes, `p` and `p_holm`:

    human/<pair>/<pref>             one outcome a context: what more than half of its raters said, else a tie
    human/strength/<system>         Bradley-Terry, with more than two systems
    human/every/<pair>/<pref>       every judgement, with more than one rater
    rater/<name>/<pair>/<pref>      one rater
    rater/<name>/left, longer       share of choices that fell on the left, the longer response
    agreement/...                   of raters, keys of `metrics.agreement.category_agreement`
    judge/<name>/<pair>/<pref>      a model: a tie where its answer changes with the order
    judge/<name>/<order>/<pair>/... the order alone: `one_left` or `other_left`
    judge/<name>/consistent         share of tasks with the same answer in both orders; left, longer as for raters
    judge/<name>/same_as_human, kappa_with_human
    judge/<name>/<pair>/points, points_calibrated, points_human
                                    a win 1 point, a tie 0.5: alone, corrected by people's outcomes, people's alone
                                    (over every context that people judged)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan, nan

import numpy as np

from experiments.pairwise.statistics import Outcome, bradley_terry, calibrated, preference
from experiments.pairwise.study import Key, Ratings, Study
from metrics.estimates import Estimate, holm, wilson

__all__ = ["Scores", "score_study"]

Pair = tuple[str, str]
Place = tuple[str, Pair]
"""A context's id and two systems: what an outcome belongs to."""


@dataclass(frozen=True)
class Verdict:
    """A judgement with its systems.

    Args:
        task: The task's id.
        place: Context and systems, in the key's order.
        value: 1 where the first system is preferred, -1 where the second is, 0 for a tie.
        left: 1 where the first system's response stood left, -1 otherwise.
        longer: 1 where the first system's response has more words, -1 fewer, 0 as many.
        seconds: From showing to choosing.
    """

    task: str
    place: Place
    value: int
    left: int
    longer: int
    seconds: float


@dataclass(frozen=True)
class Scores:
    """What `compare score` shows.

    Args:
        question: What raters were asked.
        contexts: Contexts in the study.
        pairs: Every two systems.
        systems: The systems.
        raters: Rater -> verdicts.
        judges: Judge -> verdicts.
        estimates: Key -> number.
    """

    question: str
    contexts: int
    systems: list[str]
    pairs: list[Pair]
    raters: dict[str, list[Verdict]]
    judges: dict[str, list[Verdict]]
    estimates: dict[str, Estimate]


def score_study(study: Study, key: Key) -> Scores:
    """Computes every number of a study."""
    systems = list(key.systems)
    pairs = list(combinations(systems, 2))
    raters = {ratings.rater: _verdicts(study, key, ratings) for ratings in study.ratings("judgements")}
    judges = {ratings.rater: _verdicts(study, key, ratings) for ratings in study.ratings("judges")}
    raters, judges = ({name: said for name, said in group.items() if said} for group in (raters, judges))
    every = [verdict for said in raters.values() for verdict in said]
    human = _majority(every)
    estimates = _preferences("human", human.items(), pairs, tested=True)
    if len(systems) > 2 and human:
        outcomes = [Outcome(context, *pair, value) for (context, pair), value in human.items()]
        estimates |= {f"human/strength/{name}": one for name, one in bradley_terry(outcomes, systems).items()}
    if len(raters) > 1:
        estimates |= _preferences("human/every", ((said.place, said.value) for said in every), pairs)
        agreement = _agreement({name: _majority(said) for name, said in raters.items()})
        estimates |= {f"agreement/{key}": estimate for key, estimate in agreement.items()}
    for name, said in raters.items():
        estimates |= _preferences(f"rater/{name}", ((one.place, one.value) for one in said), pairs)
        estimates |= _habits(f"rater/{name}", said)
    for name, said in judges.items():
        estimates |= _judge(f"judge/{name}", said, human, pairs)
    contexts = len({task["context"] for task in key.tasks.values()})
    return Scores(study.question, contexts, systems, pairs, raters, judges, estimates)


def _verdicts(study: Study, key: Key, ratings: Ratings) -> list[Verdict]:
    order = {name: number for number, name in enumerate(key.systems)}
    verdicts = []
    for (name, left), judgement in ratings.given.items():
        task, sides = study.tasks[name], key.tasks[name]
        one, other = sorted((sides["first"], sides["second"]), key=order.__getitem__)
        sign = 1 if sides["first"] == one else -1
        value = {"first": sign, "second": -sign, "tie": 0}[judgement.choice]
        longer = int(np.sign(len(task.first.split()) - len(task.second.split()))) * sign
        place = (sides["context"], (one, other))
        verdicts.append(Verdict(name, place, value, sign if left == "first" else -sign, longer, judgement.seconds))
    return verdicts


def _majority(verdicts: Iterable[Verdict]) -> dict[Place, int]:
    """One outcome a context and pair: what more than half of its judgements say, else a tie."""
    said: dict[Place, list[int]] = defaultdict(list)
    for verdict in verdicts:
        said[verdict.place].append(verdict.value)
    return {
        place: next((value for value in (1, -1) if 2 * values.count(value) > len(values)), 0)
        for place, values in said.items()
    }


def _name(pair: Pair) -> str:
    return f"{pair[0]}_vs_{pair[1]}"


def _preferences(
    prefix: str, values: Iterable[tuple[Place, int]], pairs: Sequence[Pair], *, tested: bool = False
) -> dict[str, Estimate]:
    """Win, loss, tie of each pair that was judged; `tested` adds the sign test and Holm's correction over the pairs."""
    by_pair: dict[Pair, list[int]] = defaultdict(list)
    for (_, pair), value in values:
        by_pair[pair].append(value)
    judged = {pair: preference(by_pair[pair]) for pair in pairs if pair in by_pair}
    estimates: dict[str, Estimate] = {}
    adjusted = holm([found.p for found in judged.values()])
    for (pair, found), p in zip(judged.items(), adjusted, strict=True):
        shares = {"win": found.win, "loss": found.loss, "tie": found.tie, "decided": found.decided}
        tests = {"p": found.p, "p_holm": p} if tested else {}
        shares |= {name: Estimate(value, nan, nan, found.decided.n) for name, value in tests.items()}
        estimates |= {f"{prefix}/{_name(pair)}/{name}": share for name, share in shares.items()}
    return estimates


def _habits(prefix: str, verdicts: Sequence[Verdict]) -> dict[str, Estimate]:
    """How often a choice fell on the left and on the longer response."""
    estimates = {}
    for name in ("left", "longer"):
        chosen = [verdict.value * getattr(verdict, name) for verdict in verdicts]
        estimates[f"{prefix}/{name}"] = wilson(chosen.count(1), len(chosen) - chosen.count(0))
    return estimates


def _agreement(raters: Mapping[str, Mapping[Place, int]]) -> dict[str, Estimate]:
    """Of every two raters over the outcomes that both gave; answers are win, tie, loss of the first system."""
    from metrics.agreement import Bootstrap, category_agreement

    places = sorted(set().union(*raters.values()))
    if all(sum(place in said for said in raters.values()) < 2 for place in places):
        return {}
    return category_agreement(
        np.array([[said[place] + 1 if place in said else -1 for said in raters.values()] for place in places]),
        np.unique([context for context, _ in places], return_inverse=True)[1],
        annotators=list(raters),
        categories=["loss", "tie", "win"],
        ordered=True,
        bootstrap=Bootstrap(),
    )


def _judge(
    prefix: str, verdicts: Sequence[Verdict], human: Mapping[Place, int], pairs: Sequence[Pair]
) -> dict[str, Estimate]:
    """A model's judgement: each order, both, its habits, and how it compares with people's outcomes."""
    orders = {sign: {one.place: one.value for one in verdicts if one.left == sign} for sign in (1, -1)}
    both = orders[1].keys() & orders[-1].keys()
    steady = {place: orders[1][place] if orders[1][place] == orders[-1][place] else 0 for place in both}
    same = sum(orders[1][place] == orders[-1][place] for place in both)
    estimates = _preferences(prefix, steady.items(), pairs, tested=True) | _habits(prefix, verdicts)
    for sign, order in ((1, "one_left"), (-1, "other_left")):
        estimates |= _preferences(f"{prefix}/{order}", orders[sign].items(), pairs)
    estimates[f"{prefix}/consistent"] = wilson(same, len(both))
    shared = steady.keys() & human.keys()
    if shared:
        agreement = _agreement({"judge": steady, "human": human})
        estimates[f"{prefix}/same_as_human"] = wilson(sum(steady[one] == human[one] for one in shared), len(shared))
        estimates[f"{prefix}/kappa_with_human"] = agreement["mean_pairwise_kappa"]
    for pair in pairs:
        places = sorted(place for place in steady if place[1] == pair)
        machine = [(steady[place] + 1) / 2 for place in places]
        people = [(human[place] + 1) / 2 if place in human else nan for place in places]
        alone = [(value + 1) / 2 for place, value in human.items() if place[1] == pair]
        if not all(map(isnan, people)):
            one = f"{prefix}/{_name(pair)}"
            estimates[f"{one}/points"] = Estimate(float(np.mean(machine)), nan, nan, len(machine))
            estimates[f"{one}/points_calibrated"] = calibrated(machine, people)
            estimates[f"{one}/points_human"] = Estimate(float(np.mean(alone)), nan, nan, len(alone))
    return estimates
