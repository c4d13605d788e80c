"""One scheme over two corpora: ESConv's eight strategies and EPITOME's three mechanisms -> categories.

The scheme is data (`strategies.yaml`, study B's by default). Its categories overlap: a turn of one strategy can belong
to several, and `Overlap` says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datamodules.dialogues import STRATEGIES, Turn, canonical_strategy
from datamodules.records import MECHANISMS
from datamodules.splits import seeded_key
from errors import DataError

__all__ = ["DEFAULT_SCHEME", "LabelSpace", "Overlap", "Scheme", "load_scheme", "resolve_overlap"]

LabelSpace = Literal["categories", "strategies"]
"""What is predicted and tagged: the scheme's categories (four in study B's) or ESConv's eight strategies."""

Overlap = Literal["each", "random", "priority", "multi"]
"""What becomes of a turn of several categories: a row for `each` (study B's reading), one drawn at `random`, the first
by the scheme's `priority`, or all of them as one `multi`-label target."""

DEFAULT_SCHEME = Path(__file__).with_name("strategies.yaml")


@dataclass(frozen=True)
class Scheme:
    """Categories and what they are made of.

    Args:
        categories: Category -> strategies and mechanisms.
        fallback: The category of a turn annotated for all mechanisms and showing none.
        priority: The categories in the order of precedence.
    """

    categories: Mapping[str, tuple[str, ...]]
    fallback: str
    priority: tuple[str, ...]

    def to_state(self) -> dict[str, Any]:
        """As plain values for a checkpoint."""
        parts = {name: list(parts) for name, parts in self.categories.items()}
        return {"categories": parts, "fallback": self.fallback, "priority": list(self.priority)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Scheme:
        """Rebuilds it."""
        categories = {name: tuple(parts) for name, parts in state["categories"].items()}
        return cls(categories, state["fallback"], tuple(state["priority"]))

    def names(self, space: LabelSpace) -> tuple[str, ...]:
        """The labels of a space, in the order of its numbers."""
        return tuple(self.categories) if space == "categories" else STRATEGIES

    def having(self, part: str) -> tuple[str, ...]:
        """The categories that hold a strategy or a mechanism."""
        return tuple(name for name, parts in self.categories.items() if part in parts)

    def labels(self, turn: Turn, space: LabelSpace) -> tuple[str, ...]:
        """The labels of a turn, in the order of `names`; empty where it isn't annotated in that space.

        A strategy says it all; without one, the mechanisms of a level above 0 do. A turn that shows none of them has
        the fallback category if it was annotated for all three, and no label if not.
        """
        if space == "strategies":
            return (turn.strategy,) if turn.strategy in STRATEGIES else ()
        if turn.strategy:
            return self.having(turn.strategy) or ((turn.strategy,) if turn.strategy in self.categories else ())
        shown = [mechanism for mechanism, level in turn.levels.items() if level > 0]
        if not shown and all(mechanism in turn.levels for mechanism in MECHANISMS):
            return (self.fallback,)
        return tuple(name for name, parts in self.categories.items() if any(part in parts for part in shown))

    def tally(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Turns of each category, a turn counted in every category that holds its strategy or mechanism.

        Args:
            counts: Strategy or mechanism -> turns.
        """
        return {
            name: sum(number for part, number in counts.items() if part in parts)
            for name, parts in self.categories.items()
        }


def load_scheme(path: str | Path | None = None) -> Scheme:
    """Reads a scheme.

    Args:
        path: A YAML like `strategies.yaml`; None: that one, study B's.

    Raises:
        DataError: With all that is wrong.
    """
    import yaml

    file = Path(path) if path else DEFAULT_SCHEME
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError([f"{file}: the scheme can't be read: {str(error).splitlines()[0]}"]) from None
    problems = _scheme_problems(content)
    if problems:
        raise DataError(f"{file}: {problem}" for problem in problems)
    categories = {
        name: tuple(canonical_strategy(part) or part for part in parts) for name, parts in content["categories"].items()
    }
    return Scheme(categories, content["fallback"], tuple(content["priority"]))


def _scheme_problems(content: Any) -> list[str]:
    shape = content if isinstance(content, dict) else {}
    if set(shape) != {"categories", "fallback", "priority"} or not isinstance(shape["categories"], dict):
        return ["needs the keys 'categories' (category: list of parts), 'fallback' and 'priority', and no others"]
    categories = shape["categories"]
    priority = shape["priority"] if isinstance(shape["priority"], list) else []
    if not all(isinstance(name, str) for name in (*categories, shape["fallback"], *priority)):
        return ["names of categories, in 'fallback' and 'priority' too, must be texts; put them in quotes"]
    problems = [
        f"category '{name}': needs a list of strategies and mechanisms"
        for name, parts in categories.items()
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts)
    ]
    if problems:
        return problems
    held = set()
    for name, parts in categories.items():
        for part in parts:
            known = canonical_strategy(part) or (part if part in MECHANISMS else None)
            if known is None:
                problems.append(
                    f"category '{name}': '{part}' is no strategy ({', '.join(STRATEGIES)}) "
                    f"and no mechanism ({', '.join(MECHANISMS)})"
                )
            held.add(known)
    if missing := [part for part in (*STRATEGIES, *MECHANISMS) if part not in held]:
        problems.append(f"no category holds {', '.join(missing)}; add each to one")
    if clash := [name for name in categories if name in STRATEGIES and name not in categories[name]]:
        problems.append(f"categories named like a strategy that they don't hold: {', '.join(clash)}; rename them")
    if shape["fallback"] not in categories:
        problems.append(f"fallback '{shape['fallback']}' is no category")
    if sorted(priority) != sorted(categories):
        problems.append("priority must list every category once")
    return problems


def resolve_overlap(
    labels: Sequence[str], overlap: Overlap, *, priority: Sequence[str], seed: int, uid: str
) -> list[tuple[str, ...]]:
    """The targets of a turn: one row for each.

    Args:
        labels: Its labels.
        overlap: What to do with several.
        priority: The labels in the order of precedence.
        seed: Seed of a random draw.
        uid: Names the turn, so that the draw depends neither on other turns nor on their order.

    Returns:
        The labels of each row; no row for a turn without labels.
    """
    if len(labels) <= 1 or overlap == "each":
        return [(label,) for label in labels]
    if overlap == "priority":
        return [(min(labels, key=list(priority).index),)]
    if overlap == "random":
        return [(min(labels, key=lambda label: seeded_key(seed, f"{uid}:{label}")),)]
    return [tuple(labels)]
