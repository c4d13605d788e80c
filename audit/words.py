"""Texts as arrays of word codes, so that n-grams of a hundred thousand rows fit in memory and compare as numbers.

Letters in shapes: `N` texts, `W` words of all texts, `G` n-grams of all texts.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.records import normalise

__all__ = ["Codes", "Ints", "Words", "encode_words", "extend", "members", "mix"]

Codes = NDArray[np.uint64]
Ints = NDArray[np.int64]

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)


@dataclass
class Words:
    """The normalised words of some texts, end to end.

    Args:
        codes: [W] a 64-bit code a word; equal words have equal codes in every set of texts.
        starts: [N + 1] where each text begins; the last entry is W.
    """

    codes: Codes
    starts: Ints

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> Ints:
        """[N] words of each text."""
        return np.diff(self.starts)

    @property
    def owners(self) -> Ints:
        """[W] the text that each word belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def ngrams(self, n: int) -> tuple[Codes, Ints]:
        """All n-grams that lie within one text.

        Args:
            n: Words an n-gram.

        Returns:
            [G] codes of the n-grams, and [G] the text of each.
        """
        codes = self.codes
        positions: NDArray[np.int64] = np.arange(len(self.codes))
        for size in range(2, n + 1):
            positions = positions[: len(self.codes) - size + 1]
            codes = extend(codes[: len(positions)], self.codes[positions + size - 1])
        owners = self.owners[positions]
        inside = positions + n <= self.starts[owners + 1]
        return codes[inside], owners[inside]


def encode_words(texts: Iterable[str]) -> Words:
    """Splits texts into normalised words (case, punctuation and Unicode form don't count) and codes them.

    Args:
        texts: Any texts; they are read once.

    Returns:
        Their words. A text of white space alone has none.
    """
    known: dict[str, int] = {}
    codes, starts = array("Q"), array("q", [0])
    for text in texts:
        for word in normalise(text).split():
            code = known.get(word)
            if code is None:
                code = known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            codes.append(code)
        starts.append(len(codes))
    return Words(np.frombuffer(codes, dtype=np.uint64), np.frombuffer(starts, dtype=np.int64))


def extend(ngram: Codes, word: Codes) -> Codes:
    """The codes of n-grams that are one word longer."""
    return ngram * _BASE + word


def mix(codes: Codes) -> Codes:
    """Scrambles codes so that their order and their high bits are as good as random."""
    codes = (codes ^ (codes >> np.uint64(33))) * _MIX
    return codes ^ (codes >> np.uint64(29))


def members(codes: Codes, among: Codes) -> tuple[NDArray[np.bool_], Ints]:
    """Which codes occur among others.

    Args:
        codes: Codes to look for.
        among: Codes to look in.

    Returns:
        For each code whether it occurs, and at which place of `among` (any place where it doesn't occur).
    """
    if not len(among):
        return np.zeros(len(codes), dtype=np.bool_), np.zeros(len(codes), dtype=np.int64)
    order = np.argsort(among, kind="stable")
    places = np.minimum(np.searchsorted(among, codes, sorter=order), len(among) - 1)
    found = order[places]
    return among[found] == codes, found
