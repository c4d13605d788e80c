"""What a reader found in a source: goes into a run's manifest as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SourceReport", "sha256_of"]


@dataclass
class SourceReport:
    """Counts of one source, so that nothing is lost silently: rows kept + `dropped` = `rows`.

    Args:
        path: The file, or the folder of a corpus of several files.
        sha256: Of the file's bytes; of a folder's files one after the other, in the reader's order.
        rows: Rows read.
        dropped: Reason -> rows that were read and not kept, such as `duplicate`.
        rationales: `given` rationales and what became of them: `offsets` (given as offsets), `placed_exact`,
            `placed_loose`, `placed_aligned`, `unplaced`; the same under `<mechanism>/given` and so on.
        counts: Anything else worth knowing, such as `disagreeing_explorations`.
    """

    path: str
    sha256: str
    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    rationales: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("given", "offsets", "placed_exact", "placed_loose", "placed_aligned", "unplaced"), 0
        )
    )
    counts: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str) -> None:
        """Count a row that is not kept."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def count(self, what: str) -> None:
        """Count anything else."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def add_rationales(self, mechanism: str, outcomes: Iterable[str]) -> None:
        """Count rationales of a mechanism by outcome: `offsets`, `placed_exact`, ..., `unplaced`."""
        for outcome in outcomes:
            for key in ("given", outcome, f"{mechanism}/given", f"{mechanism}/{outcome}"):
                self.rationales[key] = self.rationales.get(key, 0) + 1


def sha256_of(*paths: Path) -> str:
    """Hex SHA-256 of the files' bytes, one file after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
