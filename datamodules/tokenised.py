"""Rows as tokens: tokenised once, cached by content hash, read as flat arrays.

Rows of a clinical source are never written to the cache: token ids are text to whoever has the vocabulary.
Legend: N rows, R response tokens, S seeker tokens, W words of a response.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import datamodules.spans
from datamodules.files import replacing_path
from datamodules.records import MECHANISMS, Pair
from datamodules.spans import published_labels, spans_to_labels, token_clauses, trim_offsets, word_bounds
from errors import UserError

__all__ = ["Ragged", "RationaleSearch", "TextEncoder", "TokenisedPairs", "tokenise"]

RationaleSearch = Literal["spans", "published"]
_AT_ONCE = 2048  # rows; a tokenizer's own account of a text takes far more memory than what is kept of it


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
        special = self._tokenizer.num_special_tokens_to_add(False)
        if max_tokens <= special:
            raise UserError(f"--data.max_tokens is {max_tokens}; {special} special tokens leave no room for a text")
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


def _columns(
    pairs: Sequence[Pair], encoder: TextEncoder, search: RationaleSearch, tokenizer: Any
) -> dict[str, list[npt.NDArray[Any]]]:
    """Column -> an array a row."""
    columns: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    none = np.zeros(0, np.int8)
    responses = encoder.encode([pair.response_post for pair in pairs])
    seekers = encoder.encode([pair.seeker_post for pair in pairs])
    for pair, (response, offsets, response_cut), (seeker, _, seeker_cut) in zip(pairs, responses, seekers, strict=True):
        text = pair.response_post
        words = np.array(word_bounds(text), np.int32).reshape(-1, 2)
        row: dict[str, npt.NDArray[Any]] = {
            "response": response,
            "offsets": offsets.reshape(-1),
            "clauses": token_clauses(text, offsets),
            "seeker": seeker,
            "cut": np.array([response_cut, seeker_cut], np.int32),
            "words": words.reshape(-1),
        }
        for mechanism in MECHANISMS:
            spans = pair.rationales.get(mechanism, [])
            row[f"labels_{mechanism}"] = spans_to_labels(spans, offsets) if spans else none
            row[f"gold_words_{mechanism}"] = spans_to_labels(spans, words) if spans else none
        row["retokenises"] = np.ones(1, np.int8)
        if search == "published":
            row |= _published_columns(pair, tokenizer, encoder.max_tokens)
        for name, values in row.items():
            columns[name].append(values)
    return columns


def _published_columns(pair: Pair, tokenizer: Any, max_tokens: int) -> dict[str, npt.NDArray[Any]]:
    """What the published search says of a row."""
    row: dict[str, npt.NDArray[Any]] = {}
    for mechanism, spans in (pair.rationales or {"": []}).items():
        pieces = [pair.response_post[start:end] for start, end in spans]
        labels, keeps = published_labels(pair.response_post, pieces, tokenizer, max_tokens)
        row["retokenises"] = np.array([keeps], np.int8)
        if spans:
            row[f"labels_{mechanism}"] = labels
    return row


def _table(pairs: Sequence[Pair], encoder: TextEncoder, search: RationaleSearch, tokenizer: Any) -> Any:
    """The tokenised rows as an Arrow table of list columns."""
    import pyarrow as pa

    columns: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    for first in range(0, len(pairs), _AT_ONCE):
        for name, rows in _columns(pairs[first : first + _AT_ONCE], encoder, search, tokenizer).items():
            columns[name] += rows
    lists = {}
    for name, rows in columns.items():
        bounds = np.cumsum([0, *map(len, rows)])
        lists[name] = pa.LargeListArray.from_arrays(bounds, np.concatenate(rows))
    return pa.table(lists)


def _ragged(table: Any, name: str) -> Ragged:
    column = table.column(name).combine_chunks()
    bounds = column.offsets.to_numpy()
    return Ragged(column.values.to_numpy(zero_copy_only=True), bounds)


def _content_key(pairs: Sequence[Pair], encoder: TextEncoder, search: str) -> str:
    digest = hashlib.sha256(f"{encoder.max_tokens}:{search}:{encoder.description}".encode())
    for code in (__file__, datamodules.spans.__file__):  # what is stored, and how it is made
        digest.update(Path(code).read_bytes())
    for pair in pairs:
        digest.update(f"{pair.seeker_post}\0{pair.response_post}\0{sorted(pair.rationales.items())}\n".encode())
    return digest.hexdigest()


def _dataset(
    pairs: Sequence[Pair], encoder: TextEncoder, search: RationaleSearch, tokenizer: Any, cache: Path | None
) -> Any:
    """The tokenised rows as a `datasets.Dataset`, from the cache where it has them."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    file = cache / "tokens" / f"{_content_key(pairs, encoder, search)}.arrow" if cache is not None else None
    if file is not None and file.is_file():
        return Dataset.from_file(str(file))
    table = _table(pairs, encoder, search, tokenizer)
    if file is None:
        return Dataset(InMemoryTable(table))
    import pyarrow as pa

    with replacing_path(file) as temporary, pa.ipc.new_stream(str(temporary), table.schema) as writer:
        writer.write_table(table)
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
    table = concatenate_datasets(datasets).data.table
    if order != list(range(len(pairs))):
        table = table.take(np.argsort(order, kind="stable"))
    return TokenisedPairs(
        response=_ragged(table, "response"),
        offsets=_ragged(table, "offsets"),
        clauses=_ragged(table, "clauses"),
        seeker=_ragged(table, "seeker"),
        words=_ragged(table, "words"),
        labels={mechanism: _ragged(table, f"labels_{mechanism}") for mechanism in MECHANISMS},
        gold_words={mechanism: _ragged(table, f"gold_words_{mechanism}") for mechanism in MECHANISMS},
        cut=_ragged(table, "cut").values.reshape(-1, 2),
        retokenises=_ragged(table, "retokenises").values.astype(np.bool_),
    )
