"""What went into a run, what was dropped and why: counts and hashes, never text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from datamodules.mixing import Mix
from datamodules.records import Pair, SourcedRow
from datamodules.splits import SPLITS, Leak, SplitName, hash_ids

__all__ = ["build_manifest", "count_levels", "split_hash"]

Row = TypeVar("Row", bound=SourcedRow)


def split_hash(pairs: Sequence[Pair], evaluation: Sequence[int]) -> str:
    """Names a test set: the first 12 hex digits of the SHA-256 of its rows' ids and gold levels.

    Numbers of runs with unlike split hashes don't compare.
    """
    rows = (pairs[row] for row in evaluation)
    return hash_ids(f"{pair.uid} {sorted(pair.levels.items())}" for pair in rows)[:12]


def count_levels(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Mechanism -> level -> pairs, under `levels`."""
    counts: dict[str, Counter[str]] = {}
    for pair in pairs:
        for mechanism, level in pair.levels.items():
            counts.setdefault(mechanism, Counter())[str(level)] += 1
    return {"levels": {mechanism: dict(sorted(of_level.items())) for mechanism, of_level in counts.items()}}


def build_manifest(
    rows: Sequence[Row],
    splits: Mapping[SplitName, Sequence[int]],
    *,
    split_hash: str,
    count: Callable[[Sequence[Row]], Mapping[str, Any]],
    mix: Mix,
    options: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    dropped: Mapping[str, int],
    leaks: Sequence[Leak],
    cut: Mapping[SplitName, Mapping[str, int]],
) -> dict[str, Any]:
    """Puts a run's manifest together.

    Args:
        rows: All rows, of one kind.
        splits: Split -> row numbers.
        split_hash: The test set's name.
        count: What is counted of the rows of one source and generator, beside how many they are.
        mix: The mix that made the training rows.
        options: The options of data, split and mix.
        sources: Each reader's report.
        dropped: Reason -> what was left out after reading.
        leaks: What the guard found and was told not to stop for.
        cut: Split -> counts of what the token windows cut.

    Returns:
        Plain values for `manifest.json`.
    """
    described = {}
    for name in SPLITS:
        members = [rows[row] for row in splits[name]]
        by_source: dict[str, list[Row]] = {}
        for row in members:
            by_source.setdefault(f"{row.source}/{row.generator}" if row.generator else row.source, []).append(row)
        described[name] = {
            "rows": len(members),
            "ids_sha256": hash_ids(row.uid for row in members),
            "sources": {source: {"rows": len(own), **count(own)} for source, own in by_source.items()},
            "cut": dict(cut[name]),
        }
    return {
        "split_hash": split_hash,
        "options": dict(options),
        "sources": [dict(source) for source in sources],
        "dropped": dict(dropped),
        "leaks": dict(Counter(leak.why for leak in leaks)),
        "mix": {
            "added": len(mix.added),
            "added_ids_sha256": hash_ids(rows[row].uid for row in mix.added),
            "removed": len(mix.removed),
            "removed_ids_sha256": hash_ids(rows[row].uid for row in mix.removed),
        },
        "splits": described,
    }
