"""Responders' tables and curves, by the metrics that their runs recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from math import isnan
from textwrap import fill

from experiments.report import words
from experiments.report.behaviour import traces
from experiments.report.document import Answer, Picture, Section
from experiments.report.figures import curves
from experiments.report.gather import conditions
from experiments.report.published import published
from experiments.report.runs import Experiment, Run
from experiments.report.series import over_seeds, unlike
from inference.responder_table import Trained
from pages import Table

__all__ = ["responder_answers", "responder_sections"]

_SCORES = ("bleu", "bleu_2_esc", "rouge_l", "distinct_2", "obedience")
_PANEL = 40
"""Characters of a line above a panel."""
Protocol = tuple[tuple[str, str], ...]


def responder_sections(experiments: list[Experiment]) -> list[Section]:
    """A section where there are responders; those of unlike protocol in tables of their own."""
    runs = _responders_of(experiments)
    return [_section(runs)] if runs else []


def responder_answers(experiments: list[Experiment]) -> list[Answer]:
    """The main score of every condition: that of its best policy but the oracle."""
    lines = []
    for name, seeds in conditions(_responders_of(experiments)).items():
        members = list(seeds.values())
        best = max(_bleu(members) or ["test/perplexity"], key=members[0].value)
        tested = members[0].protocol(best)["test set"]
        *_, policy, what = best.split("/")
        told = f", strategy from {policy}" if policy != "test" else ""
        score = over_seeds(members, best)
        lines.append(f"{name}: {words.metric(what)} {score}{told}, test set {tested}.")
    return [Answer(f"Responders: {len(lines)} condition{'s' * (len(lines) != 1)}", lines)] if lines else []


def _responders_of(experiments: Iterable[Experiment]) -> list[Run]:
    return [run for experiment in experiments for run in experiment.runs if run.task == "responder"]


def _bleu(runs: list[Run]) -> list[str]:
    keys = [key for key in runs[0].metrics if key.endswith("/bleu") and not isnan(runs[0].value(key))]
    return [key for key in keys if "/oracle/" not in key]


def _section(runs: list[Run]) -> Section:
    section = Section("Responders")
    tables: list[tuple[Callable[[Run], list[str]], Callable[[list[Run], dict[str, str]], Table]]]
    tables = [(lambda run: _bleu([run]), _responders), (lambda run: ["test/perplexity"], _perplexities)]
    for keys_of, table in tables:
        groups: dict[Protocol, list[Run]] = defaultdict(list)
        for run in runs:
            for key in [key for key in keys_of(run) if key in run.metrics][:1]:
                groups[tuple(run.protocol(key).items())].append(run)
        blocks = [table(members, dict(protocol)) for protocol, members in groups.items()]
        if len(groups) > 1:
            section.text.append(f"{blocks[0].title}: {words.apart(unlike([dict(each) for each in groups]))}")
        section.blocks += blocks
    section.text.append(f"Scores are means over seeds. {words.CLOSED_FORM}")
    section.blocks += _learning(runs)
    known = published()["people"]
    columns = ["response of", "against", "as published"]
    section.blocks.append(Table(known["title"], columns, known["rows"], known["note"]))
    return section


def _learning(runs: list[Run]) -> Iterator[Picture]:
    """Learning curves, a panel for each way of counting perplexity."""
    groups: dict[Protocol, list[Run]] = defaultdict(list)
    for run in (run for run in runs if "test/perplexity" in run.metrics):
        groups[tuple(run.protocol("test/perplexity").items())].append(run)
    rows = []
    for key, label in (("train/loss", "training loss"), ("validation/perplexity", "perplexity, validation")):
        panels = [
            (fill(dict(protocol)["metric variant"], _PANEL), list(traces(conditions(members), key)))
            for protocol, members in groups.items()
        ]
        if panels and all(found for _, found in panels):
            rows.append((label, panels))
    if rows:
        yield curves("responders-learning", "Learning curves", rows)


def _perplexities(runs: list[Run], protocol: dict[str, str]) -> Table:
    """Perplexities that are counted alike."""
    named = {name: list(seeds.values()) for name, seeds in conditions(runs).items()}
    rows = [[name, str(len(members)), str(over_seeds(members, "test/perplexity"))] for name, members in named.items()]
    note = f"Test set {protocol['test set']}, {protocol['test rows']} rows; {protocol['metric variant']}."
    return Table("Perplexity", ["", "seeds", "perplexity"], rows, note)


def _responders(runs: list[Run], protocol: dict[str, str]) -> Table:
    """Responder x policy, as study B prints them."""
    keys = [key for key in _SCORES if any(name.endswith(f"/{key}") for run in runs for name in run.metrics)]
    rows = []
    for name, seeds in conditions(runs).items():
        members = list(seeds.values())
        trained = Trained.of(members[0].config, members[0].manifest, members[0].metrics)
        policies = dict.fromkeys(key.split("/")[1] for run in members for key in run.metrics if key.count("/") == 2)
        for policy in policies:
            cells = [str(over_seeds(members, f"test/{policy}/{key}")) for key in keys]
            told = "oracle (the gold turn's)" if policy == "oracle" else policy
            value = trained.published(policy)
            shown = "–" if value is None else words.number(value)
            rows.append([name, told, str(len(members)), *cells, shown])
    note = (
        f"{protocol['test rows']} rows of test set {protocol['test set']}. BLEU: sacrebleu, 0 to 100; the last "
        "column is study B's BLEU, 0 to 1, of a variant that it doesn't state on a test set that can't be rebuilt: as "
        "published, not comparable."
    )
    scores = [*(words.metric(key) for key in keys), "B's BLEU as published"]
    columns = ["", "strategy from", "seeds", *scores]
    return Table("Responders", columns, rows, note)
