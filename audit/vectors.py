"""Texts as unit vectors whose products are similarities, from the small encoder or from word counts.

Letters in shapes: `N` texts, `D` width.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audit.words import Ints
from pretrained import PACKAGED, load_encoder, load_tokenizer

__all__ = ["EncoderVectors", "TfidfVectors", "Vectoriser", "Vectors", "make_vectoriser", "nearest"]

Vectors = NDArray[np.float32]

_SMALL = "sentence-transformers/all-MiniLM-L6-v2"


class Vectoriser(Protocol):
    """What makes vectors of texts."""

    name: str

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """[N, D] vectors of length 1."""
        ...


def make_vectoriser(name: str | None) -> Vectoriser:
    """Chooses how texts become vectors.

    Args:
        name: An encoder's folder or name, or `tfidf`; None: the small encoder where its package is installed, else
            `tfidf`.

    Raises:
        UserError: The encoder can't be loaded.
    """
    if name is None:
        name = _SMALL if importlib.util.find_spec(PACKAGED[_SMALL][0]) else "tfidf"
    return TfidfVectors() if name == "tfidf" else EncoderVectors(name)


class EncoderVectors:
    """Means of an encoder's last states over the tokens (Reimers and Gurevych, 2019).

    Args:
        name: See `pretrained.locate`.
        tokens: Tokens read of a text; the rest is not seen.
        batch: Texts a batch; batches hold texts of like length.
    """

    def __init__(self, name: str, tokens: int = 256, batch: int = 64) -> None:
        self.name = name
        self._tokenizer = load_tokenizer(name)
        encoder: Any = load_encoder(name)
        self._encoder = encoder.eval()
        self._tokens, self._batch = tokens, batch

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """[N, D] vectors of length 1."""
        import torch
        from tqdm import tqdm

        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        vectors: Any = None
        for start in tqdm(range(0, len(order), self._batch), desc="vectors", unit="batch", disable=None):
            rows = order[start : start + self._batch]
            batch = self._tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=self._tokens,
                return_tensors="pt",
            )
            with torch.inference_mode():
                states = self._encoder(**batch).last_hidden_state  # [batch, tokens, D]
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
            if vectors is None:
                vectors = np.empty((len(texts), means.shape[1]), dtype=np.float32)
            vectors[rows] = means.numpy()
        return vectors if vectors is not None else np.empty((0, 1), dtype=np.float32)


class TfidfVectors:
    """Weighted word counts, reduced to at most 256 dimensions (latent semantic analysis); fitted on the first texts.

    Weaker than an encoder: it knows words, not what they mean.
    """

    name = "TF-IDF"

    def __init__(self) -> None:
        self._model: Any = None

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """[N, D] vectors of length 1; a text without a known word is a vector of zeros."""
        if self._model is None:
            self._model = self._fit(texts)
        vectors = np.asarray(self._model.transform(texts), dtype=np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9))
        return vectors

    def _fit(self, texts: Sequence[str]) -> Any:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline

        counts = TfidfVectorizer(
            sublinear_tf=True, max_features=50_000, dtype=np.float32, token_pattern=r"(?u)\b\w+\b"
        ).fit(texts)
        width = min(256, len(counts.vocabulary_) - 1)
        if width < 1:
            return counts  # one word in all: nothing to reduce
        return make_pipeline(counts, TruncatedSVD(width, random_state=0)).fit(texts)


def nearest(
    vectors: Vectors, others: Vectors, *, groups: Sequence[str] | None = None, count: int = 1, block: int = 1024
) -> tuple[Vectors, Ints]:
    """The most similar of other texts for each text, a block at a time.

    Args:
        vectors: [N, D] unit vectors.
        others: [K, D] unit vectors.
        groups: [N] groups, where the others are the texts themselves: those of a text's own group don't count.
        count: Neighbours a text.
        block: Texts compared at a time.

    Returns:
        [N, count] similarities in falling order (-1 where there is no further one), and [N, count] their rows.
    """
    count = min(count, len(others))
    similarity = np.empty((len(vectors), count), dtype=np.float32)
    rows = np.empty((len(vectors), count), dtype=np.int64)
    numbers = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    for start in range(0, len(vectors), block):
        part = slice(start, start + block)
        scores = vectors[part] @ others.T
        if numbers is not None:
            scores[numbers[part, None] == numbers[None]] = -1
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[part] = np.take_along_axis(best, order, axis=1)
        similarity[part] = np.take_along_axis(values, order, axis=1)
    return similarity, rows
