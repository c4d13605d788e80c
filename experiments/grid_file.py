"""Grid files: what they hold, and what stands on the command line in its place. Reads no other data."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from errors import DataError, UserError
from experiments.grid import CONFIG, Grid, as_list, as_text, overlap, plain_option

__all__ = ["factor_values", "read_grid"]

_KEYS = {
    "name", "title", "base", "protocol", "set", "without", "factors", "checkpoints", "seconds_a_point", "report",
    "tested_on",
}  # fmt: skip

_OF_CURVES = ("x", "line", "panel", "repeat")
"""Keys of a report of curves that name a factor."""

Factors = Mapping[str, Sequence[tuple[Any, dict[str, Any]]]]
"""Factor -> (value, options that it stands for)."""


def factor_values(given: Sequence[str]) -> dict[str, Any]:
    """What `--factor NAME=VALUES` says, each time that it is given, as factor -> values.

    Args:
        given: The words behind `--factor`.

    Raises:
        DataError: One can't be read, or two are of one factor; the message has all problems.
    """
    values: dict[str, Any] = {}
    problems = []
    for word in given:
        name, equals, text = word.partition("=")
        if not equals:
            problems.append(f"--factor {word}: write NAME=VALUES, such as 'seed=[12, 13]'")
        elif name in values:
            problems.append(f"--factor {name} is given twice; give all its values in one")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"--factor {word}: the values are no YAML; write them as a grid's file does")
    if problems:
        raise DataError(problems)
    return values


def read_grid(path: Path, options: Mapping[str, Any] | None = None, own: Mapping[str, Any] | None = None) -> Grid:
    """Reads a grid's file.

    Args:
        path: A file such as configs/experiments/augmentation.yaml.
        options: Options of every run that go over the file's own.
        own: Factor -> values that stand for the file's, written as there.

    Returns:
        The grid.

    Raises:
        DataError: The file is not a grid, or the rest doesn't go with it; the message has all problems.
    """
    content = _content(path)
    options, own = options or {}, own or {}
    problems = [f"{path}: unknown key '{key}'; a grid has {', '.join(sorted(_KEYS))}" for key in content.keys() - _KEYS]
    maps = {name: _mapping(content.get(name), f"{path}: {name}", problems) for name in ("set", "factors", "report")}
    without = _mapping(content.get("without"), f"{path}: without", problems)
    without = {name: _mapping(more, f"{path}: without: {name}", problems) for name, more in without.items()}
    base = [str(file) for file in as_list(content.get("base"))]
    problems += _missing(f"{path}: base", base)
    factors = _factors(path, maps["factors"], own, problems)
    seconds = content.get("seconds_a_point")
    if seconds is not None and not _above_zero(seconds):
        problems.append(f"{path}: seconds_a_point is {seconds!r}; it is a number above 0")
    report = _with_repeat(maps["report"], factors)
    problems += [f"{path}: report: {problem}" for problem in _report_problems(report, factors)]
    problems += _taken_away(options, factors)
    if problems:
        raise DataError(problems)
    fixed = maps["set"]
    given = {*fixed, *options, *(name for levels in factors.values() for _, more in levels for name in more)}
    instead = {name: more for name, more in without.items() if name not in given}
    for more in instead.values():
        fixed = fixed | more
    return Grid(
        name=str(content.get("name") or path.stem),
        title=str(content.get("title") or content.get("name") or path.stem),
        base=base,
        factors=factors,
        options={**fixed, **options},
        instead=instead,
        protocol=str(content.get("protocol") or (Path(base[-1]).stem if base else path.stem)),
        checkpoints=bool(content.get("checkpoints", False)),
        seconds_a_point=seconds,
        report=report,
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: can't be read as a grid: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a grid; see configs/experiments/ for examples")
    return content


def _mapping(value: Any, place: str, problems: list[str]) -> dict[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    problems.append(f"{place}: write `name: value`, a line each")
    return {}


def _missing(place: str, files: Sequence[str]) -> list[str]:
    return [f"{place}: no file {file}; names are from the current folder" for file in files if not Path(file).is_file()]


def _above_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _factors(
    path: Path, written: Mapping[str, Any], own: Mapping[str, Any], problems: list[str]
) -> dict[str, list[tuple[Any, dict[str, Any]]]]:
    """Every factor's levels; where values are given anew, what they are values of stays."""
    if not written:
        problems.append(f"{path}: no factors; give at least one with values")
    names = [str(name) for name in written]
    problems += [
        f"--factor {name}: the grid has no such factor; it has {', '.join(names)}" for name in own if name not in names
    ]
    factors = {}
    for name, factor in zip(names, written.values(), strict=True):
        place = f"{path}: factor '{name}'"
        if name in own:
            place = f"--factor {name}"
            option = factor.get("option") if isinstance(factor, dict) else None
            factor = {"option": option, "values": own[name]}
        try:
            factors[name] = _levels(factor)
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        for _, options in factors[name]:
            problems += _missing(place, [str(file) for file in as_list(options.get(CONFIG))])
    return factors


def _levels(factor: Any) -> list[tuple[Any, dict[str, Any]]]:
    """A factor's values and the options that each stands for."""
    if not isinstance(factor, dict) or not factor.keys() <= {"option", "values", "range"}:
        raise ValueError("write `values`, or `range` ([first, last, step]), and `option`: what they are values of")
    values = _values(factor)
    names = as_list(factor.get("option"))
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


def _values(factor: Mapping[str, Any]) -> list[Any]:
    values = factor.get("values")
    if "range" in factor:
        ends = factor["range"]
        if not isinstance(ends, list) or len(ends) != 3 or not all(isinstance(end, int) for end in ends):
            raise ValueError("range is [first, last, step] in whole numbers; write other values out")
        first, last, step = ends
        values = list(range(first, last + 1, step))
    if isinstance(values, dict):
        values = [{"value": value, "options": options} for value, options in values.items()]
    if values is None or values == []:
        raise ValueError("no values")
    if not isinstance(values, list):
        raise ValueError(f"values is {values!r}; write a list, or `value: {{option: its value}}`, a line each")
    return values


def _taken_away(options: Mapping[str, Any], factors: Factors) -> Iterator[str]:
    """Options that a factor would override."""
    for name, given in options.items():
        for factor, levels in factors.items():
            for value, settings in levels:
                theirs = [str(key) for key in settings if overlap(name, str(key))]
                if not theirs:
                    continue
                example = _other_values(name, given, value, settings)
                way = f", such as --factor {shlex.quote(f'{factor}={example}')}" if example else " (--factor)"
                said = f"--{name} {given}: the grid's factor '{factor}' sets {theirs[0]}"
                yield f"{said}; give the factor other values{way}"
                break


def _other_values(name: str, given: Any, value: Any, settings: Mapping[str, Any]) -> str:
    """A factor's values that give an option of it; empty where the option is wider or narrower than the factor's."""
    theirs = [key for key in settings if overlap(name, key)]
    if any(plain_option(name) != plain_option(key) for key in theirs):
        return ""
    if all(setting == value for setting in settings.values()):
        return f"[{given}]"
    others = {key: setting for key, setting in settings.items() if key not in theirs}
    pairs = (f"{key}: {as_text(setting)}" for key, setting in {**others, name: given}.items())
    return f"{{mine: {{{', '.join(pairs)}}}}}"


def _with_repeat(report: Mapping[str, Any], factors: Factors) -> dict[str, Any]:
    """What is to be shown, `repeat` being the factor that sets nothing but seeds where none is named."""
    seeds = (
        name
        for name, levels in factors.items()
        if all("seed_everything" in options for _, options in levels)
        and all(option.rpartition(".")[2].startswith("seed") for _, options in levels for option in options)
    )
    repeat = report.get("repeat") or next(seeds, None)
    return {**report, "repeat": repeat} if report and repeat else dict(report)


def _report_problems(report: Mapping[str, Any], factors: Factors) -> list[str]:
    if not report:
        return []
    if report.get("kind") not in ("curves", "table"):
        return [f"kind is {report.get('kind')!r}; it is curves or table"]
    needed = {"curves": ("x", "metrics"), "table": ("rows", "columns")}[report["kind"]]
    problems = [f"{key} is missing" for key in needed if not report.get(key)]
    problems += [
        f"{key} is '{report[key]}'; the factors are {', '.join(factors)}"
        for key in ("x", "rows", "repeat", "line")
        if report.get(key) and str(report[key]) not in factors
    ]
    for value, _ in factors.get(str(report.get("x")), ()) if report["kind"] == "curves" else ():
        try:
            float(value)
        except (TypeError, ValueError):
            problems.append(f"x is '{report['x']}', whose value '{value}' is no number")
    return problems or list(_unnamed(report, factors))


def _unnamed(report: Mapping[str, Any], factors: Factors) -> Iterator[str]:
    """Factors that would put several runs on one place of a curve."""
    named = {str(report[key]) for key in _OF_CURVES if report.get(key)}
    for factor, levels in factors.items():
        if report["kind"] == "curves" and factor not in named and len(levels) > 1:
            yield (
                f"curves have no place for the factor '{factor}'; name it as {', '.join(_OF_CURVES[:-1])} or "
                f"{_OF_CURVES[-1]}, give it one value, or write kind: table"
            )
