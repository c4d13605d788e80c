"""Where a trained model comes in: named in the config by `class_path`, so that this package imports none."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from datamodules.records import LEVELS, MECHANISMS, Pair
from errors import UserError

__all__ = ["Scorer", "checked_levels", "load_scorer"]


class Scorer(Protocol):
    """A trained model that gives levels; a finished run of the empathy model is one (`inference.scorer`)."""

    def score(self, pairs: Sequence[Pair]) -> Sequence[Any]:
        """One score a pair, in order, with `levels` (an attribute or a key): mechanism -> 0, 1 or 2."""
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


def checked_levels(scores: Sequence[Any], number: int) -> list[dict[str, int]]:
    """What a scorer gave, as levels of the mechanisms that it knows.

    Args:
        scores: What `score` returned.
        number: How many pairs it was given.

    Raises:
        UserError: It is something else.
    """
    found: list[Any] = [
        score.get("levels") if isinstance(score, Mapping) else getattr(score, "levels", None) for score in scores
    ]
    sound = len(found) == number and all(
        isinstance(levels, Mapping) and all(levels.get(m, 0) in LEVELS for m in MECHANISMS) for levels in found
    )
    if not sound:
        raise UserError(
            f"scorer: for {number} pairs it must give as many scores with 'levels' {{mechanism: 0, 1 or 2}}"
        )
    return [{m: int(levels[m]) for m in MECHANISMS if m in levels} for levels in found]
