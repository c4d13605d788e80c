"""The longest run of words that a text shares with any other text: verbatim copying, however short the copied part."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.words import Codes, Ints, Words, extend, members

__all__ = ["Overlap", "shared_runs"]


@dataclass
class Overlap:
    """What each text shares with the closest of the others, word for word.

    Args:
        length: [N] words of the longest run that is also in one of the others (0: not even a word).
        other: [N] the text that holds this run (-1: none).
        start: [N] the word of the text at which the run begins.
        shared: n -> share of the texts' n-grams that are found among the others' n-grams (n up to the longest run).
    """

    length: Ints
    other: Ints
    start: Ints
    shared: dict[int, float] = field(default_factory=dict)


def shared_runs(texts: Words, others: Words) -> Overlap:
    """Finds each text's longest run of words that stands in one of the others.

    A run of n + 1 shared words begins with one of n, and so does the one a word on; so each round keeps only the places
    that still match on both sides, and the rounds get shorter fast. Exact but for collisions of 64-bit codes.

    Args:
        texts: The texts that may have copied.
        others: The texts they may have copied from.

    Returns:
        The longest runs and the shares of shared n-grams.
    """
    found = Overlap(
        np.zeros(len(texts), dtype=np.int64),
        np.full(len(texts), -1, dtype=np.int64),
        np.zeros(len(texts), dtype=np.int64),
    )
    owners, other_owners = texts.owners, others.owners
    here, there = _Places(texts), _Places(others)
    n = 1
    while True:
        total = int(np.maximum(texts.lengths - n + 1, 0).sum())
        matched, where = members(here.codes, there.codes)
        found.shared[n] = float(matched.sum()) / total if total else 0.0
        if not matched.any():
            return found
        rows, first = np.unique(owners[here.places[matched]], return_index=True)
        found.length[rows] = n
        found.start[rows] = (here.places[matched] - texts.starts[owners[here.places[matched]]])[first]
        found.other[rows] = other_owners[there.places[where[matched]]][first]
        there.grow(members(there.codes, here.codes[matched])[0], n)
        here.grow(matched, n)
        n += 1


class _Places:
    """The places of some texts at which an n-gram begins that may still match."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.ends = words.starts[words.owners + 1]
        self.places = np.arange(len(words.codes))
        self.codes: Codes = words.codes

    def grow(self, kept: NDArray[np.bool_], n: int) -> None:
        """From the n-grams that matched to the (n + 1)-grams that may match."""
        places, codes = self.places[kept], self.codes[kept]
        longer = places + n < self.ends[places]
        longer[:-1] &= np.diff(places) == 1
        longer[-1:] = False
        self.places = places[longer]
        self.codes = extend(codes[longer], self.words.codes[self.places + n])
