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
    configs: list[str] = []
    options: dict[str, str] = {}
    for word, value in option_pairs([word for word in words if not re.fullmatch(r"\$\{.*\}", word)]):
        name = word.removeprefix("--")
        if name == "config":
            configs.append(value or "")
        elif name not in ("logger", "project", "runs", "run_name"):
            options[name] = value or ""
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
