"""Study B's tables: strategy classifiers and responders, by the metrics that their runs recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from math import isnan

from experiments.report import words
from experiments.report.document import Answer, Picture, Section
from experiments.report.gather import conditions
from experiments.report.published import published
from experiments.report.runs import Experiment, Run
from experiments.report.series import unlike
from inference.responder_table import Trained
from metrics.estimates import over_seeds
from pages import Table

__all__ = ["dialogue_answers", "dialogue_sections"]

_CLASSIFIER = (
    "accuracy",
    "accuracy_any",
    "top3_accuracy",
    "f1_macro",
    "f1_weighted",
    "preference_bias",
    "calibration_error",
)
_RESPONDER = ("bleu", "bleu_2_esc", "rouge_l", "distinct_2", "obedience")
_TITLES = {"strategy": "Strategy classifiers", "responder": "Responders"}
Protocol = tuple[tuple[str, str], ...]


def dialogue_sections(experiments: list[Experiment]) -> list[Section]:
    """A section a task, where there are runs of it; runs of unlike protocol in tables of their own."""
    runs = [run for experiment in experiments for run in experiment.runs]
    sections = []
    for task, title in _TITLES.items():
        mine = [run for run in runs if run.task == task]
        if mine:
            sections.append(_section(task, title, mine, experiments))
    return sections


def dialogue_answers(experiments: list[Experiment]) -> list[Answer]:
    """The main score of every condition, a task an entry; of a responder that of its best policy but the oracle."""
    runs = [run for experiment in experiments for run in experiment.runs]
    found = []
    for task, title in _TITLES.items():
        lines = []
        for name, seeds in conditions([run for run in runs if run.task == task]).items():
            members = list(seeds.values())
            keys = ["test/accuracy"] if task == "strategy" else _bleu(members) or ["test/perplexity"]
            best = max(keys, key=members[0].value)
            tested = members[0].protocol(best)["test set"]
            *_, policy, what = best.split("/")
            told = f", strategy from {policy}" if policy != "test" else ""
            lines.append(f"{name}: {words.metric(what)} {_cell(members, best)}{told}, test set {tested}.")
        if lines:
            found.append(Answer(f"{title}: {len(lines)} condition{'s' * (len(lines) != 1)}", lines))
    return found


def _bleu(runs: list[Run]) -> list[str]:
    keys = [key for key in runs[0].metrics if key.endswith("/bleu") and not isnan(runs[0].value(key))]
    return [key for key in keys if "/oracle/" not in key]


def _section(task: str, title: str, runs: list[Run], experiments: list[Experiment]) -> Section:
    section = Section(title)
    tables: list[tuple[Callable[[Run], list[str]], Callable[[list[Run], dict[str, str]], Table]]]
    if task == "strategy":
        tables = [(lambda run: ["test/accuracy"], _classifiers)]
    else:
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
    for experiment in experiments:
        if experiment.settings.get("kind") == "table" and any(run.task == task for run in experiment.runs):
            section.blocks += list(_planned(experiment))
    section.blocks += [picture for run in runs for picture in _pictures(run)]
    if task == "responder":
        known = published()["people"]
        columns = ["response of", "against", "as published"]
        section.blocks.append(Table(known["title"], columns, known["rows"], known["note"]))
    return section


def _cell(runs: list[Run], key: str) -> str:
    """Mean over seeds; with one seed the run's own interval over test rows."""
    known = [run.estimate(key) for run in runs if not isnan(run.value(key))]
    if not known:
        return "–"
    return str(known[0] if len(known) == 1 else over_seeds([found.value for found in known]))


def _classifiers(runs: list[Run], protocol: dict[str, str]) -> Table:
    keys = [key for key in _CLASSIFIER if any(f"test/{key}" in run.metrics for run in runs)]
    rows = []
    for name, seeds in conditions(runs).items():
        members = list(seeds.values())
        rows.append([name, str(len(members)), *(_cell(members, f"test/{key}") for key in keys)])
        trivial = [_cell(members, f"test/{key}_majority") for key in keys]
        if any(cell != "–" for cell in trivial):
            rows.append([f"{name}, most frequent label", "", *trivial])
    known = published()["classifier"]
    rows.append(["study B, as published", "", words.number(known["accuracy"], 2), *["–"] * (len(keys) - 1)])
    told = f"Test set {protocol['test set']}, {protocol['label space']}; {protocol['metric variant']}."
    note = f"{told} {_NOTE} {known['note']}"
    return Table(_TITLES["strategy"], ["", "seeds", *(words.metric(key) for key in keys)], rows, note)


_NOTE = "Intervals (95 %): over test rows with one seed, over seeds with several."


def _perplexities(runs: list[Run], protocol: dict[str, str]) -> Table:
    """Perplexities that are counted alike."""
    named = {name: list(seeds.values()) for name, seeds in conditions(runs).items()}
    rows = [[name, str(len(members)), _cell(members, "test/perplexity")] for name, members in named.items()]
    note = f"Test set {protocol['test set']}, {protocol['test rows']} rows; {protocol['metric variant']}. {_NOTE}"
    return Table("Perplexity", ["", "seeds", "perplexity"], rows, note)


def _responders(runs: list[Run], protocol: dict[str, str]) -> Table:
    """Responder x policy, as study B prints them."""
    keys = [key for key in _RESPONDER if any(name.endswith(f"/{key}") for run in runs for name in run.metrics)]
    rows = []
    for name, seeds in conditions(runs).items():
        members = list(seeds.values())
        trained = Trained.of(members[0].config, members[0].manifest, members[0].metrics)
        policies = dict.fromkeys(key.split("/")[1] for run in members for key in run.metrics if key.count("/") == 2)
        for policy in policies:
            cells = [_cell(members, f"test/{policy}/{key}") for key in keys]
            told = "oracle (the gold turn's)" if policy == "oracle" else policy
            value = trained.published(policy)
            shown = "–" if value is None else words.number(value)
            rows.append([name, told, str(len(members)), *cells, shown])
    note = (
        f"{protocol['test rows']} rows of test set {protocol['test set']}. {_NOTE} BLEU: sacrebleu, 0 to 100; the last "
        "column is study B's BLEU, 0 to 1, of a variant that it doesn't state on a test set that can't be rebuilt: as "
        "published, not comparable."
    )
    scores = [*(words.metric(key) for key in keys), "B's BLEU as published"]
    columns = ["", "strategy from", "seeds", *scores]
    return Table(_TITLES["responder"], columns, rows, note)


def _planned(experiment: Experiment) -> Iterator[Table]:
    """The table that an experiment's `report` section describes, one for each protocol."""
    wanted = experiment.settings
    columns = [str(key) for key in wanted.get("columns") or []]
    groups: dict[Protocol, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in experiment.runs:
        key = next((key for key in columns if key in run.metrics), None)
        if key is not None:
            name = experiment.factors[run.name].get(str(wanted.get("rows")), run.name)
            groups[tuple(run.protocol(key).items())][name].append(run)
    for protocol, named in groups.items():
        alike = [key for key in columns if not _differing([run for runs in named.values() for run in runs], key)]
        rows = [[name, str(len(runs)), *(_cell(runs, key) for key in alike)] for name, runs in named.items()]
        note = f"Test set {dict(protocol)['test set']}. {_NOTE}"
        if apart := [key for key in columns if key not in alike]:
            note += f" Left out, since the runs count them in unlike ways: {', '.join(apart)}."
        yield Table(experiment.title, ["", "seeds", *(key.removeprefix("test/") for key in alike)], rows, note)


def _differing(runs: list[Run], key: str) -> list[str]:
    return unlike(run.protocol(key) for run in runs if key in run.metrics)


def _pictures(run: Run) -> Iterator[Picture]:
    """Confusion pictures that the run left."""
    for file in sorted(run.folder.glob("confusion_*.svg")):
        name = f"{file.stem}-{run.name}"
        alt = f"Confusion matrix of {run.name}: counts of gold and predicted labels."
        yield Picture(name, f"Confusion of {run.name}", alt, "As the run drew it.", file.read_bytes())
