"""`python cli.py sweep FILE --local`: the runs of a W&B sweep file, here and without an account."""

from __future__ import annotations

import argparse
import itertools
import math
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from errors import DataError, UserError
from experiments.command import options_of_fit, summary
from experiments.grid import Point, as_text

__all__ = ["Sweep", "main", "read_sweep"]

_METHODS = ("grid", "random", "bayes")
_DISTRIBUTIONS = (
    "constant", "categorical", "int_uniform", "uniform", "q_uniform", "log_uniform_values",
)  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """An option and the values that a sweep tries.

    Args:
        name: The option of `fit`.
        distribution: One of W&B's names.
        values: Of `constant` and `categorical`.
        low: Smallest value of the others.
        high: Largest value of the others.
        step: Of `q_uniform`.
    """

    name: str
    distribution: str
    values: Sequence[Any] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 1.0

    def draw(self, chooser: random.Random) -> Any:
        """A value at random."""
        if self.values:
            return chooser.choice(self.values)
        if self.distribution == "int_uniform":
            return chooser.randint(int(self.low), int(self.high))
        if self.distribution == "log_uniform_values":
            return math.exp(chooser.uniform(math.log(self.low), math.log(self.high)))
        value = chooser.uniform(self.low, self.high)
        return round(round(value / self.step) * self.step, 10) if self.distribution == "q_uniform" else value

    def suggest(self, trial: Any) -> Any:
        """A value that an Optuna trial suggests."""
        if self.values:
            choices = {as_text(value): value for value in self.values}
            return choices[trial.suggest_categorical(self.name, list(choices))]
        if self.distribution == "int_uniform":
            return trial.suggest_int(self.name, int(self.low), int(self.high))
        step = self.step if self.distribution == "q_uniform" else None
        log = self.distribution == "log_uniform_values"
        return trial.suggest_float(self.name, self.low, self.high, step=step, log=log)


@dataclass
class Sweep:
    """The runs of a sweep file, as far as they are known; a bayesian sweep adds to them.

    Args:
        name: The file's name.
        method: `grid`, `random` or `bayes`.
        configs: Config files of every run.
        options: Options of every run.
        parameters: What is tried.
        metric: What a bayesian sweep looks at.
        goal: `maximize` or `minimize`.
        cap: Most runs, where the file says so.
        drawn: The values of each run.
    """

    name: str
    method: str
    configs: list[str]
    options: dict[str, str]
    parameters: list[Parameter]
    metric: str
    goal: str
    cap: int | None
    drawn: list[dict[str, Any]] = field(default_factory=list)

    @property
    def protocol(self) -> str:
        """The last config's name."""
        return Path(self.configs[-1]).stem if self.configs else self.name

    def points(self) -> list[Point]:
        """Every run that is known."""
        return [
            Point(f"{number:03d}", values, self.configs, {**self.options, **values})
            for number, values in enumerate(self.drawn, 1)
        ]

    def to_dict(self) -> dict[str, Any]:
        """What `experiment.yaml` says."""
        report = {"kind": "table", "rows": "point", "columns": [self.metric]}
        return {
            "name": self.name, "title": f"Sweep {self.name} ({self.method})", "base": self.configs,
            "protocol": self.protocol, "set": self.options, "runs": self.drawn, "report": report,
        }  # fmt: skip

    def draw(self, seed: int, runs: int | None) -> None:
        """Fixes the runs of a grid or of a random search."""
        cap = runs or self.cap
        if self.method == "grid":
            names = [parameter.name for parameter in self.parameters]
            product = itertools.product(*(_steps(parameter) for parameter in self.parameters))
            self.drawn = [dict(zip(names, values, strict=True)) for values in itertools.islice(product, cap)]
        else:
            chooser = random.Random(seed)
            self.drawn = [
                {parameter.name: parameter.draw(chooser) for parameter in self.parameters} for _ in range(cap or 0)
            ]


def _steps(parameter: Parameter) -> list[Any]:
    if parameter.values:
        return list(parameter.values)
    if parameter.distribution == "int_uniform":
        return list(range(int(parameter.low), int(parameter.high) + 1))
    count = int((parameter.high - parameter.low) / parameter.step)
    return [round(parameter.low + number * parameter.step, 10) for number in range(count)]


def read_sweep(path: Path) -> Sweep:
    """Reads a sweep file as W&B does.

    Args:
        path: The file.

    Raises:
        DataError: It can't be run here; the message has all problems.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: can't be read as a sweep: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise UserError(f"{path}: no sweep file; it has no parameters")
    problems = []
    method = content.get("method")
    if method not in _METHODS:
        problems.append(f"{path}: method is {method!r}; here it is one of {', '.join(_METHODS)}")
    words = [str(word) for word in content.get("command") or []]
    if "fit" not in words:
        problems.append(f"{path}: command holds no `fit`; see configs/sweeps/ for examples")
    parameters = []
    for name, entry in content["parameters"].items():
        try:
            parameters.append(_parameter(str(name), entry, method))
        except ValueError as error:
            problems.append(f"{path}: parameter '{name}': {error}")
    metric = content.get("metric") or {}
    if method == "bayes" and not metric.get("name"):
        problems.append(f"{path}: method bayes needs metric.name")
    if problems:
        raise DataError(problems)
    configs, options = _of_command(words[words.index("fit") + 1 :])
    return Sweep(
        name=path.stem,
        method=str(method),
        configs=configs,
        options=options,
        parameters=parameters,
        metric=str(metric.get("name") or "test/level_f1_macro"),
        goal=str(metric.get("goal") or "minimize"),
        cap=content.get("run_cap"),
    )


def _of_command(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Config files and options that the command gives every run; where it is tracked and kept is ours to say."""
    joined = " ".join(word for word in words if not re.fullmatch(r"\$\{.*\}", word)).replace("--config ", "--config=")
    pairs = [word.removeprefix("--").partition("=")[::2] for word in joined.split(" ") if word]
    configs = [value for name, value in pairs if name == "config"]
    options = {name: value for name, value in pairs if name not in ("config", "logger", "project", "runs", "run_name")}
    return configs, options


def _parameter(name: str, entry: Mapping[str, Any], method: Any) -> Parameter:
    """A parameter, its distribution guessed as W&B does where none is given."""
    if "value" in entry:
        return Parameter(name, "constant", [entry["value"]])
    if "values" in entry:
        if "probabilities" in entry:
            raise ValueError("probabilities are not available here; repeat values instead")
        return Parameter(name, "categorical", entry["values"])
    if not {"min", "max"} <= entry.keys():
        raise ValueError("it has neither value, values, nor min and max")
    whole = all(isinstance(entry[key], int) for key in ("min", "max"))
    distribution = entry.get("distribution") or ("int_uniform" if whole else "uniform")
    if distribution not in _DISTRIBUTIONS:
        raise ValueError(f"distribution is {distribution!r}; here it is one of {', '.join(_DISTRIBUTIONS)}")
    if method == "grid" and distribution not in ("int_uniform", "q_uniform"):
        raise ValueError("a grid needs values, int_uniform or q_uniform")
    return Parameter(
        name, distribution, low=float(entry["min"]), high=float(entry["max"]), step=float(entry.get("q", 1.0))
    )


def build_parser() -> argparse.ArgumentParser:
    """The command's own options; those of `fit` go to every run."""
    parser = argparse.ArgumentParser(
        prog="cli.py sweep",
        usage="cli.py sweep FILE --local --output FOLDER [options] [options of fit, such as --data.reddit FOLDER]",
        description="Runs a W&B sweep file (configs/sweeps/*.yaml) on this machine, into a folder like that of "
        "`experiment`. For W&B itself: wandb sweep FILE, then wandb agent.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="the sweep's file")
    parser.add_argument("--local", action="store_true", help="run it here, without W&B")
    parser.add_argument("--output", help="folder of the results")
    parser.add_argument("--max_runs", type=int, help="most runs, instead of the file's run_cap")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    parser.add_argument("--retry_failed", action="store_true", help="run again what failed in an earlier start")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The arguments; None: those of the process.

    Returns:
        0, or 1 where a run failed.

    Raises:
        UserError: The file or the options are at fault.
    """
    options, rest = build_parser().parse_known_args(sys.argv[1:] if argv is None else argv)
    if not options.local:
        raise UserError(
            f"--local is missing; with a W&B account: wandb sweep {options.file}, then the wandb agent that it names"
        )
    sweep = read_sweep(Path(options.file))
    sweep.options |= options_of_fit(rest, "sweep")
    if not options.output:
        raise UserError("--output is missing: the folder of the results")
    if sweep.method != "grid" and not (options.max_runs or sweep.cap):
        raise UserError(f"a {sweep.method} sweep has no end of its own; give --max_runs, or run_cap in the file")
    output = Path(options.output).expanduser()
    if sweep.method == "bayes":
        return _bayes(sweep, output, options)
    sweep.draw(options.seed, options.max_runs)
    return _run(sweep, output, options.retry_failed)


def _run(sweep: Sweep, output: Path, retry_failed: bool, say: Callable[[str], None] = print) -> int:
    from experiments.runner import Runner

    state = Runner(sweep, output, retry_failed=retry_failed).run()
    say(summary(state, len(sweep.drawn)))
    say(str(output / "results.csv"))
    return 1 if state.failed else 0


def _bayes(sweep: Sweep, output: Path, options: argparse.Namespace) -> int:
    """One run after the other, each suggested by those before it; started again, the same suggestions are made."""
    try:
        import optuna
    except ImportError:
        raise UserError("method bayes needs Optuna: install the extra `sweeps`, or use grid or random") from None
    from sharing import sharing

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Literal["minimize", "maximize"] = "maximize" if sweep.goal == "maximize" else "minimize"
    sampler = optuna.samplers.TPESampler(seed=options.seed)
    study = optuna.create_study(direction=direction, sampler=sampler)
    status = 0
    with sharing():
        for _ in range(options.max_runs or sweep.cap or 0):
            trial = study.ask()
            sweep.drawn.append({parameter.name: parameter.suggest(trial) for parameter in sweep.parameters})
            status = _run(sweep, output, options.retry_failed, say=lambda line: None)
            value = last_value(output / "runs" / sweep.points()[-1].name, sweep.metric)
            study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
    return _run(sweep, output, retry_failed=False) or status


def last_value(run: Path, metric: str) -> float | None:
    """What a run's curve says last of a metric; None where it failed.

    Raises:
        UserError: The run has no such metric.
    """
    import csv

    if not run.is_dir():
        return None
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [float(row[metric]) for row in rows if row.get(metric)]
    if not values:
        near = ", ".join(name for name in rows[0] if name.split("/")[0] == metric.split("/")[0]) if rows else ""
        raise UserError(f"metric.name is {metric}, which {run} doesn't have" + (f"; it has {near}" if near else ""))
    return values[-1]
