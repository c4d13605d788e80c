"""Where a trained model comes in: named in the config by `class_path`, so that this package imports none."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from datamodules.records import MECHANISMS, Pair
from errors import UserError

__all__ = ["Scorer", "checked_levels", "load_scorer"]


class Scorer(Protocol):
    """A trained model that gives levels; a finished run of the empathy model is one."""

    def score(self, pairs: Sequence[Pair]) -> Sequence[Mapping[str, Any]]:
        """The levels of pairs: one `{"levels": {mechanism: 0 | 1 | 2}, ...}` a pair, in order."""
        ...


def load_scorer(config: Mapping[str, Any]) -> Scorer:
    """Builds what a config names.

    Args:
        config: `class_path`: a class, or a function or class method that returns the scorer, such as
            `inference.scorer.EmpathyScorer.load`; `init_args`: its arguments.

    Raises:
        UserError: There is no such thing, or it has no `score`.
    """
    if set(config) - {"class_path", "init_args"} or not isinstance(config.get("class_path"), str):
        raise UserError(
            "scorer: give class_path and init_args, such as {class_path: package.module.Class, init_args: {}}"
        )
    path = config["class_path"]
    scorer = _find(path)(**(config.get("init_args") or {}))
    if not callable(getattr(scorer, "score", None)):
        raise UserError(f"scorer: {path} gives a {type(scorer).__name__}, which has no method score(pairs)")
    found: Scorer = scorer
    return found


def _find(path: str) -> Any:
    """The object of a dotted path: the longest part that is a module, then attributes."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and not name.startswith(error.name):
                raise UserError(f"scorer: {name} needs the package {error.name}, which is not installed") from None
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if found is not None:
            return found
        break
    raise UserError(f"scorer: there is no '{path}'; give class_path as package.module.Class")


def checked_levels(scored: Sequence[Mapping[str, Any]], number: int) -> list[dict[str, int]]:
    """What a scorer gave, as levels of all three mechanisms.

    Raises:
        UserError: It is something else.
    """
    rows = [row.get("levels", {}) if isinstance(row, Mapping) else {} for row in scored]
    sound: list[dict[str, int]] = [{m: int(row[m]) for m in MECHANISMS if row.get(m) in (0, 1, 2)} for row in rows]
    if len(sound) != number or any(len(row) < len(MECHANISMS) for row in sound):
        raise UserError(
            f"scorer: for {number} pairs it must give as many mappings with 'levels' of {', '.join(MECHANISMS)}; use a "
            "model of all three mechanisms"
        )
    return sound
