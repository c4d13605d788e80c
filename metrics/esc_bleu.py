"""BLEU as papers on ESConv print it, by the evaluation code that came with Liu et al. (ACL 2021)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tokens", "esc_bleu", "esc_bleu_counts", "esc_tokens", "ngrams"]

Tokens = Sequence[str]
FloatArray = NDArray[np.float64]
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+")


@lru_cache(maxsize=1)
def _treebank() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer  # type: ignore[import-untyped]

    return NLTKWordTokenizer()


def esc_tokens(text: str) -> list[str]:
    """Tokens of the ESConv literature: lower case, NLTK's words sentence by sentence.

    NLTK finds sentence ends by a model (Punkt) that has to be downloaded; here white space after `.`, `!` or `?` ends a
    sentence. That decides on nothing but whether a full stop is a token of its own.
    """
    return [token for part in _SENTENCE_END.split(text.lower()) for token in _treebank().tokenize(part)]


def ngrams(tokens: Tokens, order: int, short: int = 0) -> list[tuple[str, ...]]:
    """Runs of `order` tokens, without the last `short` ones."""
    return [tuple(tokens[first : first + order]) for first in range(len(tokens) - order + 1 - short)]


def esc_bleu_counts(responses: Sequence[Tokens], references: Sequence[Tokens]) -> FloatArray:
    """What `esc_bleu` is made of, a line a response: the lines' sums decide the score.

    Args:
        responses: N texts of `esc_tokens`.
        references: N texts of `esc_tokens`.

    Returns:
        float64 [N, 10]: length, reference's length, and for each order the n-grams found in the reference and all
        n-grams, at least 1 as in NLTK.
    """
    counts = np.zeros((len(responses), 10))
    for row, (response, reference) in enumerate(zip(responses, references, strict=True)):
        counts[row, :2] = len(response), len(reference)
        for order in range(1, 5):
            found, gold = Counter(ngrams(response, order)), Counter(ngrams(reference, order))
            counts[row, 2 * order : 2 * order + 2] = (found & gold).total(), max(found.total(), 1)
    return counts


def esc_bleu(counts: FloatArray) -> FloatArray:
    """BLEU-1 to BLEU-4: cumulative, equal weights, NLTK's corpus BLEU with smoothing method 3.

    Method 3 (Chen and Cherry, 2014) puts 1 / 2^k in the place of the k-th order without a match.

    Args:
        counts: float64 [X, 10], sums of `esc_bleu_counts`.

    Returns:
        float64 [X, 4], 0 to 100.
    """
    length, gold, matches, total = counts[:, 0], counts[:, 1], counts[:, 2::2], counts[:, 3::2]
    missing = matches == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(missing, 0.5 ** np.cumsum(missing, axis=1), matches) / total
        brevity = np.exp(np.minimum(0, 1 - gold / length))
        scores = np.exp(np.cumsum(np.log(precision), axis=1) / np.arange(1, 5)) * brevity[:, None]
    return 100 * np.where(matches[:, :1] > 0, scores, 0.0)
