"""How varied texts are: n-grams, self-BLEU, compression, and the spread of their vectors."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.vectors import Vectors, nearest
from audit.words import Ints, Words, encode_words

__all__ = ["compression_ratio", "coverage", "distinct", "lexical_diversity", "self_bleu", "spread"]

_ORDERS = 4
_ZERO = 0.1


def lexical_diversity(texts: Sequence[str], budget: int) -> dict[str, float]:
    """Measures of wording; compare them between sets of texts at the same number of texts and the same budget.

    Args:
        texts: The texts in random order.
        budget: Words of the texts that n-grams and compression look at; the rest would make a longer set look poorer.

    Returns:
        `distinct_1` to `distinct_3`, `compression_ratio` and `self_bleu`.
    """
    words = encode_words(texts)
    last = int(np.searchsorted(words.starts, budget, side="right")) - 1
    cut = Words(words.codes[:budget], np.append(words.starts[: last + 1], min(budget, len(words.codes))))
    scores = {f"distinct_{n}": distinct(cut, n) for n in (1, 2, 3)}
    scores["compression_ratio"] = compression_ratio(texts[: max(last, 1)])
    scores["self_bleu"] = float(np.mean(self_bleu(words))) if len(words) > 1 else float("nan")
    return scores


def distinct(words: Words, n: int) -> float:
    """Distinct n-grams per n-gram (Li et al., 2016)."""
    codes, _ = words.ngrams(n)
    return len(np.unique(codes)) / len(codes) if len(codes) else float("nan")


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of the texts per byte that zlib needs for them: high where texts repeat each other's wording.

    Shaib et al. (2024, "Standardizing the Measurement of Text Diversity") found it the best single measure.
    """
    text = "\n".join(texts).encode()
    return len(text) / len(zlib.compress(text, 9))


def self_bleu(words: Words) -> NDArray[np.float64]:
    """BLEU-4 of each text with all the others as its references (Zhu et al., 2018, "Texygen"); low is varied.

    Sentence BLEU on normalised words: counts clipped by the largest count in any one reference, geometric mean of the
    n-gram precisions up to 4 (of a shorter text: up to its length), an order without a match counted as 0.1 matches,
    brevity penalty by the closest length of a reference. All references are looked at, by keeping the two largest
    counts of each n-gram.

    Args:
        words: The texts, two at least.

    Returns:
        [N] scores between 0 and 1.
    """
    lengths = words.lengths
    logs = np.zeros(len(words))
    for n in range(1, _ORDERS + 1):
        matched = _clipped_matches(words, n)
        total = np.maximum(lengths - n + 1, 0)
        known = total > 0
        logs[known] += np.log(np.maximum(matched[known], _ZERO) / total[known])
    orders = np.minimum(lengths, _ORDERS)
    precision = np.exp(np.divide(logs, orders, out=np.full(len(words), -np.inf), where=orders > 0))
    scores: NDArray[np.float64] = precision * _brevity(lengths)
    return scores


def _clipped_matches(words: Words, n: int) -> NDArray[np.float64]:
    """[N] n-grams of each text that are matched in one of the others, repeats clipped."""
    codes, owners = words.ngrams(n)
    if not len(codes):
        return np.zeros(len(words))
    _, grams = np.unique(codes, return_inverse=True)
    cells, counts = np.unique(grams * len(words) + owners, return_counts=True)
    gram, owner = cells // len(words), cells % len(words)
    order = np.lexsort((-counts, gram))
    first = np.searchsorted(gram[order], np.arange(gram[-1] + 1))
    best = order[first]
    second = np.zeros(len(best), dtype=np.int64)
    several = np.append(first[1:], len(order)) - first > 1
    second[several] = counts[order[first[several] + 1]]
    limit = np.where(best[gram] == np.arange(len(gram)), second[gram], counts[best][gram])
    return np.bincount(owner, weights=np.minimum(counts, limit), minlength=len(words)).astype(np.float64)


def _brevity(lengths: Ints) -> NDArray[np.float64]:
    """[N] BLEU's penalty for a text shorter than the closest length among the others; of two as close the shorter."""
    order = np.argsort(lengths, kind="stable")
    ranked = lengths[order].astype(np.float64)
    below = np.concatenate([[-np.inf], ranked[:-1]])
    above = np.concatenate([ranked[1:], [np.inf]])
    closest = np.where(ranked - below <= above - ranked, below, above)
    penalty = np.ones(len(lengths))
    penalty[order] = np.exp(np.minimum(0.0, 1 - closest / np.maximum(ranked, 1)))
    return penalty


def spread(vectors: Vectors) -> dict[str, float]:
    """How far apart texts are.

    Args:
        vectors: [N, D] unit vectors.

    Returns:
        `mean_distance`, the mean cosine distance of two texts, `nearest_distance`, the mean distance to the most
        similar other text, and `vendi`, the effective number of different texts per text (Friedman and Dieng, 2023).
    """
    count = len(vectors)
    if count < 2:
        return dict.fromkeys(("mean_distance", "nearest_distance", "vendi"), float("nan"))
    total = vectors.sum(0, dtype=np.float64)
    similarity = (float(total @ total) - float((vectors.astype(np.float64) ** 2).sum())) / (count * (count - 1))
    close, _ = nearest(vectors, vectors, groups=[str(row) for row in range(count)])
    eigenvalues = np.linalg.eigvalsh(vectors.T.astype(np.float64) @ vectors / count)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    vendi = float(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))
    return {
        "mean_distance": 1 - similarity,
        "nearest_distance": 1 - float(close.mean()),
        "vendi": vendi / count,
    }


def coverage(real: Vectors, synthetic: Vectors, groups: Sequence[str], neighbours: int = 5) -> float:
    """Share of real texts with a synthetic one at least as near as their fifth real neighbour (Naeem et al., 2020).

    As many synthetic texts as real ones make the number comparable; of texts from one distribution about
    1 - 2 ** -5 = .97 are covered.

    Args:
        real: [N, D] unit vectors.
        synthetic: [K, D] unit vectors.
        groups: [N] groups of the real texts; neighbours are sought in other groups.
        neighbours: Real neighbours that span a text's surroundings.
    """
    radius = nearest(real, real, groups=groups, count=neighbours)[0][:, -1]
    return float((nearest(real, synthetic)[0][:, 0] >= radius).mean())
