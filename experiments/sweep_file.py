"""W&B's sweep files: what they hold, and the runs that follow from it."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from errors import DataError, UserError
from experiments.grid import Point, as_text, option_pairs

__all__ = ["Parameter", "Sweep", "read_sweep"]

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
        cap: Most runs, where there is a bound.
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
            Point(_name(number), values, self.configs, {**self.options, **values})
            for number, values in enumerate(self.drawn, 1)
        ]

    def names(self) -> list[str]:
        """What the runs are called, those too that a bayesian sweep is yet to draw."""
        count = self.cap or 0 if self.method == "bayes" else len(self.drawn)
        return [_name(number) for number in range(1, count + 1)]

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


def _name(number: int) -> str:
    return f"{number:03d}"


def _steps(parameter: Parameter) -> list[Any]:
    if parameter.values:
        return list(parameter.values)
    if parameter.distribution == "int_uniform":
        return list(range(int(parameter.low), int(parameter.high) + 1))
    count = math.ceil((parameter.high - parameter.low) / parameter.step)  # as numpy's arange, which W&B takes
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
    configs, options = _of_command(path, content.get("command"), problems)
    parameters = []
    for name, entry in content["parameters"].items():
        try:
            parameters.append(_parameter(str(name), entry, method))
        except ValueError as error:
            problems.append(f"{path}: parameter '{name}': {error}")
    metric = content.get("metric") or {}
    if not isinstance(metric, dict) or metric.get("goal", "minimize") not in ("minimize", "maximize"):
        problems.append(
            f"{path}: metric is {metric!r}; write {{name: test/level_f1_macro, goal: maximize}}, or minimize"
        )
    elif method == "bayes" and not metric.get("name"):
        problems.append(f"{path}: method bayes needs metric.name")
    cap = content.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        problems.append(f"{path}: run_cap is {cap!r}; it is a whole number of at least 1")
    if problems:
        raise DataError(problems)
    return Sweep(
        name=path.stem,
        method=str(method),
        configs=configs,
        options=options,
        parameters=parameters,
        metric=str(metric.get("name") or "test/level_f1_macro"),
        goal=str(metric.get("goal") or "minimize"),
        cap=cap,
    )


def _of_command(path: Path, command: Any, problems: list[str]) -> tuple[list[str], dict[str, str]]:
    """Config files and options that the command gives every run; where it is tracked and kept is ours to say."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    if "fit" not in words:
        problems.append(f"{path}: command holds no `fit`; see configs/sweeps/ for examples")
        return [], {}
    configs: list[str] = []
    options: dict[str, str] = {}
    of_fit = words[words.index("fit") + 1 :]
    for word, value in option_pairs([word for word in of_fit if not re.fullmatch(r"\$\{.*\}", word)]):
        name = word.removeprefix("--")
        if name == "config":
            configs.append(value or "")
        elif name not in ("logger", "project", "runs", "run_name"):
            options[name] = value or ""
    problems += [
        f"{path}: command: no file {file}; names are from the current folder"
        for file in configs
        if not Path(file).is_file()
    ]
    return configs, options


def _parameter(name: str, entry: Any, method: Any) -> Parameter:
    """A parameter, its distribution guessed as W&B does where none is given."""
    if not isinstance(entry, dict):
        raise ValueError(f"it is {entry!r}; write {{value: {entry}}}, {{values: [...]}} or {{min: ..., max: ...}}")
    distribution = entry.get("distribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        raise ValueError(f"distribution is {distribution!r}; here it is one of {', '.join(_DISTRIBUTIONS)}")
    if "value" in entry:
        return Parameter(name, "constant", [entry["value"]])
    if "values" in entry:
        if "probabilities" in entry:
            raise ValueError("probabilities are not available here; repeat values instead")
        if not isinstance(entry["values"], list) or not entry["values"]:
            raise ValueError(f"values is {entry['values']!r}; write a list of at least one")
        return Parameter(name, "categorical", entry["values"])
    if not {"min", "max"} <= entry.keys():
        raise ValueError("it has neither value, values, nor min and max")
    whole = all(isinstance(entry[key], int) for key in ("min", "max"))
    parameter = _range(name, distribution or ("int_uniform" if whole else "uniform"), entry)
    if method == "grid" and parameter.distribution not in ("int_uniform", "q_uniform"):
        raise ValueError("a grid needs values, int_uniform or q_uniform")
    if method == "grid" and not _steps(parameter):
        raise ValueError(f"there is no value from {entry['min']} to {entry['max']}")
    return parameter


def _range(name: str, distribution: str, entry: Mapping[str, Any]) -> Parameter:
    numbers: dict[str, float] = {}
    for key, value in {"q": 1.0, **entry}.items():
        if key in ("min", "max", "q"):
            try:
                numbers[key] = float(value)
            except (TypeError, ValueError):
                raise ValueError(f"{key} is {value!r}; write a number") from None
    low, high, step = numbers["min"], numbers["max"], numbers["q"]
    if low > high:
        raise ValueError(f"min {entry['min']} is above max {entry['max']}")
    if distribution == "log_uniform_values" and low <= 0:
        raise ValueError(f"min is {entry['min']}; log_uniform_values needs one above 0")
    if distribution == "q_uniform" and step <= 0:
        raise ValueError(f"q is {entry['q']}; it is a step above 0")
    return Parameter(name, distribution, low=low, high=high, step=step)
