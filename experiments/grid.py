"""A grid of runs as data: a base config, factors and their values, and what is to be reported. Reads no other data."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import yaml

from errors import DataError, UserError

__all__ = ["Grid", "Point", "Series", "as_text", "option_pairs", "read_grid"]

CONFIG = "config"
"""What a factor's value calls a config file of its own; every other key is an option of `fit`."""


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Args:
        name: Its folder's name, unique in the grid.
        values: Factor -> value, as a table prints it.
        configs: Config files, later ones over earlier ones.
        options: Options of `fit` over the configs.
    """

    name: str
    values: Mapping[str, Any]
    configs: Sequence[str]
    options: Mapping[str, Any]

    def flags(self) -> list[str]:
        """The arguments of the `fit` that this run is, without where it is kept."""
        files = [word for file in self.configs for word in ("--config", file)]
        return [*files, *(f"--{name}={as_text(value)}" for name, value in self.options.items())]

    def command(self) -> str:
        """The same as a line for a shell."""
        return shlex.join(["python", "cli.py", "fit", *self.flags()])

    @cached_property
    def digest(self) -> str:
        """Names what the run depends on: its options and the contents of its configs."""
        digest = hashlib.sha256(json.dumps(self.flags()).encode())
        for file in self.configs:
            digest.update(Path(file).read_bytes())
        return digest.hexdigest()[:16]


def as_text(value: Any) -> str:
    """A value as `fit` reads it on the command line."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def option_pairs(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Options as a command line has them: `--name=VALUE`, `--name VALUE` or `--name VALUE VALUE`.

    Args:
        words: The words of a command line.

    Yields:
        A word with its `--` and its value, several as a JSON list; None behind a word that has none.
    """
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        values = [value] if equals else []
        if not equals and name.startswith("--"):
            values = list(itertools.takewhile(lambda word: not word.startswith("--"), left))
            left = left[len(values) :]
        yield name, (json.dumps(values) if len(values) > 1 else values[0] if values else None)


class Series(Protocol):
    """What can be run: a grid, or the runs of a sweep."""

    @property
    def protocol(self) -> str:
        """What tables call the way of training and testing."""

    def points(self) -> list[Point]:
        """Every run, in order."""

    def to_dict(self) -> dict[str, Any]:
        """What `experiment.yaml` says of it."""


@dataclass
class Grid:
    """A factorial series of runs.

    Args:
        name: Its name.
        title: What it shows, for headings.
        base: Config files of every run.
        factors: Factor -> (value, options that it stands for), in order; the first turns slowest.
        options: Options of every run.
        instead: Option that is not given -> options that every run has because of it (they are in `options`).
        protocol: What tables call the way of training and testing.
        checkpoints: Whether runs keep their checkpoints.
        seconds_a_point: What a run takes, for the first estimate.
        report: What is to be shown of it (docs/experiments.md).
    """

    name: str
    title: str
    base: list[str]
    factors: dict[str, list[tuple[Any, dict[str, Any]]]]
    options: dict[str, Any] = field(default_factory=dict)
    instead: dict[str, dict[str, Any]] = field(default_factory=dict)
    protocol: str = ""
    checkpoints: bool = False
    seconds_a_point: float | None = None
    report: dict[str, Any] = field(default_factory=dict)

    def points(self) -> list[Point]:
        """Every run, in the grid's order."""
        points: list[Point] = []
        for combination in itertools.product(*self.factors.values()):
            values = dict(zip(self.factors, (value for value, _ in combination), strict=True))
            options = dict(self.options)
            for _, settings in combination:
                options |= settings
            configs = [*self.base, *_as_list(options.pop(CONFIG, None))]
            if not self.checkpoints:
                options["keep_checkpoints"] = False
            points.append(Point(_slug(values), values, configs, options))
        names = [point.name for point in points]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"grid '{self.name}': two runs would be called '{twice}'; let the factors' values differ")
        return points

    def to_dict(self) -> dict[str, Any]:
        """As `experiment.yaml` holds it: read again, it is the same grid."""
        factors = {
            name: {"values": [{"value": value, "options": options} for value, options in levels]}
            for name, levels in self.factors.items()
        }
        return {
            "name": self.name, "title": self.title, "base": self.base, "protocol": self.protocol,
            "set": self.options, "factors": factors, "checkpoints": self.checkpoints,
            "seconds_a_point": self.seconds_a_point, "report": self.report,
        }  # fmt: skip


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _slug(values: Mapping[str, Any]) -> str:
    """The run's name, for people and file systems."""
    parts = [re.sub(r"[^\w.]+", "_", as_text(value)).strip("_") or "none" for value in values.values()]
    return "-".join(parts)[:120]


_KEYS = {
    "name", "title", "base", "protocol", "set", "without", "factors", "checkpoints", "seconds_a_point", "report",
    "tested_on",
}  # fmt: skip


def read_grid(path: Path, options: Mapping[str, Any] | None = None) -> Grid:
    """Reads a grid's file.

    Args:
        path: A file such as configs/experiments/augmentation.yaml.
        options: Options of every run that go over the file's own.

    Returns:
        The grid.

    Raises:
        DataError: The file is not a grid; the message has all problems.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: can't be read as a grid: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a grid; see configs/experiments/ for examples")
    problems = [f"{path}: unknown key '{key}'; a grid has {', '.join(sorted(_KEYS))}" for key in content.keys() - _KEYS]
    maps = {name: content.get(name) or {} for name in ("set", "without", "factors", "report")}
    for name, value in maps.items():
        if not isinstance(value, dict):
            problems.append(f"{path}: {name}: write `name: value`, a line each")
            maps[name] = {}
    base = [str(file) for file in _as_list(content.get("base"))]
    problems += [
        f"{path}: base: no file {file}; names are from the current folder" for file in base if not Path(file).is_file()
    ]
    factors: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
    for name, factor in maps["factors"].items():
        try:
            factors[str(name)] = _levels(factor)
        except ValueError as error:
            problems.append(f"{path}: factor '{name}': {error}")
    if not content.get("factors"):
        problems.append(f"{path}: no factors; give at least one with values")
    report = maps["report"]
    problems += [f"{path}: report: {problem}" for problem in _report_problems(report, factors)]
    if problems:
        raise DataError(problems)
    fixed = maps["set"]
    given = {*fixed, *(options or {}), *(name for levels in factors.values() for _, more in levels for name in more)}
    instead = {name: more for name, more in maps["without"].items() if name not in given}
    for more in instead.values():
        fixed = fixed | more
    return Grid(
        name=str(content.get("name") or path.stem),
        title=str(content.get("title") or content.get("name") or path.stem),
        base=base,
        factors=factors,
        options={**fixed, **(options or {})},
        instead=instead,
        protocol=str(content.get("protocol") or (Path(base[-1]).stem if base else path.stem)),
        checkpoints=bool(content.get("checkpoints", False)),
        seconds_a_point=content.get("seconds_a_point"),
        report=report,
    )


def _levels(factor: Any) -> list[tuple[Any, dict[str, Any]]]:
    """A factor's values and the options that each stands for."""
    if not isinstance(factor, dict) or not factor.keys() <= {"option", "values", "range"}:
        raise ValueError("write `values`, or `range` ([first, last, step]), and `option`: what they are values of")
    values = factor.get("values")
    if "range" in factor:
        ends = factor["range"]
        if not isinstance(ends, list) or len(ends) != 3 or not all(isinstance(end, int) for end in ends):
            raise ValueError("range is [first, last, step] in whole numbers; write other values out")
        first, last, step = ends
        values = list(range(first, last + 1, step))
    if isinstance(values, dict):
        values = [{"value": value, "options": options} for value, options in values.items()]
    if not values:
        raise ValueError("no values")
    names = _as_list(factor.get("option"))
    levels = []
    for value in values:
        if isinstance(value, dict) and value.keys() == {"value", "options"}:
            if not isinstance(value["options"], dict | None):
                raise ValueError(f"the options of '{value['value']}' are not of the form `name: value`")
            levels.append((value["value"], dict(value["options"] or {})))
        elif names:
            levels.append((value, dict.fromkeys(names, value)))
        else:
            raise ValueError("`option` says what the values are values of (data.mix.count), or each value has options")
    return levels


def _report_problems(
    report: Mapping[str, Any], factors: Mapping[str, Sequence[tuple[Any, dict[str, Any]]]]
) -> list[str]:
    if not report:
        return []
    if report.get("kind") not in ("curves", "table"):
        return [f"kind is {report.get('kind')!r}; it is curves or table"]
    needed = {"curves": ("x", "metrics"), "table": ("rows", "columns")}[report["kind"]]
    problems = [f"{key} is missing" for key in needed if not report.get(key)]
    problems += [
        f"{key} is '{report[key]}'; the factors are {', '.join(factors)}"
        for key in ("x", "rows", "repeat", "line")
        if report.get(key) and report[key] not in factors
    ]
    for value, _ in factors.get(str(report.get("x")), ()) if report["kind"] == "curves" else ():
        try:
            float(value)
        except (TypeError, ValueError):
            problems.append(f"x is '{report['x']}', whose value '{value}' is no number")
    return problems
