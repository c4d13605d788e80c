"""Rows that say the same: exact repeats, and near-repeats by MinHash (Broder 1997)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from audit.words import Codes, Ints, Words, mix
from datamodules.splits import NEAR_DUPLICATE

__all__ = ["SHINGLE", "duplicate_groups", "minhash"]

SHINGLE = 3
"""Words a shingle; a shorter text is one shingle."""

_HASHES, _BANDS = 128, 32
_REACH = 8
_MARGIN = 0.15  # three standard errors of a similarity estimated from 128 hashes


def duplicate_groups(words: Words, near: float | None = NEAR_DUPLICATE, seed: int = 0) -> Ints:
    """Groups texts that repeat one another.

    Candidates share a band of 4 of their 128 hashes (a pair at Jaccard .8 does so in one of 32 bands with probability
    .9999999), are filtered by the hashes and then compared exactly; groups are what the pairs connect.

    Args:
        words: The texts.
        near: Jaccard similarity of near-duplicates; None: exact repeats only (of the normalised words).
        seed: Seed of the hash functions.

    Returns:
        [N] for each text the number of the first text of its group; its own number where it repeats none.
    """
    shingles, starts = _shingles(words)
    leaders = _exact(shingles, starts)
    if near is None or not len(words):
        return leaders
    own = np.flatnonzero(leaders == np.arange(len(leaders)))
    signature = minhash(shingles, starts, seed)[own]
    for a, b in _candidates(signature):
        alike = (signature[a] == signature[b]).mean(axis=1) >= near - _MARGIN
        for one, two in zip(own[a[alike]].tolist(), own[b[alike]].tolist(), strict=True):
            first, second = _root(leaders, one), _root(leaders, two)
            if first != second and _jaccard(shingles, starts, one, two) >= near:
                leaders[max(first, second)] = min(first, second)
    return np.array([_root(leaders, row) for row in range(len(leaders))], dtype=np.int64)


def minhash(shingles: Codes, starts: Ints, seed: int = 0) -> NDArray[np.uint32]:
    """Signatures whose share of equal entries estimates the Jaccard similarity of the shingle sets.

    Args:
        shingles: [G] shingles of all texts, end to end; every text has one at least.
        starts: [N + 1] where each text's begin.
        seed: Seed of the hash functions.

    Returns:
        [N, 128] signatures.
    """
    generator = np.random.default_rng(seed)
    factors = generator.integers(1, 2**63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    signature = np.empty((len(starts) - 1, _HASHES), dtype=np.uint32)
    for column, factor in enumerate(factors):
        hashes = (mix(shingles * factor) >> np.uint64(32)).astype(np.uint32)
        signature[:, column] = np.minimum.reduceat(hashes, starts[:-1])
    return signature


def _shingles(words: Words) -> tuple[Codes, Ints]:
    """[G] shingles sorted by text, [N + 1] starts. A text without `SHINGLE` words gives one code of all its words."""
    codes, owners = words.ngrams(SHINGLE)
    short = np.flatnonzero(words.lengths < SHINGLE)
    whole = [
        hash(tuple(words.codes[words.starts[row] : words.starts[row + 1]].tolist())) & (2**64 - 1) for row in short
    ]
    codes = np.concatenate([codes, np.array(whole, dtype=np.uint64)])
    owners = np.concatenate([owners, short])
    order = np.argsort(owners, kind="stable")
    return codes[order], np.searchsorted(owners[order], np.arange(len(words) + 1)).astype(np.int64)


def _exact(shingles: Codes, starts: Ints) -> Ints:
    """[N] the first text with the same shingles in the same order, which means the same words."""
    first: dict[bytes, int] = {}
    keys = (shingles[start:end].tobytes() for start, end in pairwise(starts))
    return np.array([first.setdefault(key, row) for row, key in enumerate(keys)], dtype=np.int64)


def _candidates(signature: NDArray[np.uint32]) -> list[tuple[Ints, Ints]]:
    """Pairs of rows with an equal band, each once: neighbours within `_REACH` places of a bucket."""
    rows = len(signature)
    width = _HASHES // _BANDS
    keys: list[Ints] = []
    numbers: Codes = np.arange(rows, dtype=np.uint64)
    for band in range(_BANDS):
        part = signature[:, band * width : (band + 1) * width].astype(np.uint64)
        bucket = mix(part[:, 0] << np.uint64(32) | part[:, 1]) ^ mix(part[:, 2] << np.uint64(32) | part[:, 3])
        order = np.lexsort((mix(bucket + numbers), bucket))
        for step in range(1, _REACH + 1):
            same = bucket[order[step:]] == bucket[order[:-step]]
            a, b = order[step:][same], order[:-step][same]
            keys.append(np.minimum(a, b) * rows + np.maximum(a, b))
    pairs = np.unique(np.concatenate(keys))
    return [(block // rows, block % rows) for block in np.array_split(pairs, len(pairs) // 100_000 + 1)]


def _jaccard(shingles: Codes, starts: Ints, a: int, b: int) -> float:
    one = set(shingles[starts[a] : starts[a + 1]].tolist())
    two = set(shingles[starts[b] : starts[b + 1]].tolist())
    return len(one & two) / len(one | two)


def _root(leaders: Ints, row: int) -> int:
    while leaders[row] != row:
        leaders[row] = leaders[leaders[row]]
        row = int(leaders[row])
    return row
