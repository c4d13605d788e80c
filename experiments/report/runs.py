"""Run folders and experiment folders, read whole or refused with every problem named."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any, Literal

from datamodules.records import MECHANISMS
from errors import DataError
from experiments.ledger import events
from experiments.report.predictions import Predicted, read_levels, read_strategies
from metrics.estimates import Estimate

__all__ = ["Experiment", "Kind", "Run", "read_all"]

Kind = Literal["augment", "substitute"]
_TASKS = {"EmpathyModule": "empathy", "StrategyClassifier": "strategy", "StrategyResponder": "responder"}


@dataclass
class Run:
    """One finished run.

    Args:
        folder: Where it lies.
        config: `config.yaml`.
        manifest: `manifest.json`.
        metrics: `metrics.json`.
        environment: `environment.json`.
    """

    folder: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def task(self) -> str:
        """`empathy`, `strategy` or `responder`."""
        name = str(self.config["model"]["class_path"]).rpartition(".")[2]
        return _TASKS.get(name, name)

    @property
    def model(self) -> dict[str, Any]:
        """The model's options."""
        return dict(self.config["model"].get("init_args") or {})

    @property
    def data(self) -> dict[str, Any]:
        """The DataModule's options."""
        return dict(self.config["data"].get("init_args") or {})

    @property
    def seed(self) -> int:
        """The training seed."""
        return int(self.config["seed_everything"])

    @property
    def mechanisms(self) -> list[str]:
        """Those with test scores, in the fixed order."""
        return [name for name in MECHANISMS if f"test/{name}/level_accuracy" in self.metrics]

    @property
    def targets(self) -> list[str]:
        """What is recognised and tested: mechanisms, or `strategy`; nothing of a responder."""
        return ["strategy"] if self.task == "strategy" and "test/accuracy" in self.metrics else self.mechanisms

    @staticmethod
    def key(target: str, metric: str) -> str:
        """A target's metric in `metrics.json`."""
        return f"test/{metric}" if target == "strategy" else f"test/{target}/{metric}"

    @property
    def dosed(self) -> Kind | None:
        """Whether synthetic rows joined others in the run, and how."""
        mode = (self.data.get("mix") or {}).get("mode", "augment")
        if mode not in ("augment", "substitute") or not (self.manifest.get("mix") or {}).get("added"):
            return None
        return "substitute" if mode == "substitute" else "augment"

    @property
    def tested_on(self) -> str:
        """The sources of the test rows."""
        sources = self.manifest["splits"]["test"]["sources"]
        return " and ".join(sorted({name.partition("/")[0] for name in sources})) or "nothing"

    @property
    def generators(self) -> list[str]:
        """Who wrote the synthetic rows that trained."""
        sources = self.manifest["splits"]["train"]["sources"]
        return sorted(name.partition("/")[2] or name for name in sources if name.startswith("synthetic"))

    def protocol(self, key: str) -> dict[str, str]:
        """What must be the same for two numbers under `key` to stand in one table."""
        entry = self.metrics[key]["protocol"]
        found = {"task": self.task, "test set": entry["split_hash"], "test rows": str(self.metrics[key]["n"])}
        found["metric variant"] = entry["metric_variant"]
        if self.task == "empathy" and key.count("/") == 1:
            found["mean over"] = " and ".join(self.mechanisms)
        if self.task != "empathy":
            found["label space"] = str(self.data.get("label_space", "categories"))
        return found

    def value(self, key: str) -> float:
        """A score; nan where it isn't defined or there is none."""
        value = self.metrics[key]["value"] if key in self.metrics else None
        return nan if value is None else float(value)

    def estimate(self, key: str) -> Estimate:
        """A score that the run has, with its interval over test rows."""
        entry = self.metrics[key]
        low, high = (nan if entry[end] is None else float(entry[end]) for end in ("low", "high"))
        return Estimate(self.value(key), low, high, int(entry["n"] or 0))

    def trivial(self, key: str) -> float:
        """The trivial baseline's score under `key`; nan where there is none."""
        return next((self.value(key + end) for end in ("_majority", "_everything") if key + end in self.metrics), nan)

    def predictions(self) -> Iterator[dict[str, Any]]:
        """The test rows of `predictions.jsonl`, if there is one; read anew each time, for they hold whole texts.

        Raises:
            DataError: A line is cut off or isn't JSON.
        """
        file = self.folder / "predictions.jsonl"
        if not file.is_file():
            return
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise DataError([f"{file}, line {number}: not whole; predict again"]) from error
                if row.get("split", "test") == "test":
                    yield row

    def predicted(self, target: str) -> Predicted | None:
        """What was predicted of the test rows; None where the run has no predictions of the target."""
        return self._predicted.get(target)

    @cached_property
    def _predicted(self) -> dict[str, Predicted]:
        if self.task == "empathy":
            return read_levels(self.predictions())
        found = read_strategies(self.predictions()) if self.task == "strategy" else None
        return {} if found is None else {"strategy": found}

    def curve(self, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of a key of `metrics.csv`."""
        file = self.folder / "metrics.csv"
        if not file.is_file():
            return [], []
        with file.open(encoding="utf-8", newline="") as lines:
            rows = [(float(row["step"]), float(row[key])) for row in csv.DictReader(lines) if row.get(key)]
        return [step for step, _ in rows], [value for _, value in rows]


@dataclass
class Experiment:
    """A folder that `experiment` left, or runs given one by one.

    Args:
        name: The folder's name.
        title: What it is about.
        runs: The finished points.
        factors: Run's name -> factor -> value, as in `results.csv`; empty for runs given one by one.
        settings: The section `report` of `experiment.yaml`.
        options: What is set for every point.
        missing: Points without a result, with the reason.
        protocol: The protocol's name.
    """

    name: str
    title: str
    runs: list[Run]
    factors: dict[str, dict[str, str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    protocol: str = ""


def read_all(paths: Sequence[Path]) -> list[Experiment]:
    """Reads what was given.

    Args:
        paths: Run folders and experiment folders.

    Returns:
        The experiments, in their order, then the loose runs as one more.

    Raises:
        DataError: Folders that are neither, or damaged; all of them.
    """
    problems: list[str] = []
    experiments: list[Experiment] = []
    loose: list[Run] = []
    for path in dict.fromkeys(paths):
        if (path / "experiment.yaml").is_file():
            experiments.append(_read_experiment(path, problems))
        elif (run := _read_run(path, problems)) is not None:
            loose.append(run)
    if problems:
        raise DataError(problems)
    if loose:
        title = "Runs" if len(loose) > 1 else f"Run {loose[0].name}"
        experiments.append(Experiment("runs", title, loose))
    return experiments


def _read_run(folder: Path, problems: list[str]) -> Run | None:
    import yaml

    if not (folder / "config.yaml").is_file():
        problems.append(f"{folder}: neither a run's folder (config.yaml) nor an experiment's (experiment.yaml)")
        return None
    if not (folder / "metrics.json").is_file():
        problems.append(f"{folder}: the run has no metrics.json; let it finish, or run test --ckpt_path {folder}")
        return None
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        parts = [
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("manifest", "metrics", "environment")
        ]
        if not all(isinstance(part, dict) for part in (config, *parts)):
            raise ValueError("config.yaml, manifest.json, metrics.json or environment.json holds no mapping")
    except (OSError, ValueError, yaml.YAMLError) as error:
        problems.append(f"{folder}: not readable ({str(error).splitlines()[0]})")
        return None
    run = Run(folder, config, *parts)
    if not any(key.startswith("test/") for key in run.metrics):
        problems.append(f"{folder}: no test scores in metrics.json; run test --ckpt_path {folder}")
        return None
    return run


def _read_experiment(folder: Path, problems: list[str]) -> Experiment:
    import yaml

    try:
        grid = yaml.safe_load((folder / "experiment.yaml").read_text(encoding="utf-8"))
        with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["point"]: row for row in csv.DictReader(file)}
        if not isinstance(grid, dict) or "name" not in grid:
            raise ValueError("experiment.yaml holds no grid with a name")
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        problems.append(f"{folder}: not readable as an experiment ({str(error).splitlines()[0]})")
        return Experiment(folder.name, folder.name, [])
    gone = [point for point in rows if not (folder / "runs" / point).is_dir()]
    if gone:
        problems.append(
            f"{folder}: {', '.join(gone)} of results.csv can't be found in {folder / 'runs'}; the same experiment "
            "command runs again what is missing"
        )
    there = (folder / "runs" / point for point in rows if point not in gone)
    runs = [run for place in there if (run := _read_run(place, problems)) is not None]
    if not rows:
        problems.append(f"{folder}: no point is finished (results.csv has no row); run the experiment first")
    factors = _factors(grid)
    return Experiment(
        name=str(grid["name"]),
        title=str(grid.get("title") or grid["name"]),
        runs=runs,
        factors={
            point: {column: value for column, value in row.items() if column in factors} for point, row in rows.items()
        },
        settings=dict(grid.get("report") or {}),
        options=dict(grid.get("set") or {}),
        missing=_missing(folder / "ledger.jsonl", set(rows)),
        protocol=str(grid.get("protocol") or ""),
    )


def _factors(grid: Mapping[str, Any]) -> set[str]:
    """What a grid varies, or the parameters that a sweep draws."""
    return {"seed", *(grid.get("factors") or ()), *(name for values in grid.get("runs") or () for name in values)}


def _missing(ledger: Path, done: set[str]) -> dict[str, str]:
    """Points that failed and were not made good."""
    failed = (event for event in events(ledger) if event["event"] == "failed" and event["point"] not in done)
    return {event["point"]: str(event.get("error") or "failed").splitlines()[0] for event in failed}
