"""Prompts as data: frames, what each cell says of its target, and the lists that variety is drawn from.

A template's placeholders are `$name` or `${name}`; a dollar sign is `$$`. `$cell` in a frame is replaced by the cell's
own text for that role, which may hold placeholders itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any, Literal

from datamodules.records import LEVELS, MECHANISMS, Pair
from errors import DataError, UserError
from synthesis.engines import Message
from synthesis.targets import Cell

__all__ = ["FRAMES", "Prompts", "combinations", "load_prompts", "scenarios", "short_hash", "show_examples"]

Kind = Literal["empathy", "strategy"]

CELL_ROLES = ("actor", "evaluator", "reflection")
"""Roles for which each cell has its own text."""

FRAMES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "system": (frozenset(), frozenset()),
    "actor": (frozenset({"cell", "format", "memory"}), frozenset({"examples", "exchanges"})),
    "evaluator": (frozenset({"cell", "dialogue", "format"}), frozenset()),
    "reflection": (frozenset({"cell", "dialogue", "reason"}), frozenset()),
    "labels": (frozenset({"dialogue", "format"}), frozenset()),
    "rationales": (frozenset({"dialogue", "format", "labels"}), frozenset()),
}
"""Frame -> (placeholders it must have, placeholders it may have besides); the actor has one for each variety list too.
`labels` and `rationales` are needed for the kind empathy only."""

_CELL = re.compile(r"\$(?:\{cell\}|cell\b)")


def short_hash(value: Any) -> str:
    """12 hex digits of the SHA-256 of a text, or of a value's canonical JSON."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Prompts:
    """A prompts file, checked.

    Args:
        path: Where it was read.
        kind: What its cells are: mechanism x level, or strategies.
        frames: Role -> template.
        cells: `mechanism/level` or strategy -> role -> the cell's text.
        variety: Name -> what is drawn from.
        hash: Of all of the above: the version.
    """

    path: str
    kind: Kind
    frames: Mapping[str, str]
    cells: Mapping[str, Mapping[str, str]]
    variety: Mapping[str, Sequence[str]]
    hash: str

    def template(self, role: str, cell: Cell) -> str:
        """The template of a role for a cell, placeholders unfilled."""
        own = self.cells[_key(cell)].get(role, "")
        return _CELL.sub(lambda _: own, self.frames[role])

    def template_hash(self, role: str, cell: Cell) -> str:
        """The version of one template (with the system text that goes before it)."""
        return _pair_hash(self.frames["system"], self.template(role, cell))

    def messages(self, role: str, cell: Cell, values: Mapping[str, str]) -> list[Message]:
        """The messages of a call.

        Args:
            role: The frame's name.
            cell: The target.
            values: Placeholder -> text; those that the template doesn't use are ignored.
        """
        text = Template(self.template(role, cell)).substitute(values).strip()
        messages = [{"role": "system", "content": Template(self.frames["system"]).substitute().strip()}]
        return [*(message for message in messages if message["content"]), {"role": "user", "content": text}]

    @property
    def strategies(self) -> list[str]:
        """The cells' names where they are strategies."""
        return list(self.cells) if self.kind == "strategy" else []


@lru_cache(maxsize=4096)
def _pair_hash(system: str, template: str) -> str:
    return short_hash([system, template])


def _key(cell: Cell) -> str:
    return f"{cell.mechanism}/{cell.level}" if cell.mechanism else str(cell.strategy)


def load_prompts(path: Path, kind: Kind, cells: Sequence[Cell] | None = None) -> Prompts:
    """Reads a prompts file and checks that nothing will be missing in the middle of a run.

    Args:
        path: YAML with `frames`, `cells` and `variety` (docs/synthesis.md describes it).
        kind: What the run makes.
        cells: The cells that must be there; None: those that the file has, at least one.

    Returns:
        The prompts.

    Raises:
        DataError: With all that is missing, unknown or empty.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"prompts '{path}' can't be read: {error.strerror}; give the path of a YAML file") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"prompts '{path}' is no YAML text: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(k), dict) for k in ("frames", "cells", "variety")
    ):
        raise UserError(f"prompts '{path}' needs the mappings 'frames', 'cells' and 'variety' at its top level")
    frames = {str(name): text for name, text in content["frames"].items()}
    variety = {str(name): values for name, values in content["variety"].items()}
    flat, problems = _flat_cells(content["cells"], kind)
    problems += _variety_problems(variety)
    if not problems:
        problems += _frame_problems(frames, kind, set(variety))
    wanted = {_key(cell) for cell in cells} if cells is not None else set(flat)
    problems += _cell_problems(flat, sorted(wanted), set(variety))
    if problems:
        raise DataError([f"{path}: {problem}" for problem in problems])
    return Prompts(str(path), kind, frames, flat, variety, short_hash([kind, frames, flat, variety]))


def _flat_cells(cells: Mapping[Any, Any], kind: Kind) -> tuple[dict[str, dict[str, str]], list[str]]:
    if kind == "strategy":
        flat = {str(name): texts for name, texts in cells.items()}
        unknown: list[str] = [name for name in flat if name in MECHANISMS]
    else:
        flat = {
            f"{mechanism}/{level}": texts
            for mechanism, levels in cells.items()
            if isinstance(levels, dict)
            for level, texts in levels.items()
        }
        known = {f"{mechanism}/{level}" for mechanism in MECHANISMS for level in LEVELS}
        unknown = [name for name in flat if name not in known] + [
            str(name) for name, levels in cells.items() if not isinstance(levels, dict)
        ]
    shape = "mechanism: level: {actor, evaluator, reflection}" if kind == "empathy" else "strategy: {actor, ...}"
    return flat, [f"cells: '{name}' is no cell of the kind {kind} ({shape})" for name in unknown]


def _variety_problems(variety: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, values in variety.items():
        if name in {*FRAMES["actor"][0], *FRAMES["actor"][1]} or not name.isidentifier():
            problems.append(f"variety.{name}: choose another name (a word that is no placeholder of the actor's frame)")
        if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
            problems.append(f"variety.{name}: give a list of texts, at least one")
        elif len(set(values)) < len(values):
            problems.append(f"variety.{name}: a text is given twice")
    if "problem" not in variety:
        problems.append("variety.problem is missing: the list of what seekers need help with")
    return problems


def _frame_problems(frames: Mapping[str, Any], kind: Kind, variety: set[str]) -> list[str]:
    needed = [name for name in FRAMES if kind == "empathy" or name not in ("labels", "rationales")]
    problems = [f"frames.{name} is missing" for name in needed if not isinstance(frames.get(name), str)]
    problems += [
        f"frames.{name} is unknown; the frames are {', '.join(FRAMES)}" for name in frames if name not in FRAMES
    ]
    for name in FRAMES:
        if not isinstance(frames.get(name), str):
            continue
        required, optional = FRAMES[name]
        required = required | (variety if name == "actor" else frozenset())
        found, wrong = _placeholders(frames[name])
        if wrong:
            problems.append(f"frames.{name}: a '$' that begins no placeholder; write '$$' for a dollar sign")
        allowed = ", ".join(sorted(required | optional)) or "none"
        problems += [
            f"frames.{name}: unknown placeholder ${unknown}; it may use {allowed}"
            for unknown in sorted(found - required - optional)
        ]
        problems += [f"frames.{name}: ${missing} is missing" for missing in sorted(required - found)]
    return problems


def _cell_problems(cells: Mapping[str, Any], wanted: Sequence[str], variety: set[str]) -> list[str]:
    problems = [] if wanted else ["cells: there is none"]
    for name in wanted:
        texts = cells.get(name)
        if not isinstance(texts, dict):
            problems.append(f"cells: '{name}' is missing; there are {', '.join(cells) or 'none'}")
            continue
        problems += [
            f"cells: '{name}' has no text for '{role}'"
            for role in CELL_ROLES
            if not isinstance(texts.get(role), str) or not texts[role].strip()
        ]
        problems += [f"cells: '{name}': unknown role '{role}'" for role in texts if role not in CELL_ROLES]
        for role, text in texts.items():
            found, wrong = _placeholders(str(text))
            allowed = variety if role == "actor" else set()
            if wrong:
                problems.append(f"cells: '{name}', {role}: a '$' that begins no placeholder; write '$$'")
            problems += [f"cells: '{name}', {role}: unknown placeholder ${word}" for word in sorted(found - allowed)]
    return problems


def _placeholders(text: str) -> tuple[set[str], bool]:
    """The names that a template uses, and whether it has a stray dollar sign."""
    template = Template(text)
    return set(template.get_identifiers()), not template.is_valid()


def scenarios(prompts: Prompts, cell: Cell, seed: int) -> Iterator[dict[str, str]]:
    """What the cell's dialogues are about, one draw a dialogue, never the same twice.

    Each list is dealt like a pack of cards: no text comes again before every other one of its list has, so even a
    short run covers the lists evenly.

    Args:
        prompts: The lists.
        cell: A cell with a problem of its own has that problem in every draw.
        seed: The same seed gives the same draws.

    Returns:
        Draws (list's name -> text); as many as there are combinations.
    """
    lists = {
        name: [cell.problem] if name == "problem" and cell.problem else list(values)
        for name, values in prompts.variety.items()
    }
    generator = random.Random(f"{seed}:{cell.name}")
    packs: dict[str, list[str]] = {name: [] for name in lists}
    seen: set[tuple[str, ...]] = set()
    while len(seen) < math.prod(map(len, lists.values())):
        for name, pack in packs.items():
            if not pack:
                pack += generator.sample(lists[name], len(lists[name]))
        draw = {name: pack.pop() for name, pack in packs.items()}
        if tuple(draw.values()) not in seen:
            seen.add(tuple(draw.values()))
            yield draw


def combinations(prompts: Prompts, cell: Cell) -> int:
    """How many different draws a cell has."""
    return math.prod(
        len(values) for name, values in prompts.variety.items() if not (name == "problem" and cell.problem)
    )


def show_examples(pairs: Sequence[Pair]) -> str:
    """Real pairs as the actor's prompt shows them; empty where there are none."""
    if not pairs:
        return ""
    shown = [
        json.dumps({"seeker_post": p.seeker_post, "response_post": p.response_post}, ensure_ascii=False) for p in pairs
    ]
    return "Examples of such an answer, from real conversations. Don't copy them:\n" + "\n".join(shown)
