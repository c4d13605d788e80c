"""Canaries: made-up secrets that go into prompts or training rows, to see whether synthetic rows give them away.

After Carlini et al. (2019, "The Secret Sharer"): the exposure of a secret says how much better than chance it ranks
among secrets that were made alike and never used. Nobody has the generator's probabilities here, only its rows, so
secrets are ranked by a bigram model of the rows (Meeus et al., 2025, "The Canary's Echo").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log2
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.words import Codes, Words, encode_words
from datamodules.files import replacing
from errors import DataError

__all__ = ["Canary", "bigram_scores", "exposures", "make_canaries", "read_canaries", "said_aloud", "write_canaries"]

_PLACES = ("locker", "drawer", "notebook", "garden shed", "bike lock", "lunch box", "music case", "desk", "van", "door")
_ONSETS, _RHYMES = ("b", "br", "d", "f", "gl", "k", "m", "n", "pl", "r", "st", "t", "v", "z"), ("ab", "el", "ik", "on")


@dataclass
class Canary:
    """One made-up secret.

    Args:
        text: The sentence that carries it.
        secret: The part that nobody could guess.
        inserted: Whether it went into prompts or training rows; the others are the yardstick.
    """

    text: str
    secret: str
    inserted: bool


def make_canaries(inserted: int, references: int, seed: int) -> list[Canary]:
    """Makes secrets that differ from one another.

    Args:
        inserted: Secrets to use.
        references: Secrets made alike that must never be used.
        seed: Seed; who knows it knows the secrets.
    """
    generator = np.random.default_rng(seed)
    secrets: dict[str, str] = {}
    while len(secrets) < inserted + references:
        words = ["".join(map(str, generator.choice(parts, 2))) for parts in (_ONSETS, _ONSETS)]
        name = "".join(str(generator.choice(_ONSETS)) + str(generator.choice(_RHYMES)) for _ in words).capitalize()
        secret = f"{name} {generator.integers(1000, 10_000)}"
        secrets.setdefault(secret, f"The word on my {generator.choice(_PLACES)} is {secret}.")
    return [Canary(text, secret, number < inserted) for number, (secret, text) in enumerate(secrets.items())]


def write_canaries(canaries: Sequence[Canary], path: Path) -> None:
    """Writes canaries as JSON Lines, one an object with `text`, `secret` and `inserted`."""
    with replacing(path) as file:
        file.writelines(json.dumps(asdict(canary)) + "\n" for canary in canaries)


def read_canaries(path: Path) -> list[Canary]:
    """Reads what `write_canaries` wrote.

    Raises:
        DataError: The file can't be read, or lacks inserted canaries or references.
    """
    canaries, problems = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError([f"{path}: {error}; check the path"]) from None
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            canaries.append(Canary(str(fields["text"]), str(fields["secret"]), bool(fields["inserted"])))
        except (ValueError, TypeError, KeyError):
            problems.append(f"{path}, line {number}: not an object with text, secret and inserted")
    if not problems and len({canary.inserted for canary in canaries}) < 2:
        problems.append(f"{path}: needs canaries that were inserted and references that were not")
    if problems:
        raise DataError(problems)
    return canaries


def said_aloud(canaries: Sequence[Canary], words: Words) -> NDArray[np.bool_]:
    """[C] whether a text holds the canary's secret, word for word."""
    found = np.zeros(len(canaries), dtype=np.bool_)
    for row, canary in enumerate(canaries):
        secret = encode_words([canary.secret]).codes
        count = len(words.codes) - len(secret) + 1
        if count > 0 and len(secret):
            places = np.flatnonzero(words.codes[:count] == secret[0])
            found[row] = any(bool((words.codes[place : place + len(secret)] == secret).all()) for place in places)
    return found


def bigram_scores(texts: Words, words: Words) -> NDArray[np.float64]:
    """Mean log-probability of each text's words under a bigram model of others, add-one smoothed.

    Args:
        texts: [C] texts to score; one without two words scores -inf.
        words: The texts that the model is made of.
    """
    firsts, first_counts = np.unique(words.codes, return_counts=True)
    pairs, pair_counts = np.unique(words.ngrams(2)[0], return_counts=True)
    seen, owners = texts.ngrams(2)
    if not len(seen):
        return np.full(len(texts), -np.inf)
    inside = texts.owners[:-1] == texts.owners[1:]
    before = texts.codes[:-1][inside]
    joint = _counts(seen, pairs, pair_counts) + 1
    alone = _counts(before, firsts, first_counts) + len(firsts) + 1
    logs = np.log(joint) - np.log(alone)
    number = np.bincount(owners, minlength=len(texts))
    total = np.bincount(owners, weights=logs, minlength=len(texts))
    scores = np.full(len(texts), -np.inf)
    np.divide(total, number, out=scores, where=number > 0)
    return scores


def _counts(codes: Codes, known: Codes, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    if not len(known):
        return np.zeros(len(codes))
    places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[places] == codes, counts[places], 0).astype(np.float64)


def exposures(inserted: NDArray[np.float64], references: NDArray[np.float64]) -> list[float]:
    """Exposure of each inserted secret in bits: log2 of all candidates less log2 of its rank among the references.

    0 is the last rank, log2(references + 1) the first; a secret that had no effect has 1.44 on average.

    Args:
        inserted: [I] scores of the inserted secrets; high is likely.
        references: [R] scores of the references; a reference with the same score ranks first.
    """
    ranks = 1 + (references[None] >= inserted[:, None]).sum(1)
    return [log2(len(references) + 1) - log2(int(rank)) for rank in ranks]
