"""What went into a run, what was dropped and why: counts and hashes, never text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from datamodules.mixing import Mix
from datamodules.records import Pair
from datamodules.splits import SPLITS, Leak, SplitName, hash_ids

__all__ = ["build_manifest", "common_entries", "split_hash"]


def split_hash(pairs: Sequence[Pair], evaluation: Sequence[int]) -> str:
    """Names a test set: the first 12 hex digits of the SHA-256 of its rows' ids and gold levels.

    Numbers of runs with unlike split hashes don't compare.
    """
    rows = (pairs[row] for row in evaluation)
    return hash_ids(f"{pair.uid} {sorted(pair.levels.items())}" for pair in rows)[:12]


def _describe(pairs: Sequence[Pair], rows: Sequence[int]) -> dict[str, Any]:
    sources: dict[str, dict[str, Any]] = {}
    for row in rows:
        pair = pairs[row]
        name = f"{pair.source}/{pair.generator}" if pair.generator else pair.source
        entry = sources.setdefault(name, {"rows": 0, "levels": {}})
        entry["rows"] += 1
        for mechanism, level in pair.levels.items():
            entry["levels"].setdefault(mechanism, Counter())[str(level)] += 1
    for entry in sources.values():
        entry["levels"] = {mechanism: dict(sorted(counts.items())) for mechanism, counts in entry["levels"].items()}
    return {"rows": len(rows), "ids_sha256": hash_ids(pairs[row].uid for row in rows), "sources": sources}


def build_manifest(
    pairs: Sequence[Pair],
    splits: Mapping[SplitName, Sequence[int]],
    *,
    mix: Mix,
    options: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    dropped: Mapping[str, int],
    leaks: Sequence[Leak],
    tokens: Mapping[SplitName, Mapping[str, int]],
) -> dict[str, Any]:
    """Puts a run's manifest together.

    Args:
        pairs: All rows.
        splits: Split -> row numbers.
        mix: The mix that made the training rows.
        options: The options of split and mix.
        sources: Each reader's report.
        dropped: Reason -> rows left out after reading.
        leaks: What the guard found and was told not to stop for.
        tokens: Split -> counts of what the token windows cut.

    Returns:
        Plain values for `manifest.json`.
    """
    uids = [pair.uid for pair in pairs]
    described = {name: {**_describe(pairs, splits[name]), "cut": dict(tokens[name])} for name in SPLITS}
    return {
        "split_hash": split_hash(pairs, splits["test"]),
        **common_entries(uids, mix=mix, options=options, sources=sources, dropped=dropped, leaks=leaks),
        "splits": described,
    }


def common_entries(
    uids: Sequence[str],
    *,
    mix: Mix,
    options: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    dropped: Mapping[str, int],
    leaks: Sequence[Leak],
) -> dict[str, Any]:
    """What a manifest says of rows of any kind; `uids` are the rows' names, the rest is as in `build_manifest`."""
    return {
        "options": dict(options),
        "sources": [dict(source) for source in sources],
        "dropped": dict(dropped),
        "leaks": dict(Counter(leak.why for leak in leaks)),
        "mix": {
            "added": len(mix.added),
            "added_ids_sha256": hash_ids(uids[row] for row in mix.added),
            "removed": len(mix.removed),
            "removed_ids_sha256": hash_ids(uids[row] for row in mix.removed),
        },
    }
