"""What is to be made: cells (mechanism x level, or strategy x problem, each by a method) and how many of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS, Mechanism
from errors import UserError

__all__ = ["METHODS", "Cell", "Method", "Plan", "Targets"]

Method = Literal["standalone", "reflexion"]
METHODS: tuple[Method, ...] = get_args(Method)
"""`standalone`: one call writes the dialogue. `reflexion`: it is judged, and written again with advice."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of dialogue: a mechanism at a level, or a strategy for a problem, by one method."""

    method: Method
    mechanism: Mechanism | None = None
    level: int | None = None
    strategy: str | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """As quotas name it: `explorations/2/reflexion`, `Question/job crisis/standalone`."""
        asked = (self.mechanism, self.level) if self.mechanism else (self.strategy, self.problem)
        return f"{asked[0]}/{asked[1]}/{self.method}"

    @property
    def target(self) -> dict[str, Any]:
        """What is asked for, as rows and the log hold it."""
        if self.mechanism:
            return {"mechanism": self.mechanism, "level": self.level}
        return {"strategy": self.strategy, "problem": self.problem}

    @property
    def title(self) -> str:
        """What is asked for, in words."""
        if self.level is not None:
            return f"{self.mechanism}, level {self.level} ({LEVEL_NAMES[self.level]})"
        return f"{self.strategy}, {self.problem}"

    def dialogue(self, seed: int, index: int) -> str:
        """The id of the cell's dialogue of that number: unique over cells, methods and seeds."""
        words = re.sub(r"[^\w]+", "-", self.name).strip("-").lower()
        return f"{words}-s{seed}-{index:05d}"


@dataclass
class Targets:
    """What is to be made.

    Args:
        kind: `empathy`: dialogues of a mechanism at a level (study A); `strategy`: dialogues about a problem with a
            strategy on every supporter turn, the last of which has the one asked for.
        dialogues: Accepted dialogues wanted in all, spread evenly over the cells that `quotas` doesn't name; where it
            doesn't divide, the first cells get one more.
        methods: `standalone`, `reflexion` or both: each cell is made by each.
        mechanisms: empathy: which.
        levels: empathy: which.
        strategies: strategy: which (null: all that the prompts file has).
        problems: strategy: which (null: all of the prompts file's list).
        exchanges: Exchanges of a dialogue: a seeker's turn and the answer to it.
        quotas: Cell -> accepted dialogues wanted, such as {explorations/2/reflexion: 40}.
        spare: A cell of quota n gives up after n * (1 + spare) dialogues (at least 3 more than n).
    """

    kind: Literal["empathy", "strategy"] = "empathy"
    dialogues: int = 90
    methods: list[Method] = field(default_factory=lambda: ["reflexion"])
    mechanisms: list[Mechanism] = field(default_factory=lambda: list(MECHANISMS))
    levels: list[int] = field(default_factory=lambda: list(LEVELS))
    strategies: list[str] | None = None
    problems: list[str] | None = None
    exchanges: int = 1
    quotas: dict[str, int] = field(default_factory=dict)
    spare: float = 1.0

    def __post_init__(self) -> None:
        """Checks each value and that no option is set which the kind ignores."""
        problems = []
        for name, allowed in (("methods", METHODS), ("mechanisms", MECHANISMS), ("levels", LEVELS)):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given) or not set(given) <= set(allowed):
                problems.append(f"targets.{name} is {given}: give each at most once, of {list(allowed)}")
        for name in ("strategies", "problems"):
            given = getattr(self, name)
            if given is not None and self.kind == "empathy":
                problems.append(f"targets.{name} has no meaning with targets.kind empathy")
            elif given is not None and (not given or len(set(given)) < len(given)):
                problems.append(f"targets.{name} is {given}: give at least one, each once")
        if self.exchanges < 1 or self.dialogues < 0 or self.spare < 0:
            problems.append("targets.exchanges is 1 or more, targets.dialogues and targets.spare 0 or more")
        problems += [f"targets.quotas.{cell} is {n}: 0 or more" for cell, n in self.quotas.items() if n < 0]
        if problems:
            raise UserError("\n".join(problems))

    def cells(self, strategies: Sequence[str], problems: Sequence[str]) -> list[Cell]:
        """The cells in their order.

        Args:
            strategies: Those of the prompts file.
            problems: Those of the prompts file.
        """
        if self.kind == "empathy":
            return [
                Cell(method, mechanism, level)
                for method in self.methods
                for mechanism in self.mechanisms
                for level in self.levels
            ]
        return [
            Cell(method, strategy=strategy, problem=problem)
            for method in self.methods
            for strategy in self.strategies or strategies
            for problem in self.problems or problems
        ]

    def wanted(self, cells: Sequence[Cell]) -> dict[Cell, int]:
        """How many accepted dialogues each cell is to have.

        Raises:
            UserError: `quotas` names a cell that is not among them.
        """
        names = {cell.name for cell in cells}
        if unknown := [name for name in self.quotas if name not in names]:
            raise UserError(
                f"targets.quotas names {', '.join(map(repr, unknown))}; the cells are {', '.join(sorted(names)[:20])}"
                f"{' ...' if len(names) > 20 else ''}"
            )
        open_cells = [cell for cell in cells if cell.name not in self.quotas]
        each, more = divmod(self.dialogues, len(open_cells)) if open_cells else (0, 0)
        shares = {cell: each + (place < more) for place, cell in enumerate(open_cells)}
        return {cell: self.quotas[cell.name] if cell.name in self.quotas else shares[cell] for cell in cells}

    def limit(self, wanted: int) -> int:
        """How many dialogues a cell may try for its quota."""
        return max(int(wanted * (1 + self.spare)), wanted + 3) if wanted else 0


class Plan:
    """Which dialogue is next.

    A cell's dialogues are begun in the order of their numbers, and a further one only if those accepted and those in
    flight don't fill the quota. So the dialogues begun are the shortest sequence 0, 1, 2, ... that fills it, in
    whatever order the answers come.

    Args:
        wanted: Cell -> accepted dialogues.
        targets: For the limit of tries.
    """

    def __init__(self, wanted: dict[Cell, int], targets: Targets) -> None:
        self.wanted = wanted
        self.limits = {cell: targets.limit(number) for cell, number in wanted.items()}
        self.begun = dict.fromkeys(wanted, 0)
        self.accepted = dict.fromkeys(wanted, 0)
        self.failed = dict.fromkeys(wanted, 0)

    def next(self) -> tuple[Cell, int] | None:
        """A dialogue to begin, of the cell that is furthest behind its quota; None if there is none for now."""
        open_cells = [cell for cell in self.wanted if self._open(cell)]
        if not open_cells:
            return None
        cell = min(open_cells, key=lambda cell: self.begun[cell] / self.wanted[cell])
        self.begun[cell] += 1
        return cell, self.begun[cell] - 1

    def done(self, cell: Cell, *, accepted: bool) -> None:
        """Counts a finished dialogue."""
        (self.accepted if accepted else self.failed)[cell] += 1

    def unmet(self) -> Iterator[tuple[Cell, int]]:
        """Cells with fewer accepted dialogues than wanted, and how many are missing."""
        for cell, number in self.wanted.items():
            if self.accepted[cell] < number:
                yield cell, number - self.accepted[cell]

    def _open(self, cell: Cell) -> bool:
        return self.begun[cell] - self.failed[cell] < self.wanted[cell] and self.begun[cell] < self.limits[cell]
