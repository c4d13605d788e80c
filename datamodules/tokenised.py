"""Rows as tokens: tokenised once, cached by content hash, read as flat arrays.

Rows of a clinical source are never written to the cache: token ids are text to whoever has the vocabulary.
Legend: N rows, R response tokens, S seeker tokens, W words of a response.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datamodules.files import replacing_path
from datamodules.records import MECHANISMS, Pair
from datamodules.spans import published_labels, spans_to_labels, token_clauses, trim_offsets, word_bounds

__all__ = ["Ragged", "RationaleSearch", "TextEncoder", "TokenisedPairs", "tokenise"]

RationaleSearch = Literal["spans", "published"]
_LAYOUT = "2"  # raise when what is stored changes


class TextEncoder:
    """Texts to token ids and trimmed character offsets, from a tokenizer's own description alone.

    Args:
        description: JSON of a `tokenizers.Tokenizer`.
        max_tokens: Window a side, special tokens included; longer texts are cut at the end.
        pad_id: Token id of padding.
    """

    def __init__(self, description: str, max_tokens: int, pad_id: int) -> None:
        from tokenizers import Tokenizer

        self.description = description
        self.max_tokens = max_tokens
        self.pad_id = pad_id
        self._tokenizer = Tokenizer.from_str(description)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, max_tokens: int) -> TextEncoder:
        """Takes over a fast Hugging Face tokenizer."""
        pad = tokenizer.pad_token_id
        return cls(tokenizer.backend_tokenizer.to_str(), max_tokens, 0 if pad is None else int(pad))

    def to_state(self) -> dict[str, Any]:
        """As plain values for a checkpoint."""
        return {"description": self.description, "max_tokens": self.max_tokens, "pad_id": self.pad_id}

    def encode(self, texts: Sequence[str]) -> list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], int]]:
        """Token ids, offsets and how many tokens the window cut, for each text.

        Returns:
            (int32 [R], int32 [R, 2], number of tokens cut) a text.
        """
        encoded = []
        for text, encoding in zip(texts, self._tokenizer.encode_batch(list(texts)), strict=True):
            cut = sum(len(part.ids) - sum(part.special_tokens_mask) for part in encoding.overflowing)
            encoded.append((np.array(encoding.ids, np.int32), trim_offsets(encoding.offsets, text), cut))
        return encoded


@dataclass
class Ragged:
    """Rows of unequal length in one flat array.

    Args:
        values: Everything, one row after the other.
        bounds: int64 [N + 1]; row i is `values[bounds[i]:bounds[i + 1]]`.
    """

    values: npt.NDArray[Any]
    bounds: npt.NDArray[np.int64]

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        """Row `row`, a view."""
        view: npt.NDArray[Any] = self.values[self.bounds[row] : self.bounds[row + 1]]
        return view

    def __len__(self) -> int:
        """N."""
        return len(self.bounds) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [N]."""
        return np.diff(self.bounds)


@dataclass
class TokenisedPairs:
    """Columns of N tokenised rows.

    Args:
        response: Token ids int32, R a row.
        offsets: Trimmed offsets int32, 2R a row (start and end in turn).
        clauses: Clause number of each response token int32, R a row, -1 for special tokens.
        seeker: Token ids int32, S a row.
        words: Bounds of the response's words int32, 2W a row, those beyond the window included.
        labels: Mechanism -> token labels int8, R a row, or none for a row without a placed rationale.
        gold_words: Mechanism -> word labels int8, W a row, or none.
        cut: int32 [N, 2]: response and seeker tokens that the window cut off.
        retokenises: bool [N]: whether the published code would keep the row (always True for span search).
    """

    response: Ragged
    offsets: Ragged
    clauses: Ragged
    seeker: Ragged
    words: Ragged
    labels: dict[str, Ragged]
    gold_words: dict[str, Ragged]
    cut: npt.NDArray[np.int32]
    retokenises: npt.NDArray[np.bool_]


def _rows_to_columns(
    pairs: Sequence[Pair], encoder: TextEncoder, search: RationaleSearch, tokenizer: Any
) -> dict[str, list[Any]]:
    responses = encoder.encode([pair.response_post for pair in pairs])
    seekers = encoder.encode([pair.seeker_post for pair in pairs])
    columns: dict[str, list[Any]] = {
        "response": [ids for ids, _, _ in responses],
        "offsets": [offsets.reshape(-1) for _, offsets, _ in responses],
        "clauses": [token_clauses(pair.response_post, r[1]) for pair, r in zip(pairs, responses, strict=True)],
        "seeker": [ids for ids, _, _ in seekers],
        "cut": [np.array([a[2], b[2]], np.int32) for a, b in zip(responses, seekers, strict=True)],
        "words": [],
        "retokenises": [],
    }
    for mechanism in MECHANISMS:
        columns[f"labels_{mechanism}"] = []
        columns[f"gold_words_{mechanism}"] = []
    for pair, (_, offsets, _) in zip(pairs, responses, strict=True):
        words = np.array(word_bounds(pair.response_post), np.int32).reshape(-1, 2)
        columns["words"].append(words.reshape(-1))
        keeps = True
        for mechanism in MECHANISMS:
            spans = pair.rationales.get(mechanism, [])
            labels = spans_to_labels(spans, offsets)
            if search == "published":
                texts = [pair.response_post[start:end] for start, end in spans]
                labels, keeps = published_labels(pair.response_post, texts, tokenizer, encoder.max_tokens)
            columns[f"labels_{mechanism}"].append(labels if spans else labels[:0])
            columns[f"gold_words_{mechanism}"].append(spans_to_labels(spans, words)[: len(words) if spans else 0])
        columns["retokenises"].append(keeps)
    return columns


def _ragged(table: Any, name: str) -> Ragged:
    column = table.column(name).combine_chunks()
    bounds = column.offsets.to_numpy().astype(np.int64)
    return Ragged(column.values.to_numpy(zero_copy_only=True), bounds)


def _features() -> Any:
    from datasets import Features, List, Value

    features = {name: List(Value("int32")) for name in ("response", "offsets", "clauses", "seeker", "cut", "words")}
    features["retokenises"] = Value("bool")
    for mechanism in MECHANISMS:
        features[f"labels_{mechanism}"] = List(Value("int8"))
        features[f"gold_words_{mechanism}"] = List(Value("int8"))
    return Features(features)


def _content_key(pairs: Sequence[Pair], encoder: TextEncoder, search: str) -> str:
    digest = hashlib.sha256(f"{_LAYOUT}:{encoder.max_tokens}:{search}:{encoder.description}".encode())
    for pair in pairs:
        digest.update(f"{pair.seeker_post}\0{pair.response_post}\0{sorted(pair.rationales.items())}\n".encode())
    return digest.hexdigest()


def _dataset(
    pairs: Sequence[Pair], encoder: TextEncoder, search: RationaleSearch, tokenizer: Any, cache: Path | None
) -> Any:
    """The tokenised rows as a `datasets.Dataset`, from the cache where it has them."""
    from datasets import Dataset

    file = cache / "tokens" / f"{_content_key(pairs, encoder, search)}.arrow" if cache is not None else None
    if file is not None and file.is_file():
        return Dataset.from_file(str(file))
    built = Dataset.from_dict(_rows_to_columns(pairs, encoder, search, tokenizer), features=_features())
    if file is None:
        return built
    import pyarrow as pa

    with replacing_path(file) as temporary, pa.ipc.new_stream(str(temporary), built.data.table.schema) as writer:
        writer.write_table(built.data.table)
    return Dataset.from_file(str(file))


def tokenise(
    pairs: Sequence[Pair],
    encoder: TextEncoder,
    *,
    search: RationaleSearch = "spans",
    tokenizer: Any = None,
    cache: Path | None = None,
) -> TokenisedPairs:
    """Tokenises rows, a source and generator at a time so that any mix of them finds its rows in the cache.

    Args:
        pairs: The rows.
        encoder: Tokenizer and window.
        search: How rationales become token labels: by `spans`, or as the `published` code searches them.
        tokenizer: The Hugging Face tokenizer, for `published` only.
        cache: Folder of the cache; None keeps everything in memory. Clinical rows stay in memory either way.

    Returns:
        Columns in the order of `pairs`.
    """
    from datasets import concatenate_datasets

    parts: dict[tuple[str, str], list[int]] = {}
    for row, pair in enumerate(pairs):
        parts.setdefault((pair.source, pair.generator), []).append(row)
    datasets, order = [], []
    for (source, _), rows in parts.items():
        part = [pairs[row] for row in rows]
        datasets.append(_dataset(part, encoder, search, tokenizer, None if source == "clinical" else cache))
        order += rows
    joined = concatenate_datasets(datasets) if len(datasets) > 1 else datasets[0]
    if order != list(range(len(pairs))):
        joined = joined.select(np.argsort(order, kind="stable")).flatten_indices(keep_in_memory=True)
    table = joined.data.table
    return TokenisedPairs(
        response=_ragged(table, "response"),
        offsets=_ragged(table, "offsets"),
        clauses=_ragged(table, "clauses"),
        seeker=_ragged(table, "seeker"),
        words=_ragged(table, "words"),
        labels={mechanism: _ragged(table, f"labels_{mechanism}") for mechanism in MECHANISMS},
        gold_words={mechanism: _ragged(table, f"gold_words_{mechanism}") for mechanism in MECHANISMS},
        cut=_ragged(table, "cut").values.reshape(-1, 2),
        retokenises=table.column("retokenises").to_numpy(),
    )
