"""Pairs as batches of the empathy model.

Legend: B pairs, R response tokens, S seeker tokens, W words, M mechanisms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.batching import pad, token_mask
from datamodules.tokenised import Ragged, TokenisedPairs

__all__ = ["EmpathyBatch", "PairCollator"]

IntArray = npt.NDArray[np.int64]


class EmpathyBatch(TypedDict):
    """Tensors of a batch of pairs.

    The last five are there in evaluation only.
    """

    rows: Tensor
    """int64 [B]: row numbers in the DataModule."""
    groups: Tensor
    """int64 [B]: numbers of the groups."""
    posts: Tensor
    """int64 [B]: numbers of the distinct seeker posts."""
    response_ids: Tensor
    """int64 [B, R]."""
    response_mask: Tensor
    """bool [B, R]: True at tokens."""
    seeker_ids: Tensor
    """int64 [B, S]."""
    seeker_mask: Tensor
    """bool [B, S]."""
    levels: Tensor
    """int64 [B, M]: -1 where the mechanism is not annotated."""
    token_labels: Tensor
    """int64 [B, M, R]: 1 rationale, 0 not; -100 on special and blank tokens, padding, rows without one."""
    offsets: NotRequired[Tensor]
    """int64 [B, R, 2]."""
    clauses: NotRequired[Tensor]
    """int64 [B, R]: number of the token's clause, -1 on special tokens and padding."""
    words: NotRequired[Tensor]
    """int64 [B, W, 2]: bounds of the response's words; (0, 0) is padding."""
    gold_words: NotRequired[Tensor]
    """int64 [B, M, W]: -1 is padding."""
    has_rationale: NotRequired[Tensor]
    """bool [B, M]: a rationale is placed in the response."""


class PairCollator:
    """Row numbers to a batch.

    Args:
        tokens: The tokenised rows.
        levels: int64 [N, M], -1 where not annotated.
        groups: int64 [N].
        posts: int64 [N].
        mechanisms: The M mechanisms.
        pad_id: Token id of padding.
        evaluation: Whether to add what only evaluation needs.
        window: Pads every text to this many tokens, as the published code does; None: to the longest of the batch.
    """

    def __init__(
        self,
        tokens: TokenisedPairs,
        levels: IntArray,
        groups: IntArray,
        posts: IntArray,
        mechanisms: Sequence[str],
        pad_id: int,
        *,
        evaluation: bool,
        window: int | None = None,
    ) -> None:
        self.tokens = tokens
        self.levels = levels
        self.groups = groups
        self.posts = posts
        self.mechanisms = mechanisms
        self.pad_id = pad_id
        self.evaluation = evaluation
        self.window = window

    def _ids(self, column: Ragged, rows: list[int]) -> tuple[Tensor, Tensor]:
        values = [column[row] for row in rows]
        ids = pad(values, self.pad_id, self.window)
        return ids, token_mask(values, ids.shape[1])

    def __call__(self, rows: list[int]) -> EmpathyBatch:
        """Assembles the batch of these rows."""
        response_ids, response_mask = self._ids(self.tokens.response, rows)
        seeker_ids, seeker_mask = self._ids(self.tokens.seeker, rows)
        index = np.asarray(rows)
        batch: EmpathyBatch = {
            "rows": torch.from_numpy(index),
            "groups": torch.from_numpy(self.groups[index]),
            "posts": torch.from_numpy(self.posts[index]),
            "response_ids": response_ids,
            "response_mask": response_mask,
            "seeker_ids": seeker_ids,
            "seeker_mask": seeker_mask,
            "levels": torch.from_numpy(self.levels[index]),
            "token_labels": self._token_labels(rows, response_ids.shape[1]),
        }
        if self.evaluation:
            words = [self.tokens.words[row].reshape(-1, 2) for row in rows]
            longest = max(map(len, words))
            batch["offsets"] = pad([self.tokens.offsets[row].reshape(-1, 2) for row in rows], 0, response_ids.shape[1])
            batch["clauses"] = pad([self.tokens.clauses[row] for row in rows], -1, response_ids.shape[1])
            batch["words"] = pad(words, 0)
            gold = [
                pad([self._gold_words(mechanism, row) for row in rows], -1, longest) for mechanism in self.mechanisms
            ]
            batch["gold_words"] = torch.stack(gold, dim=1)
            batch["has_rationale"] = torch.tensor(
                [[len(self.tokens.labels[mechanism][row]) > 0 for mechanism in self.mechanisms] for row in rows]
            )
        return batch

    def _token_labels(self, rows: list[int], length: int) -> Tensor:
        labels = torch.full((len(rows), len(self.mechanisms), length), -100, dtype=torch.int64)
        for place, row in enumerate(rows):
            offsets = self.tokens.offsets[row].reshape(-1, 2)
            special = offsets[:, 1] <= offsets[:, 0]
            for column, mechanism in enumerate(self.mechanisms):
                values = self.tokens.labels[mechanism][row].astype(np.int64)
                if len(values):
                    values[special] = -100
                    labels[place, column, : len(values)] = torch.from_numpy(values)
        return labels

    def _gold_words(self, mechanism: str, row: int) -> npt.NDArray[np.int8]:
        gold = self.tokens.gold_words[mechanism][row]
        return gold if len(gold) else np.zeros(len(self.tokens.words[row]) // 2, np.int8)
