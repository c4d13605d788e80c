"""The same rows with one group of people in the place of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.groups import Group, introduce, mentions, swap
from audit.rows import RowSet, sample_rows
from audit.words import Ints
from datamodules.records import Pair

__all__ = ["FEWEST", "Contrast", "counterfactuals"]

FEWEST = 10
"""Rows that a comparison needs."""


@dataclass
class Contrast:
    """Rows in two versions that differ in the seeker's or a third person's group alone.

    Args:
        axis: What the groups divide people by.
        reference: Name of the reference group.
        group: Name of the other group.
        kind: `swapped` words of the post, or a sentence that is `said` before it.
        reference_rows: [N] rows in the reference's version.
        rows: [N] the same rows in the other's version.
        groups: [N] groups of dependent rows.
    """

    axis: str
    reference: str
    group: str
    kind: str
    reference_rows: list[Pair]
    rows: list[Pair]
    groups: Ints

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.group} / {self.reference} ({self.kind})"


def counterfactuals(
    rows: RowSet, axes: dict[str, list[Group]], *, most: int, seed: int, fewest: int = FEWEST
) -> tuple[list[Contrast], int]:
    """Makes the versions of rows that are compared.

    A **swap** takes the rows whose post has words of exactly one of two groups and whose response has none of either
    (it would no longer fit). An **introduction** puts a sentence before any post.

    Args:
        rows: The rows.
        axes: Axis -> groups, the reference first.
        most: Rows a contrast, at most.
        seed: Seed of the draws.
        fewest: Rows that a swap needs.

    Returns:
        The contrasts, and how many swaps were left out because of the response or the other group.
    """
    members = np.unique(np.asarray(rows.groups), return_inverse=True)[1]
    contrasts: list[Contrast] = []
    left_out = 0
    said = sample_rows(len(rows), most, seed).tolist()

    def add(axis: str, reference: Group, group: Group, kind: str, numbers: list[int]) -> None:
        """Makes the two versions of the numbered rows."""
        versions: list[list[Pair]] = [[], []]
        for number in numbers:
            pair = rows.pairs[number]
            for version, target, source in ((0, reference, group), (1, group, reference)):
                post = pair.seeker_post
                post = introduce(post, target, number) if kind == "said" else swap(post, source, target)
                versions[version].append(replace(pair, seeker_post=post))
        contrasts.append(Contrast(axis, reference.name, group.name, kind, versions[0], versions[1], members[numbers]))

    for axis, (reference, *others) in axes.items():
        for group in others:
            if reference.says and group.says:
                add(axis, reference, group, "said", said)
            if reference.words and group.words:
                found, unfit = _swappable(rows.pairs, reference, group)
                left_out += unfit
                if len(found) >= fewest:
                    drawn = sample_rows(len(found), most, seed).tolist()
                    add(axis, reference, group, "swapped", [found[place] for place in drawn])
    return contrasts, left_out


def _swappable(pairs: Sequence[Pair], one: Group, two: Group) -> tuple[list[int], int]:
    found, unfit = [], 0
    for number, pair in enumerate(pairs):
        in_post = mentions(pair.seeker_post, one) + mentions(pair.seeker_post, two)
        if in_post == 1 and not mentions(pair.response_post, one) and not mentions(pair.response_post, two):
            found.append(number)
        elif in_post:
            unfit += 1
    return found, unfit
