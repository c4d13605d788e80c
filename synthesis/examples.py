"""Real pairs that the actor is shown: read, chosen for a cell, and never sent where their source may not go."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from datamodules.records import Pair
from errors import UserError
from synthesis.prompts import short_hash
from synthesis.targets import Cell

__all__ = ["ExampleOptions", "Examples", "load_examples"]


@dataclass(frozen=True)
class ExampleOptions:
    """Real pairs in the actor's prompt (empathy only).

    Args:
        files: Tables of pairs with levels, as `--data.clinical` takes them.
        source: What they are. Prompts with `clinical` rows go only to engines on this machine or allowed for it, their
            messages are not logged, and the rows made from them say so in `prompt_sources`.
        per_prompt: Pairs of the dialogue's own mechanism and level that it is shown, drawn anew for each.
        canaries: Made-up secrets (`audit --new_canaries FILE`): one of those to be used stands at the end of each
            prompt's first post, so that the audit can tell how much the model repeats of what it is shown.
    """

    files: list[str]
    source: Literal["reddit", "clinical"] = "clinical"
    per_prompt: int = 2
    canaries: str | None = None


@dataclass(frozen=True)
class Examples:
    """Pairs to draw from.

    Args:
        options: How.
        pairs: All of them.
        secrets: Canaries to be used.
        hash: Of their texts and levels.
    """

    options: ExampleOptions
    pairs: Sequence[Pair]
    secrets: Sequence[str]
    hash: str

    def identity(self) -> dict[str, Any]:
        """What the log says of them; a folder is gone on with only with the same ones."""
        return {"hash": self.hash, "source": self.options.source, "per_prompt": self.options.per_prompt}

    def check(self, cells: Sequence[Cell]) -> None:
        """Refuses cells for which there are too few.

        Raises:
            UserError: Naming them.
        """
        if any(cell.strategy for cell in cells):
            raise UserError("examples have levels, not strategies: take the option out, or use targets.kind empathy")
        titles = dict.fromkeys(cell.title for cell in cells if len(self._of(cell)) < self.options.per_prompt)
        if titles:
            raise UserError(f"examples: fewer than {self.options.per_prompt} pairs of {'; '.join(titles)}: add some")

    def draw(self, cell: Cell, dialogue: str, seed: int) -> list[Pair]:
        """The pairs for one dialogue, the same ones at the same seed."""
        dice = random.Random(f"{seed}:{dialogue}:examples")
        first, *others = dice.sample(self._of(cell), self.options.per_prompt)
        if self.secrets:
            first = replace(first, seeker_post=f"{first.seeker_post} {dice.choice(self.secrets)}")
        return [first, *others]

    def _of(self, cell: Cell) -> list[Pair]:
        return [pair for pair in self.pairs if pair.levels.get(str(cell.mechanism)) == cell.level]


def load_examples(options: ExampleOptions) -> Examples:
    """Reads the tables.

    Raises:
        DataError: A table can't be read.
    """
    from datamodules.sources.table import Columns, read_table

    if options.per_prompt < 1:
        raise UserError(f"examples.per_prompt is {options.per_prompt}; it is 1 or more, or leave examples out")
    pairs = [pair for file in options.files for pair in read_table(Path(file), Columns(), options.source)[0]]
    secrets = _secrets(Path(options.canaries)) if options.canaries else []
    texts = [[pair.seeker_post, pair.response_post, pair.levels] for pair in pairs]
    return Examples(options, pairs, secrets, short_hash([texts, secrets]))


def _secrets(path: Path) -> list[str]:
    """The sentences of a canaries file that are to be used; the others are the yardstick and never are."""
    from datamodules.sources.formats import raw_rows

    secrets = [str(row.cells["text"]) for row in raw_rows(path) if row.cells.get("inserted") and row.cells.get("text")]
    if not secrets:
        raise UserError(f"examples.canaries: {path} has none to use; write a file with 'audit --new_canaries FILE'")
    return secrets
