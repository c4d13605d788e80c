"""A grid of runs as data: its factors and their values, and the runs that follow from them."""

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

from errors import UserError

__all__ = ["CONFIG", "Grid", "Point", "Series", "as_list", "as_text", "option_pairs", "overlap", "plain_option"]

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


def overlap(name: str, other: str) -> bool:
    """Whether one option of `fit` sets what another does, as `data.mix` and `data.init_args.mix.count` do."""
    first, second = (plain_option(option) + "." for option in (name, other))
    return first.startswith(second) or second.startswith(first)


def plain_option(name: str) -> str:
    """The one name of an option that has two, as `data.mix` and `data.init_args.mix` are."""
    return re.sub(r"^(data|model)\.init_args\.", r"\1.", name)


class Series(Protocol):
    """What can be run: a grid, or the runs of a sweep."""

    @property
    def protocol(self) -> str:
        """What tables call the way of training and testing."""

    def points(self) -> list[Point]:
        """Every run, in order."""

    def names(self) -> list[str]:
        """What the runs are called, those too that aren't known yet."""

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
            options, configs = dict(self.options), list(self.base)
            configs += as_list(options.pop(CONFIG, None))
            for _, settings in combination:
                configs += as_list(settings.get(CONFIG))
                options |= {name: value for name, value in settings.items() if name != CONFIG}
            if not self.checkpoints:
                options["keep_checkpoints"] = False
            points.append(Point(_slug(values), values, configs, options))
        names = [point.name for point in points]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"grid '{self.name}': two runs would be called '{twice}'; let the factors' values differ")
        return points

    def names(self) -> list[str]:
        """What the runs are called."""
        return [point.name for point in self.points()]

    def to_dict(self) -> dict[str, Any]:
        """As `experiment.yaml` holds it: read again, it is the same grid."""
        factors = {name: _written(levels) for name, levels in self.factors.items()}
        return {
            "name": self.name, "title": self.title, "base": self.base, "protocol": self.protocol,
            "set": self.options, "factors": factors, "checkpoints": self.checkpoints,
            "seconds_a_point": self.seconds_a_point, "report": self.report,
        }  # fmt: skip


def _written(levels: Sequence[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    """A factor as a file has it: values of one or several options, or values with options of their own."""
    names = list(levels[0][1])
    if names and all(options == dict.fromkeys(names, value) for value, options in levels):
        return {"option": names, "values": [value for value, _ in levels]}
    return {"values": [{"value": value, "options": options} for value, options in levels]}


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as a list of it, nothing as none."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _slug(values: Mapping[str, Any]) -> str:
    """The run's name, for people and file systems."""
    parts = [re.sub(r"[^\w.]+", "_", as_text(value)).strip("_") or "none" for value in values.values()]
    return "-".join(parts)[:120]
