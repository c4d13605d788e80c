"""The end of a report: protocol and manifests, folded where they are long; no paths, no texts."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import PurePath
from typing import Any

from experiments.report import words
from experiments.report.document import Details, Section
from experiments.report.runs import Experiment, Run
from pages import Table

__all__ = ["caveats", "facts", "record_section"]


def caveats(experiments: list[Experiment]) -> list[str]:
    """What every page has to say first."""
    runs = [run for experiment in experiments for run in experiment.runs]
    found = []
    tested = sorted({run.tested_on for run in runs if run.task == "empathy"})
    if tested and "clinical" not in " ".join(tested):
        where = "the held-out Reddit split" if tested == ["reddit"] else f"held-out rows of {' and '.join(tested)}"
        given = any(run.data.get("clinical") for run in runs if run.task == "empathy")
        told = "The clinical table that was given doesn't test" if given else "No clinical table was given"
        found.append(f"{told}: the tests are on {where}, not on clinical conversations.")
    elif any(each != "clinical" for each in tested):
        found.append("Some runs test on held-out rows that are not clinical; their numbers stand in tables apart.")
    limits = [(run.config.get("trainer") or {}).get("limit_train_batches") for run in runs]
    if limited := sum(limit not in (None, 1.0) for limit in limits):
        found.append(f"{limited} of {len(runs)} runs trained on a part of their rows (trainer.limit_train_batches).")
    return found


def facts(experiments: list[Experiment]) -> dict[str, str]:
    """What was run."""
    runs = [run for experiment in experiments for run in experiment.runs]
    tests = dict.fromkeys(f"{run.manifest['splits']['test']['rows']:,} rows of {run.tested_on}" for run in runs)
    encoders = {str(run.model.get("encoder") or run.model.get("model") or "a small model") for run in runs}
    found = {
        "Runs": f"{len(runs)}, {words.seeds(len({run.seed for run in runs}))}",
        "Model": ", ".join(sorted(PurePath(name).name for name in encoders)),
        "Tested on": "; ".join(tests),
        "Protocol": ", ".join(dict.fromkeys(e.protocol for e in experiments if e.protocol)) or _checkpoints(runs),
    }
    generators = sorted({name for run in runs for name in run.generators})
    if generators:
        found["Synthetic rows by"] = ", ".join(generators)
    dates = sorted(str(run.environment.get("date", ""))[:10] for run in runs)
    found["Run on"] = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return found


def _checkpoints(runs: list[Run]) -> str:
    tested = sorted({str(next(iter(run.metrics.values()))["protocol"].get("checkpoint")) for run in runs})
    return f"checkpoint tested: {', '.join(tested)}"


def record_section(experiments: list[Experiment]) -> Section:
    """Protocols, a row a run, and each distinct manifest and environment."""
    runs = [run for experiment in experiments for run in experiment.runs]
    section = Section(
        "Protocol and manifests",
        [
            "Everything that decides on a number, so that it can be made again: each run's config.yaml reruns it with "
            "`python cli.py fit --config`. Manifests hold counts and hashes, never text."
        ],
    )
    rows = [_row(run) for run in runs]
    section.blocks.append(
        Table(
            "Runs",
            ["run", "seed", "checkpoint", "test set", "test rows", "training rows", "added", "replaced", "rows' hash"],
            rows,
            "The rows' hash is of the training rows' ids, its first twelve digits.",
        )
    )
    for what, told in (("manifest", "Manifest"), ("config", "Configuration"), ("environment", "Environment")):
        section.blocks += _folded(runs, what, told)
    return section


def _row(run: Run) -> list[str]:
    protocol = next(iter(run.metrics.values()))["protocol"]
    train, test = (run.manifest["splits"][name] for name in ("train", "test"))
    mix = run.manifest.get("mix") or {}
    return [
        run.name, str(run.seed), str(protocol.get("checkpoint")), str(protocol["split_hash"]), f"{test['rows']:,}",
        f"{train['rows']:,}", f"{mix.get('added', 0):,}", f"{mix.get('removed', 0):,}", train["ids_sha256"][:12],
    ]  # fmt: skip


def _folded(runs: list[Run], what: str, title: str) -> list[Details]:
    """The first run's file whole, for the others only what is unlike it."""
    first, *others = runs
    blocks = [Details(f"{title} of {first.name}", _json(_shown(first, what)))]
    base = dict(_flat(_shown(first, what)))
    apart: dict[str, list[str]] = defaultdict(list)
    for run in others:
        own = dict(_flat(_shown(run, what)))
        keys = [key for key in (own | base) if own.get(key) != base.get(key)]
        lines = [f"{key}: {json.dumps(own.get(key), ensure_ascii=False)}" for key in keys]
        apart["\n".join(lines)].append(run.name)
    if told := "\n\n".join(f"{', '.join(names)}\n{lines}" for lines, names in apart.items() if lines):
        blocks.append(Details(f"{title}: how the other runs differ", told))
    return blocks


def _shown(run: Run, what: str) -> Any:
    """A run's file without the places on this machine."""
    return _without_places(getattr(run, what))


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    return PurePath(value).name if isinstance(value, str) and value.startswith("/") else value


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for key, item in value.items() for pair in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, value)]


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
