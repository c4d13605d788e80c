"""The table that an experiment's `report` section describes, whatever its task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from experiments.report import words
from experiments.report.document import Section
from experiments.report.runs import Experiment, Run
from experiments.report.series import over_seeds, unlike
from pages import Table

__all__ = ["planned_sections"]

Protocol = tuple[tuple[str, str], ...]


def planned_sections(experiments: list[Experiment]) -> list[Section]:
    """A section of all tables that experiments ask for (`kind: table`), where there are any."""
    wanted = [experiment for experiment in experiments if experiment.settings.get("kind") == "table"]
    tables = [table for experiment in wanted for table in _tables(experiment)]
    repeated = " or ".join(dict.fromkeys(_repeated(experiment) for experiment in wanted))
    text = f"Scores are means over a row's runs, which differ in nothing but {repeated}. {words.CLOSED_FORM}"
    return [Section("Tables that the experiments ask for", [text], list(tables))] if tables else []


def _tables(experiment: Experiment) -> Iterator[Table]:
    """One for each protocol."""
    columns = [str(key) for key in experiment.settings.get("columns") or []]
    naming = _naming(experiment)
    groups: dict[Protocol, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in experiment.runs:
        key = next((key for key in columns if key in run.metrics), None)
        if key is not None:
            groups[tuple(run.protocol(key).items())][_label(experiment, run, naming)].append(run)
    for protocol, named in groups.items():
        every = [run for runs in named.values() for run in runs]
        known = [key for key in columns if any(key in run.metrics for run in every)]
        alike = [key for key in known if not unlike(run.protocol(key) for run in every if key in run.metrics)]
        rows = [[name, str(len(runs)), *(str(over_seeds(runs, key)) for key in alike)] for name, runs in named.items()]
        note = ". ".join(f"{name.capitalize()}: {value}" for name, value in protocol if name != "task") + "."
        if apart := [key for key in known if key not in alike]:
            note += f" Left out, since the runs count them in unlike ways: {', '.join(apart)}."
        yield Table(experiment.title, ["", "runs", *(key.removeprefix("test/") for key in alike)], rows, note)


def _repeated(experiment: Experiment) -> str:
    return str(experiment.settings.get("repeat") or "seed")


def _naming(experiment: Experiment) -> list[str]:
    """The factors whose values make a row: that of `rows`, then all others that vary but the repeated one.

    The training seed, which every run has, is among them only where it tells apart what no factor does.
    """
    rows, repeated = str(experiment.settings.get("rows")), _repeated(experiment)
    places = [experiment.factors[run.name] for run in experiment.runs]
    varied = [factor for factor in places[0] if len({place[factor] for place in places}) > 1]
    naming = [rows, *(factor for factor in varied if factor not in (rows, repeated, "seed"))]
    apart = {tuple(place.get(factor) for factor in (*naming, repeated)) for place in places}
    return [*naming, "seed"] if len(apart) < len(places) else naming


def _label(experiment: Experiment, run: Run, naming: Sequence[str]) -> str:
    """The values that make a row, the first without its factor; of a sweep's point all that it stands for."""
    factors, (rows, *others) = experiment.factors[run.name], naming
    if rows in factors:
        return ", ".join([factors[rows], *(f"{factor} {factors[factor]}" for factor in others)])
    told = ", ".join(f"{factor} {value}" for factor, value in factors.items() if factor != "seed")
    return f"{run.name}: {told}" if told else run.name
