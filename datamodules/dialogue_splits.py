"""Splits by dialogue: seeded and stratified, as the ESConv authors' script divides, or by files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from datamodules.files import as_list
from datamodules.splits import SPLITS, SplitName, SplitOptions, split_groups
from errors import UserError

__all__ = ["DialogueSplit", "divide", "published_parts"]

PUBLISHED_SEED = 13


@dataclass
class DialogueSplit:
    """How dialogues are divided. A dialogue is never torn apart.

    Args:
        validation: Share of the dialogues' supporter turns that choose the checkpoint; 0 for none.
        test: Share that is tested; 0 for none, 1 for all.
        seed: Seed of the division, apart from the training's seed, so that runs of several seeds share one test set.
        by: `dialogue` divides by the seed, each label's share kept as far as the dialogues allow. `published` divides a
            whole ESConv.json as the script of its authors does (Python's shuffle with seed 13; 70/15/15), whatever
            the other options say; other sources are divided by the seed.
        validation_files: ESConv files whose dialogues validate. With these or `test_files` all of --data.esconv trains.
        test_files: ESConv files whose dialogues are tested.
    """

    validation: float = 0.15
    test: float = 0.15
    seed: int = 0
    by: Literal["dialogue", "published"] = "dialogue"
    validation_files: str | list[str] = field(default_factory=list)
    test_files: str | list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Checks the shares, and that files and another division aren't asked for together; a file becomes a list."""
        SplitOptions(self.validation, self.test)
        self.validation_files, self.test_files = as_list(self.validation_files), as_list(self.test_files)
        if self.by == "published" and self.by_files:
            raise UserError("--data.split.by published and files of splits exclude one another; give up one of them")

    @property
    def by_files(self) -> bool:
        """Whether files say where ESConv's dialogues go."""
        return bool(self.validation_files or self.test_files)


def published_parts(count: int) -> list[SplitName]:
    """The split of each of `count` dialogues in the order of ESConv.json, as its authors' `process.py` divides.

    They shuffle all dialogues with `random.seed(13)`; the first 15 % (rounded down) validate, the next 15 % test.
    """
    order = list(range(count))
    random.Random(PUBLISHED_SEED).shuffle(order)
    share = int(0.15 * count)
    parts: list[SplitName] = ["train"] * count
    for place, dialogue in enumerate(order[: 2 * share]):
        parts[dialogue] = "validation" if place < share else "test"
    return parts


def divide(
    groups: Sequence[str], strata: Sequence[Sequence[str]], split: DialogueSplit, *, tests: bool
) -> list[SplitName]:
    """Divides dialogues by group.

    Args:
        groups: The group of each dialogue.
        strata: The labels of each dialogue's turns.
        split: The options.
        tests: Whether these dialogues have a test share.
    """
    options = SplitOptions(split.validation, split.test if tests else 0.0, split.seed)
    return [SPLITS[part] for part in split_groups(groups, strata, options)]
