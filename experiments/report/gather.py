"""From folders to series: what is a point of which line, and what may share a table."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from datamodules.records import MECHANISMS
from errors import DataError
from experiments.report.predictions import RATIONALES, Predicted
from experiments.report.runs import Experiment, Kind, Run
from experiments.report.series import METRICS, Block, Line, Series

__all__ = ["conditions", "gather"]

Protocol = tuple[tuple[str, str], ...]
_X = {"augment": "synthetic rows added", "substitute": "share of the base rows replaced"}
_OWN = ("seed_everything", "run_name", "runs", "logger", "project", "ckpt_path", "weights_only", "data.init_args.cache")
"""Options that don't change what is learnt, or that runs of one condition differ in."""


class Point(NamedTuple):
    """A run's place: `line` is None where nothing synthetic trains, which every line shares."""

    run: Run
    target: str
    line: str | None
    dose: float


_LONGEST = 60
"""Characters of a condition's options above which its folder's name tells more; a sweep's number tells nothing."""


def gather(experiments: list[Experiment], resamples: int) -> list[Series]:
    """All series of empathy and strategy runs, corrected for their number of comparisons.

    Args:
        experiments: What was read.
        resamples: Draws of the bootstrap.

    Raises:
        DataError: Two unlike runs claim one place, or predictions of one test set hold unlike rows.
    """
    found: list[Series] = []
    for task in METRICS:
        everything = [run for experiment in experiments for run in experiment.runs if run.task == task]
        for experiment in experiments:
            runs = [run for run in experiment.runs if run.task == task]
            if experiment.settings.get("kind") == "curves" and runs:
                found.append(_planned(experiment, runs, everything, resamples))
            elif runs:
                found += _loose(experiment, runs, resamples)
    for series in found:
        series.correct()
    return found


def _planned(experiment: Experiment, runs: list[Run], everything: list[Run], resamples: int) -> Series:
    """The series that an experiment's `report` section describes."""
    wanted, points = experiment.settings, []
    for run in runs:
        factors = experiment.factors[run.name]
        panel = factors.get(wanted.get("panel", ""))
        line = factors.get(wanted.get("line", "")) or ", ".join(run.generators) or None
        dose = float(factors[wanted["x"]])
        places = [panel] if panel in run.targets else run.targets
        points += [Point(run, target, line if dose or "line" in wanted else None, dose) for target in places]
    recipes = {_recipe(run) for run in runs}
    own = {id(run) for run in runs}
    shared = [run for run in everything if id(run) not in own and not run.dosed and _recipe(run) in recipes]
    points += [Point(run, target, None, 0.0) for run in shared for target in run.targets]
    kind: Kind = "substitute" if any(run.dosed == "substitute" for run in runs) else "augment"
    metrics = [str(metric) for metric in wanted.get("metrics") or METRICS[runs[0].task]]
    return Series(
        experiment=experiment,
        title=experiment.title,
        x_label=str(wanted.get("x_label") or _X[kind]),
        metrics=metrics,
        blocks=_blocks(points, resamples),
        kind=kind,
        published=str(wanted.get("published") or ""),
    )


def _loose(experiment: Experiment, runs: list[Run], resamples: int) -> list[Series]:
    """Series of runs given one by one: by mode and recipe; what has no dose is compared as it is."""
    groups: dict[tuple[Kind, str], list[Run]] = defaultdict(list)
    for run in runs:
        if kind := run.dosed:
            groups[kind, _recipe(run)].append(run)
    found, used = [], set()
    for (kind, recipe), dosed in groups.items():
        base = [run for run in runs if not run.dosed and _recipe(run) == recipe]
        used |= {id(run) for run in (*dosed, *base)}
        points = [Point(run, target, None, 0.0) for run in base for target in run.targets]
        for run in dosed:
            dose = run.data["mix"]["share"] if kind == "substitute" else run.manifest["mix"]["added"]
            points += [Point(run, target, ", ".join(run.generators), float(dose)) for target in run.targets]
        task = runs[0].task
        title = "Synthetic rows added" if kind == "augment" else "Rows replaced by synthetic ones"
        published = ("augmentation" if kind == "augment" else "substitution") if task == "empathy" else ""
        blocks = _blocks(points, resamples)
        titled = _titled(title, experiment, task)
        found.append(Series(experiment, titled, _X[kind], METRICS[task], blocks, kind, published))
    rest = [run for run in runs if id(run) not in used]
    return [*found, *_settings(experiment, rest, resamples)] if rest else found


def _settings(experiment: Experiment, runs: list[Run], resamples: int) -> list[Series]:
    """Settings against the first one that was tested under the same protocol."""
    blocks = []
    _check_rows((run, target) for run in runs for target in run.targets)
    for (target, protocol), members in _apart(runs):
        named = list(conditions(members).items())
        base = named[0]
        lines = {name: Line(name, defaultdict(dict, {0.0: base[1], 1.0: seeds})) for name, seeds in named[1:]}
        if not lines:
            lines = {base[0]: Line(base[0], defaultdict(dict, {0.0: base[1]}))}
        blocks.append(Block(target, dict(protocol), lines, resamples, base[0]))
    task = runs[0].task
    title = _titled(experiment.title, experiment, task)
    return [Series(experiment, title, "", METRICS[task], _in_order(blocks), "conditions")]


def _titled(title: str, experiment: Experiment, task: str) -> str:
    """A title that tells strategy classifiers from the runs of other tasks beside them."""
    mixed = any(run.task != task for run in experiment.runs)
    return f"{title}: strategy classifiers" if task == "strategy" and mixed else title


def _apart(runs: list[Run]) -> Iterator[tuple[tuple[str, Protocol], list[Run]]]:
    """Runs by target and protocol."""
    found: dict[tuple[str, Protocol], list[Run]] = defaultdict(list)
    for run in runs:
        for target in run.targets:
            found[target, _protocol(run, target)].append(run)
    yield from found.items()


def _protocol(run: Run, target: str) -> Protocol:
    """What numbers of one table have in common, the rows that are scored and drawn together among it."""
    predicted = run.predicted(target)
    found = _named(run, target)
    found["groups"] = "not recorded" if predicted is None else predicted.grouping
    if (rationales := run.key(target, RATIONALES[0])) in run.metrics:
        found["rationale rows"] = str(run.metrics[rationales]["n"])
    return tuple(found.items())


def _named(run: Run, target: str) -> dict[str, str]:
    """The protocol as `metrics.json` names it."""
    return run.protocol(run.key(target, METRICS[run.task][0]))


def _check_rows(places: Iterable[tuple[Run, str]]) -> None:
    """Refuses predictions of unlike rows under one name of a test set.

    Raises:
        DataError: There are some.
    """
    first: dict[tuple[str, Protocol], tuple[Run, Predicted]] = {}
    for run, target in places:
        predicted = run.predicted(target)
        if predicted is None:
            continue
        other, rows = first.setdefault((target, tuple(_named(run, target).items())), (run, predicted))
        if not predicted.same_rows(rows):
            told = "metrics.json name the same test set, predictions.jsonl hold unlike rows; predict again"
            raise DataError([f"{run.folder} and {other.folder}: {told}"])


def _blocks(points: list[Point], resamples: int) -> list[Block]:
    """Blocks by target and protocol; a base run belongs to every line of its block."""
    groups: dict[tuple[str, Protocol], list[Point]] = defaultdict(list)
    _check_rows((point.run, point.target) for point in points)
    for point in points:
        groups[point.target, _protocol(point.run, point.target)].append(point)
    blocks, problems = [], []
    for (target, protocol), members in groups.items():
        names = list(dict.fromkeys(point.line for point in members if point.line is not None))
        lines = {name: Line(name) for name in names or ["base data alone"]}
        for point in members:
            for name in [point.line] if point.line is not None else lines:
                place = lines[name].runs[point.dose]
                other = place.setdefault(point.run.seed, point.run)
                if other is not point.run and other.metrics != point.run.metrics and point.line is not None:
                    problems.append(
                        f"{other.folder} and {point.run.folder}: both are {target}, {name}, dose {point.dose:g}, "
                        f"seed {point.run.seed}, with unlike numbers; give one of them"
                    )
        blocks.append(Block(target, dict(protocol), lines, resamples))
    if problems:
        raise DataError(problems)
    return _in_order(blocks)


def _in_order(blocks: list[Block]) -> list[Block]:
    order: list[str] = [*MECHANISMS, "strategy"]
    return sorted(blocks, key=lambda block: order.index(block.target))


def conditions(runs: list[Run]) -> dict[str, dict[int, Run]]:
    """Runs that differ in nothing but their seed are one condition: its name -> seed -> run.

    Of runs of one seed with the same options and the same numbers, as a sweep draws them, the first stands for all.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        key = json.dumps(_plain(run), sort_keys=True)
        while same := [other for other in groups[key] if other.seed == run.seed]:
            if same[0].metrics == run.metrics:
                break
            key += "again"  # the same seed with other numbers: a condition of its own, so that neither is lost
        else:
            groups[key].append(run)
    stems = [{re.sub(r"-\d+$", "", run.name) for run in members} for members in groups.values()]
    options = [_plain(members[0]) for members in groups.values()]
    telling = all(len(stem) == 1 and not next(iter(stem)).isdigit() for stem in stems)
    named = telling and len(set().union(*stems)) == len(stems)
    keys = list(dict.fromkeys(key for each in options for key in each))
    vary = [key for key in keys if len({json.dumps(each.get(key), sort_keys=True) for each in options}) > 1]
    found: dict[str, dict[int, Run]] = {}
    for members, stem, each in zip(groups.values(), stems, options, strict=True):
        told = ", ".join(f"{key.rpartition('.')[2]} {each.get(key)}" for key in vary)
        first = next(iter(stem))
        name = told if told and not named and (len(told) <= _LONGEST or first.isdigit()) else first
        while name in found:
            name += "'"
        found[name] = {run.seed: run for run in members}
    return found


def _plain(run: Run) -> dict[str, Any]:
    """The configuration as flat keys, without what runs of one condition differ in."""
    flat = dict(_flat(run.config))
    return {key: value for key, value in flat.items() if not key.startswith(_OWN) and key != "data.init_args.mix.seed"}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _recipe(run: Run) -> str:
    """Everything but the dose, its source, the mechanism and the seed."""
    aside = ("data.init_args.mix", "data.init_args.synthetic", "model.init_args.mechanisms")
    return json.dumps({key: value for key, value in _plain(run).items() if not key.startswith(aside)}, sort_keys=True)
