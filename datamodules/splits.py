"""Splits that keep a seeker post on one side, and the guard that proves it.

Two rows belong together when they share a group, a seeker post after normalisation, or seeker posts that are near-
duplicates (Jaccard similarity of their sets of three-word shingles at least `NEAR_DUPLICATE`). A seeker post shorter
than `SHORT_POST` words ("yes, thanks") has no near-duplicates, and is no sign of kinship where two rows carry different
groups of their own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt

from datamodules.records import Pair, normalise
from errors import UserError

__all__ = [
    "NEAR_DUPLICATE",
    "SPLITS",
    "Leak",
    "SplitName",
    "SplitOptions",
    "find_leaks",
    "group_rows",
    "hash_ids",
    "number_names",
    "seeded_key",
    "split_groups",
]

SplitName = Literal["train", "validation", "test"]
Reason = Literal["same pair", "same seeker post", "same group", "near-duplicate seeker post"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
NEAR_DUPLICATE = 0.8
SHORT_POST = 5
_SHINGLE = 3


@dataclass
class SplitOptions:
    """How rows are divided.

    Args:
        validation: Share of the rows that choose the checkpoint; 0 for none.
        test: Share of the rows that are tested; 0 for none, 1 for all.
        seed: Seed of the division, apart from the training's seed, so that runs of several seeds share one test set.
        by: `group` keeps a seeker post (or a table's own group) on one side. `row` divides row by row as the published
            code does, which leaks seeker posts; the leakage guard then has to be told to `report`.
    """

    validation: float = 0.05
    test: float = 0.20
    seed: int = 0
    by: Literal["group", "row"] = "group"

    def __post_init__(self) -> None:
        """Checks that the shares are shares."""
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--data.split.{name} is {getattr(self, name)}; it is a share from 0 to 1")
        if self.validation + self.test > 1:
            raise UserError(
                f"--data.split.validation {self.validation} and --data.split.test {self.test} add up to more than 1"
            )


@dataclass(frozen=True, slots=True)
class Leak:
    """A row that may train and a row that evaluates which belong together."""

    train: str
    evaluation: str
    why: Reason


def seeded_key(seed: int, name: str) -> bytes:
    """The sort key that makes a seeded order which doesn't depend on the order of files or rows."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def hash_ids(ids: Iterable[str]) -> str:
    """SHA-256 of a set of ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def number_names(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The place of each name among the distinct ones in order: int64 [N]."""
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([places[name] for name in names], dtype=np.int64)


class _Kinship:
    """What the rows' seeker posts and groups say about which rows belong together."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.own_group = [f"{pair.source}:{pair.generator}:{pair.group}" if pair.group else "" for pair in pairs]
        posts = [normalise(pair.seeker_post) for pair in pairs]
        self.texts = list(dict.fromkeys(posts))
        number = {text: index for index, text in enumerate(self.texts)}
        self.post = [number[post] for post in posts]
        self.short = [len(text.split()) < SHORT_POST for text in self.texts]

    def post_is_no_sign(self, a: int, b: int) -> bool:
        """Whether rows a and b share a post that is too short to mean anything beside their own, different groups."""
        groups = self.own_group[a], self.own_group[b]
        return self.short[self.post[a]] and all(groups) and groups[0] != groups[1]


def _shingles(texts: Sequence[str]) -> list[list[int]]:
    """The distinct shingles of each text as numbers, rare ones first; none of a short text."""
    words = [text.split() for text in texts]
    words = [own if len(own) >= SHORT_POST else [] for own in words]
    number: dict[str, int] = {}
    flat = np.array([number.setdefault(word, len(number)) for own in words for word in own], dtype=np.int64)
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in words])
    # Two words at a time are numbered anew, so that no product overflows.
    _, pair = np.unique(flat[:-1] * len(number) + flat[1:], return_inverse=True)
    whole = owner[:-2] == owner[2:]
    _, shingle, counts = np.unique((pair[:-1] * len(number) + flat[2:])[whole], return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    sorted_by_text = np.unique(owner[:-2][whole] * len(counts) + rank[shingle])
    bounds = np.searchsorted(sorted_by_text, np.arange(len(texts) + 1) * len(counts)).tolist()
    shingles = (sorted_by_text % max(len(counts), 1)).tolist()
    return [shingles[first:last] for first, last in pairwise(bounds)]


def _near_duplicates(texts: Sequence[str], sought: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Finds all pairs of unlike texts with a Jaccard similarity of their shingles of at least `NEAR_DUPLICATE`.

    Prefix filtering (Chaudhuri et al., ICDE 2006): with shingles ordered from rare to frequent, two sets that are
    similar enough share one of their first |S| - ceil(t |S|) + 1.

    Args:
        texts: Normalised texts.
        sought: Numbers of the texts that are looked for.

    Yields:
        Number of any text, number of a sought one that is similar.
    """
    ordered = _shingles(texts)
    prefixes = [own[: len(own) - ceil(NEAR_DUPLICATE * len(own)) + 1] for own in ordered]
    sets = [frozenset(own) for own in ordered]
    having: dict[int, list[int]] = defaultdict(list)
    for other in sought:
        for shingle in prefixes[other]:
            having[shingle].append(other)
    for text, own in enumerate(sets):
        for other in {other for shingle in prefixes[text] for other in having.get(shingle, ())} - {text}:
            theirs = sets[other]
            if min(len(own), len(theirs)) < NEAR_DUPLICATE * max(len(own), len(theirs)):
                continue
            common = len(own & theirs)
            if common >= NEAR_DUPLICATE * (len(own) + len(theirs) - common):
                yield text, other


def group_rows(pairs: Sequence[Pair], by: Literal["group", "row"] = "group") -> list[str]:
    """The group of each row: a name that is the same for rows which must stay on one side.

    Args:
        pairs: All rows.
        by: `row` gives each row a group of its own.

    Returns:
        A name a row, taken from the rows' content, so that it doesn't depend on their order.
    """
    if by == "row":
        return [pair.uid for pair in pairs]
    kin = _Kinship(pairs)
    parent = list(range(len(pairs)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(rows: list[int]) -> None:
        for row in rows[1:]:
            parent[root(row)] = root(rows[0])

    shared: dict[object, list[int]] = defaultdict(list)
    for row, (own, post, pair) in enumerate(zip(kin.own_group, kin.post, pairs, strict=True)):
        shared["group", own or row].append(row)
        shared["pair", post, normalise(pair.response_post)].append(row)
        shared["post", post, own if own and kin.short[post] else ""].append(row)
    for rows in shared.values():
        join(rows)
    by_post: dict[int, list[int]] = defaultdict(list)
    for row, post in enumerate(kin.post):
        by_post[post].append(row)
    for post, other in _near_duplicates(kin.texts, range(len(kin.texts))):
        join([by_post[post][0], by_post[other][0]])
    _join_short_posts(kin, by_post, join)
    members: dict[int, list[int]] = defaultdict(list)
    for row in range(len(pairs)):
        members[root(row)].append(row)
    names = {
        head: min(kin.own_group[row] or kin.texts[kin.post[row]] for row in rows) for head, rows in members.items()
    }
    return [names[root(row)] for row in range(len(pairs))]


def _join_short_posts(kin: _Kinship, by_post: Mapping[int, list[int]], join: Callable[[list[int]], None]) -> None:
    """A short post joins the rows without a group of their own to every row that has the post."""
    for post, rows in by_post.items():
        if kin.short[post] and any(not kin.own_group[row] for row in rows):
            join(rows)


def split_groups(groups: Sequence[str], strata: Sequence[Sequence[str]], options: SplitOptions) -> npt.NDArray[np.int8]:
    """Divides rows by group, keeping each stratum's share in every split as far as the groups allow.

    Iterative stratification (Sechidis et al., ECML PKDD 2011): the rarest stratum that is left is handed out first,
    each group to the split that lacks most of it.

    Args:
        groups: The group of each row.
        strata: The strata of each row, such as "reddit/explorations/2".
        options: Shares and seed.

    Returns:
        int8 per row: 0 train, 1 validation, 2 test (an index into `SPLITS`).
    """
    train = round(1 - options.validation - options.test, 9)  # .82 and .18 leave nothing
    shares = np.array([train, options.validation, options.test])
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows_of[group].append(row)
    ordered = sorted(rows_of, key=lambda group: seeded_key(options.seed, group))
    columns = {name: column for column, name in enumerate(sorted({name for row in strata for name in row}))}
    counts = np.zeros((len(ordered), len(columns) + 1))
    for index, group in enumerate(ordered):
        for row in rows_of[group]:
            counts[index, -1] += 1
            for name in strata[row]:
                counts[index, columns[name]] += 1
    wanted = np.outer(shares, counts.sum(axis=0))
    assigned = np.full(len(ordered), -1)
    while (assigned < 0).any():
        free = assigned < 0
        left = np.where(counts[free].sum(axis=0) > 0, counts[free].sum(axis=0), np.inf)
        stratum = int(left.argmin())
        for index in np.flatnonzero(free & (counts[:, stratum] > 0)).tolist():
            need = np.where(shares > 0, wanted[:, stratum], -np.inf)
            best = np.flatnonzero(need >= need.max() - 1e-9)
            split = int(best[np.argmax(wanted[best, -1])])
            assigned[index] = split
            wanted[split] -= counts[index]
    result = np.zeros(len(groups), dtype=np.int8)
    for index, group in enumerate(ordered):
        result[rows_of[group]] = assigned[index]
    return result


def find_leaks(train: Sequence[Pair], evaluation: Sequence[Pair]) -> list[Leak]:
    """Every row that may train and belongs together with a row that evaluates, with the strongest reason for each pair.

    Args:
        train: Rows that may train, synthetic candidates included.
        evaluation: Rows of the validation and test splits.

    Returns:
        The leaks, in the order of `train`; empty when there are none.
    """
    kin = _Kinship([*train, *evaluation])
    rows_with: dict[object, list[int]] = defaultdict(list)
    responses = [normalise(pair.response_post) for pair in (*train, *evaluation)]
    for row in range(len(train), len(responses)):
        rows_with["post", kin.post[row]].append(row)
        if kin.own_group[row]:
            rows_with["group", kin.own_group[row]].append(row)
    near: dict[int, list[int]] = defaultdict(list)
    for post, other in _near_duplicates(kin.texts, {kin.post[row] for row in range(len(train), len(responses))}):
        near[post].append(other)
    leaks: list[Leak] = []
    for row, pair in enumerate(train):
        reasons: dict[int, Reason] = {}
        for other in rows_with["post", kin.post[row]]:
            if responses[row] == responses[other]:
                reasons[other] = "same pair"
            elif not kin.post_is_no_sign(row, other):
                reasons[other] = "same seeker post"
        for other in rows_with["group", kin.own_group[row]]:
            reasons.setdefault(other, "same group")
        for post in near.get(kin.post[row], ()):
            for other in rows_with["post", post]:
                reasons.setdefault(other, "near-duplicate seeker post")
        leaks += [Leak(pair.uid, evaluation[other - len(train)].uid, why) for other, why in reasons.items()]
    return leaks
