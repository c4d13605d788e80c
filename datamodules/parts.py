"""Which rows of a run may train and which evaluate, and the guard between them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from datamodules.records import SourcedRow
from datamodules.splits import Leak, SplitName
from errors import DataError

__all__ = ["Leakage", "Parts"]

Leakage = Literal["error", "drop", "report"]
"""What becomes of leaks: stop with an `error`, `drop` the training rows, or `report` them in the manifest alone."""


@dataclass
class Parts:
    """Numbers of rows, or of dialogues, each in one part.

    Args:
        base: Those that train.
        synthetic: Those that a mix may let train.
        evaluation: Split -> those that evaluate.
    """

    base: list[int] = field(default_factory=list)
    synthetic: list[int] = field(default_factory=list)
    evaluation: dict[SplitName, list[int]] = field(default_factory=lambda: {"validation": [], "test": []})

    @property
    def training(self) -> list[int]:
        """Whatever may train."""
        return [*self.base, *self.synthetic]

    @property
    def evaluating(self) -> list[int]:
        """Whatever evaluates."""
        return [number for members in self.evaluation.values() for number in members]

    def deal(self, numbers: Sequence[int], splits: Sequence[SplitName]) -> None:
        """Puts each number where its split says."""
        for number, split in zip(numbers, splits, strict=True):
            (self.base if split == "train" else self.evaluation[split]).append(number)

    def remove(self, unwanted: Collection[int]) -> None:
        """Takes numbers out of every part."""
        self.base = [number for number in self.base if number not in unwanted]
        self.synthetic = [number for number in self.synthetic if number not in unwanted]
        self.evaluation = {
            split: [number for number in members if number not in unwanted]
            for split, members in self.evaluation.items()
        }

    def guard(self, rows: Sequence[SourcedRow], leaks: Sequence[Leak], leakage: Leakage, what: str) -> int:
        """Does about leaks what `leakage` says.

        Args:
            rows: What the numbers stand for.
            leaks: Those between what may train and what evaluates.
            leakage: What to do.
            what: What a row is called: `row` or `dialogue`.

        Returns:
            How many were taken out.

        Raises:
            DataError: There are leaks and `leakage` is `error`; it names both rows of each.
        """
        if leaks and leakage == "error":
            head = (
                f"leakage: {len(leaks)} pairs of a training and an evaluation {what} belong together "
                f"(--data.leakage drop leaves the training {what}s out, report goes on)"
            )
            pairs = [
                f"training {what} {leak.train} and evaluation {what} {leak.evaluation}: {leak.why}" for leak in leaks
            ]
            raise DataError([head, *pairs])
        if leakage != "drop":
            return 0
        names = {leak.train for leak in leaks}
        self.remove({number for number in self.training if rows[number].uid in names})
        return len(names)
