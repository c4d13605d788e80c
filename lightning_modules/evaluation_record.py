"""What an evaluation leaves in the run's folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from metrics.evaluation import Score

__all__ = ["EvaluationRecord", "Stage", "by_source", "text_table"]

Stage = Literal["validation", "test"]


@dataclass(frozen=True)
class EvaluationRecord:
    """The outcome of a test or validation.

    Args:
        scores: Keys of `metrics.json` -> scores.
        table: What is printed.
        variant: How the scores are counted.
        variants: Key -> variant, for keys that have one of their own.
        files: Name -> content of further files.
    """

    scores: Mapping[str, Score]
    table: str
    variant: str
    variants: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class _OfSource(Protocol):
    @property
    def source(self) -> str: ...


def by_source(examples: Sequence[_OfSource], rows: Sequence[int]) -> dict[str, list[int] | None]:
    """The parts that are scored: all rows under "" (None), and where there are several sources each under "source/"."""
    parts: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        parts[f"{examples[row].source}/"].append(row)
    return {"": None, **(dict(sorted(parts.items())) if len(parts) > 1 else {})}


def text_table(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns: the first column flush left, the others flush right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
