"""What the parts of an audit share: the rows, a sample of each side and the sample's vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from audit.duplicates import duplicate_groups
from audit.rows import RowSet, sample_rows
from audit.vectors import Vectoriser, Vectors
from audit.words import Ints, Words, encode_words

__all__ = ["Material", "Part", "prepare"]


@dataclass
class Part:
    """A sample of one side's rows with vectors.

    Args:
        numbers: [K] the rows' numbers in the whole set, ascending.
        rows: The sampled rows.
        posts: [K, D] vectors of the seeker posts.
        responses: [K, D] vectors of the response posts.
    """

    numbers: Ints
    rows: RowSet
    posts: Vectors
    responses: Vectors

    @property
    def pairs(self) -> Vectors:
        """[K, 2 D] unit vectors whose products are the mean of the two fields' similarities."""
        return np.hstack([self.posts, self.responses]) * np.float32(0.5**0.5)

    def __len__(self) -> int:
        """Number of sampled rows."""
        return len(self.rows)

    def first(self, count: int, seed: int) -> Part:
        """A seeded draw of `count` rows of the sample."""
        drawn = sample_rows(len(self), count, seed)
        return Part(self.numbers[drawn], self.rows.take(drawn), self.posts[drawn], self.responses[drawn])


@dataclass
class Material:
    """All that is audited.

    Args:
        synthetic: All synthetic rows.
        real: All real rows.
        test: All test rows: real ones that no prompt, and no model that wrote rows, has seen.
        vectoriser: What made the vectors.
        parts: Side (`synthetic`, `real`, `test`) -> its sample; sides without rows are missing.
        seed: Seed of every draw.
        note: Tells the user what is being done.
    """

    synthetic: RowSet
    real: RowSet | None
    test: RowSet | None
    vectoriser: Vectoriser
    parts: dict[str, Part]
    seed: int
    note: Callable[[str], None] = lambda text: None
    _words: dict[str, Words] = field(default_factory=dict, repr=False)
    _groups: Ints | None = field(default=None, repr=False)

    @property
    def sides(self) -> dict[str, RowSet]:
        """The sides that have rows: name -> all of its rows."""
        named = {"synthetic": self.synthetic, "real": self.real, "test": self.test}
        return {name: rows for name, rows in named.items() if rows is not None}

    def words(self, side: str) -> Words:
        """[2 N] words of all seeker posts of a side, then of all its response posts."""
        if side not in self._words:
            rows = self.sides[side]
            self._words[side] = encode_words(text for texts in (rows.posts, rows.responses) for text in texts)
        return self._words[side]

    def everything(self, side: str) -> Words:
        """[2 N or 3 N] words of all that a side's rows say, dialogues included: what privacy looks at."""
        rows = self.sides[side]
        if not rows.turns:
            return self.words(side)
        name = f"{side}, dialogues too"
        if name not in self._words:
            self._words[name] = encode_words(rows.texts)
        return self._words[name]

    @property
    def response_groups(self) -> Ints:
        """[N] near-duplicate groups of the synthetic responses: the number of each group's first row."""
        if self._groups is None:
            self._groups = duplicate_groups(second_half(self.words("synthetic")))
        return self._groups

    def same_size(self) -> dict[str, Part]:
        """Samples of the synthetic and the real rows, as many of each."""
        sides = [name for name in ("synthetic", "real") if name in self.parts]
        count = min(len(self.parts[name]) for name in sides)
        return {name: self.parts[name].first(count, self.seed) for name in sides}


def first_half(words: Words) -> Words:
    """The seeker posts of a side's words."""
    middle = len(words) // 2
    return Words(words.codes[: words.starts[middle]], words.starts[: middle + 1])


def second_half(words: Words) -> Words:
    """The response posts of a side's words."""
    middle = len(words) // 2
    start = words.starts[middle]
    return Words(words.codes[start:], words.starts[middle:] - start)


def prepare(
    synthetic: RowSet,
    real: RowSet | None,
    test: RowSet | None,
    vectoriser: Vectoriser,
    *,
    sample: int,
    seed: int,
    note: Callable[[str], None] = lambda text: None,
) -> Material:
    """Draws the samples and makes their vectors.

    Args:
        synthetic: The rows to judge.
        real: Real rows.
        test: Test rows.
        vectoriser: What makes vectors.
        sample: Rows of each side that vectors are made of, at most.
        seed: Seed of the draws.
        note: Gets a line for each longer piece of work.
    """
    material = Material(synthetic, real, test, vectoriser, {}, seed, note)
    drawn = {name: sample_rows(len(rows), sample, seed) for name, rows in material.sides.items()}
    taken = {name: rows.take(drawn[name]) for name, rows in material.sides.items()}
    texts = [text for rows in taken.values() for text in (*rows.posts, *rows.responses)]
    note(f"vectors of {len(texts):,} texts by {vectoriser.name}")
    vectors = vectoriser(texts)
    place = 0
    for name, rows in taken.items():
        count = len(rows)
        posts, responses = vectors[place : place + count], vectors[place + count : place + 2 * count]
        material.parts[name] = Part(drawn[name], rows, posts, responses)
        place += 2 * count
    return material
