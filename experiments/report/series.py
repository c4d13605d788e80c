"""Points of a grid as lines over a dose, with everything that can be said of them.

A **block** is one target (a mechanism, or `strategy`) on one test set under one variant of the metrics: numbers of
unlike protocol never share one. In a block a **line** (a generator) has a **dose** (rows added, share replaced) a
point, and a run a seed there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isclose, isnan, nan
from typing import Literal

from experiments.report.predictions import RATIONALES
from experiments.report.runs import Experiment, Run
from metrics.comparison import Bend, Difference, bend, condition, difference, estimate, slope
from metrics.estimates import Estimate, Matched, holm, mcnemar, over_runs
from metrics.levels import FloatArray

__all__ = ["ALPHA", "METRICS", "OF_ROWS", "Block", "Line", "Series", "over_seeds", "unlike"]

ALPHA = 0.05
"""A difference is shown where its corrected p-value is below."""

METRICS = {"empathy": ["level_accuracy", "level_f1_macro"], "strategy": ["accuracy", "f1_macro"]}
"""What a task's figures and answers are about where nothing else is asked for."""

OF_ROWS = ("groups", "rationale rows")
"""Parts of a protocol that say which of a mechanism's rows are drawn together or scored; mechanisms differ in them."""

_BESIDE = ("accuracy_any", "top3_accuracy", "f1_weighted", "preference_bias", "calibration_error")
"""Scores of strategies that the tables show without a difference."""

_SHARES = ("level_", "rationale_", "accuracy", "f1_", "top3")
_HUNDREDS = ("bleu", "rouge", "distinct", "obedience", "agreement", "repetition")


def over_seeds(runs: Iterable[Run], key: str) -> Estimate:
    """Mean of a score that isn't drawn anew, with its interval over test rows and seeds; of one run its own."""
    metric = key.rpartition("/")[2]
    lowest = -1.0 if "kappa" in metric else 0.0
    highest = 100.0 if metric.startswith(_HUNDREDS) else 1.0 if metric.startswith(_SHARES) else inf
    return over_runs([run.estimate(key) for run in runs if not isnan(run.value(key))], lowest, highest)


@dataclass
class Line:
    """One generator's runs in a block: dose -> seed -> run."""

    name: str
    runs: dict[float, dict[int, Run]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def doses(self) -> list[float]:
        """All doses, ascending."""
        return sorted(self.runs)

    @property
    def start(self) -> float:
        """The dose that the others are compared with: none, or where no run is without synthetic rows the lowest."""
        return self.doses[0]

    @property
    def largest(self) -> float:
        """The largest dose."""
        return self.doses[-1]


@dataclass
class Block:
    """What stands in one table.

    Args:
        target: The mechanism, or `strategy`.
        protocol: What its numbers have in common.
        lines: The lines, by name.
        resamples: Draws of the bootstrap.
        base: Name of the condition of dose 0.
    """

    target: str
    protocol: dict[str, str]
    lines: dict[str, Line]
    resamples: int
    base: str = "base data alone"
    holm: dict[tuple[str, str, float], float] = field(default_factory=dict)

    @cached_property
    def _samples(self) -> dict[int, dict[str, FloatArray]]:
        """A run's identity -> metric -> samples, all from the same draws of the test rows.

        A metric is left out where the predictions don't give the score that the run recorded.
        """
        found: dict[int, dict[str, FloatArray]] = {}
        for run in self.all_runs():
            predicted = run.predicted(self.target)
            if predicted is None or id(run) in found:
                continue
            found[id(run)] = {
                metric: samples
                for metric, samples in predicted.draw(self.resamples).items()
                if isclose(samples[0], run.value(run.key(self.target, metric)), rel_tol=0, abs_tol=1e-9)
            }
        return found

    def samples(self, line: str, dose: float, metric: str) -> dict[int, FloatArray]:
        """Seed -> samples of a condition; empty where a run of it has none."""
        runs = self.lines[line].runs[dose]
        known = all(metric in self._samples.get(id(run), {}) for run in runs.values())
        return {seed: self._samples[id(run)][metric] for seed, run in runs.items()} if known else {}

    def score(self, line: str, dose: float, metric: str) -> Estimate:
        """Mean over seeds with its interval over test rows and seeds, `n` the seeds."""
        runs = self.lines[line].runs[dose]
        if samples := self.samples(line, dose, metric):
            return estimate(condition(samples), len(runs))
        return over_seeds(runs.values(), Run.key(self.target, metric))

    def gain(self, line: str, dose: float, metric: str) -> Difference:
        """A dose against the lowest, paired."""
        start = self.lines[line].start
        if dose == start:
            return Difference(nan, nan, nan, 0, nan, nan)
        return difference(self.samples(line, dose, metric), self.samples(line, start, metric))

    def untested(self, line: str, dose: float, metric: str) -> str:
        """Why a dose that was not tested against the lowest one wasn't."""
        runs, start = self.lines[line].runs, self.lines[line].start
        if not set(runs[start]) & set(runs[dose]):
            return "no seed in common"
        if not all(self.samples(line, each, metric) for each in (start, dose)):
            return "predictions.jsonl doesn't give the score again"
        return "fewer than two groups of test rows"

    def slope(self, line: str, metric: str) -> Estimate:
        """Score per unit of the dose."""
        doses = self.lines[line].doses
        table = [self.samples(line, dose, metric) for dose in doses]
        if len(doses) < 2 or not all(table):
            return Estimate(nan, nan, nan, len(doses))
        return slope(doses, [condition(each) for each in table])

    def bend(self, line: str, metric: str) -> Bend | None:
        """Where the gain changes."""
        doses = self.lines[line].doses
        table = [self.samples(line, dose, metric) for dose in doses]
        return bend(doses, [condition(each) for each in table]) if all(table) else None

    def matched(self, line: str, dose: float) -> dict[int, Matched]:
        """McNemar's test of a dose against the lowest, a seed each."""
        runs, start = self.lines[line].runs, self.lines[line].start
        found = {}
        for seed in sorted(set(runs[start]) & set(runs[dose])):
            one, other = (runs[each][seed].predicted(self.target) for each in (dose, start))
            if one is not None and other is not None:
                found[seed] = mcnemar(one.right.tolist(), other.right.tolist())
        return found

    def all_runs(self) -> Iterator[Run]:
        """Every run, as often as a line has it."""
        yield from (run for line in self.lines.values() for runs in line.runs.values() for run in runs.values())

    def dosed_runs(self) -> Iterator[Run]:
        """Every run above its line's lowest dose."""
        for name, dose in self.comparisons():
            yield from self.lines[name].runs[dose].values()

    def comparisons(self) -> list[tuple[str, float]]:
        """Every line and dose above the line's lowest."""
        return [(name, dose) for name, line in self.lines.items() for dose in line.doses[1:]]

    def compared(self, line: Line, metric: str) -> list[float]:
        """The doses whose differences are known; the largest of the line is among them, or there is none."""
        known = [dose for dose in line.doses[1:] if (metric, line.name, dose) in self.holm]
        return known if line.largest in known else []


@dataclass
class Series:
    """A figure's worth of runs.

    Args:
        experiment: Where they come from.
        title: What varies.
        x_label: The dose, with its unit.
        metrics: The scores of the figure; macro-F1, or else the first, is the one that the answer is about.
        blocks: A panel each.
        kind: `augment` and `substitute` have a dose; `conditions` are settings (dose 1) against the first one (dose 0).
        published: Name of the published experiment to print beside.
    """

    experiment: Experiment
    title: str
    x_label: str
    metrics: list[str]
    blocks: list[Block]
    kind: Literal["augment", "substitute", "conditions"] = "augment"
    published: str = ""

    def base(self, *blocks: Block) -> str:
        """Name of the condition that the others are compared with, in these blocks or in all."""
        chosen = blocks or [block for block in self.blocks if any(block.comparisons())]
        if any(line.start for block in chosen for line in block.lines.values()):
            return "the lowest dose"
        names = {block.base for block in chosen}
        return names.pop() if len(names) == 1 else "the first setting of each panel"

    @property
    def subject(self) -> str:
        """What is compared with the base, in the plural."""
        if self.kind == "conditions":
            return "other settings"
        alone = all(not line.start for block in self.blocks for line in block.lines.values())
        added = all(run.dosed for block in self.blocks for run in block.dosed_runs())
        return "synthetic rows" if alone and added else "larger doses"

    @property
    def compared(self) -> list[str]:
        """The scores whose differences are tested: those of the figure, and of rationales in any case."""
        rationales = RATIONALES if any(block.target != "strategy" for block in self.blocks) else ()
        return list(dict.fromkeys([*self.metrics, *rationales]))

    @property
    def beside(self) -> tuple[str, ...]:
        """The scores that the tables show beside."""
        return _BESIDE if any(block.target == "strategy" for block in self.blocks) else ()

    def dose(self, dose: float) -> str:
        """A dose in words."""
        return f"{100 * dose:g} %" if self.kind == "substitute" else f"{dose:g} rows"

    def condition(self, line: Line, dose: float) -> str:
        """A condition above the line's lowest dose in words."""
        return line.name if self.kind == "conditions" else f"{line.name}, {self.dose(dose)}"

    @property
    def runs(self) -> list[Run]:
        """Every run once, in the order of blocks and lines."""
        found: dict[int, Run] = {}
        for block in self.blocks:
            found |= {id(run): run for run in block.all_runs()}
        return list(found.values())

    @property
    def main(self) -> str:
        """The metric that the answer is about: macro-F1 where it is shown."""
        return next((metric for metric in self.metrics if metric in ("level_f1_macro", "f1_macro")), self.metrics[0])

    def tests(self, metric: str) -> int:
        """How many comparisons a metric's p-values are corrected for."""
        return sum(key[0] == metric for block in self.blocks for key in block.holm)

    def correct(self) -> None:
        """Holm's correction over all comparisons of the grid, for each metric apart."""
        for metric in self.compared:
            found = [
                (block, line, dose, block.gain(line, dose, metric).p)
                for block in self.blocks
                for line, dose in block.comparisons()
            ]
            known = [each for each in found if not isnan(each[3])]
            for (block, line, dose, _), value in zip(known, holm([each[3] for each in known]), strict=True):
                block.holm[metric, line, dose] = value


def unlike(protocols: Iterable[Mapping[str, str]]) -> list[str]:
    """What differs between protocols, in words; empty where nothing does."""
    values: dict[str, list[str]] = defaultdict(list)
    for protocol in protocols:
        for name, value in protocol.items():
            if value not in values[name]:
                values[name].append(value)
    return [f"{name}: {' / '.join(found)}" for name, found in values.items() if len(found) > 1]
