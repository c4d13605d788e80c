"""The rows of an audit: synthetic, real and test ones, and which of them must never be quoted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.records import LEVELS, MECHANISMS, Pair, Source
from datamodules.sources.cells import PROMPT_SOURCES
from datamodules.sources.epitome import FILES, read_epitome
from datamodules.sources.formats import raw_rows
from datamodules.sources.table import Columns, read_rows
from datamodules.splits import group_rows
from errors import DataError

__all__ = ["RowSet", "file_digest", "read_set", "sample_rows"]


@dataclass
class RowSet:
    """Rows that play one part in an audit, in the files' order and without their rationales.

    Args:
        pairs: The rows.
        sha256: Name of the content: see `file_digest`.
        clinical: How many of the rows are of a clinical source.
        clinical_prompts: How many of the rows were made from prompts that held clinical text.
        turns: [N] text of the whole dialogue where a row carries it, else empty; empty where no row does.
        asked: Row number -> mechanism -> the level that the prompt asked for, of the rows that say so (`target`). Their
            levels are then what the evaluator saw.
    """

    pairs: list[Pair]
    sha256: str = ""
    clinical: int = 0
    clinical_prompts: int = 0
    turns: list[str] = field(default_factory=list, repr=False)
    asked: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)
    _groups: list[str] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.pairs)

    @property
    def quotable(self) -> bool:
        """Whether words of these rows may stand in a report."""
        return not self.clinical and not self.clinical_prompts

    @property
    def posts(self) -> list[str]:
        """[N] seeker posts."""
        return [pair.seeker_post for pair in self.pairs]

    @property
    def responses(self) -> list[str]:
        """[N] response posts."""
        return [pair.response_post for pair in self.pairs]

    @property
    def texts(self) -> list[str]:
        """[2 N or 3 N] all that the rows say: seeker posts, then response posts, then dialogues where there are any."""
        return [*self.posts, *self.responses, *self.turns]

    @property
    def groups(self) -> list[str]:
        """[N] what makes rows dependent: group or seeker post, near-duplicate posts included."""
        if not self._groups:
            self._groups = group_rows(self.pairs)
        return self._groups

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> RowSet:
        """The set of some rows."""
        turns = [self.turns[row] for row in rows] if self.turns else []
        return RowSet([self.pairs[row] for row in rows], self.sha256, self.clinical, self.clinical_prompts, turns)


def read_set(paths: Sequence[Path], source: Source | None) -> RowSet:
    """Reads the rows of one part.

    Args:
        paths: Tables (CSV, JSON Lines, Parquet), or folders with the three EPITOME files.
        source: What the rows are. None: the tables' column `source` says, and a table that doesn't say `reddit` or
            `esconv` in every row is taken for clinical, so that nothing of it is ever quoted.

    Returns:
        The rows of all files.

    Raises:
        DataError: A file or a row can't be used, or there are no rows.
    """
    rows = RowSet([], file_digest(paths))
    for path in paths:
        if path.is_dir():
            pairs, _ = read_epitome(path)
            kind: Source = "reddit"
            rows.turns += [""] * len(pairs)
        else:
            kind = _scan(path, source, rows)
            pairs = []
            for pair in read_rows(path, Columns(), kind):
                pair.rationales.clear()
                pairs.append(pair)
        rows.clinical += len(pairs) if kind == "clinical" else 0
        rows.pairs += pairs
    if not rows.pairs:
        raise DataError([f"{', '.join(map(str, paths))}: no rows"])
    if not any(rows.turns):
        rows.turns = []
    return rows


def _scan(path: Path, source: Source | None, rows: RowSet) -> Source:
    """What a table's rows are; adds their dialogues and counts those from prompts with clinical text."""
    said: set[object] = set()
    for row in raw_rows(path, ("source", PROMPT_SOURCES, "turns", "target")):
        if asked := _ASKED.get(_target(row.cells.get("target"))):
            rows.asked[len(rows.turns)] = asked
        said.add(row.cells.get("source"))
        rows.clinical_prompts += "clinical" in (row.cells.get(PROMPT_SOURCES) or ())
        rows.turns.append(_dialogue(row.cells.get("turns")))
    if source:
        return source
    if said == {"reddit"}:
        return "reddit"
    return "esconv" if said == {"esconv"} else "clinical"


_ASKED: dict[tuple[object, object], dict[str, int]] = {
    (mechanism, level): {str(mechanism): level} for mechanism in MECHANISMS for level in LEVELS
}


def _target(target: object) -> tuple[object, object]:
    fields = target if isinstance(target, dict) else {}
    level = fields.get("level")
    return str(fields.get("mechanism")), level if isinstance(level, int) else None


def _dialogue(turns: object) -> str:
    if isinstance(turns, list):
        return "\n".join(str(turn.get("text", "")) for turn in turns if isinstance(turn, dict))
    return turns if isinstance(turns, str) else ""


def file_digest(paths: Sequence[Path]) -> str:
    """SHA-256 of the files' bytes, one file after the other in the order of their names.

    Args:
        paths: Files, or folders of EPITOME.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        for part in [path / name for name in FILES.values()] if path.is_dir() else [path]:
            try:
                with part.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
            except OSError as error:
                raise DataError([f"{part}: {error.strerror}; check the path"]) from None
    return digest.hexdigest()


def sample_rows(count: int, size: int, seed: int) -> NDArray[np.int64]:
    """Numbers of `size` rows of `count`, drawn without replacement, in ascending order; all where there are no more."""
    if count <= size:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))
