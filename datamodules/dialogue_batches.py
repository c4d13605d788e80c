"""Rows of the strategy tasks as batches: padded for the classifier, packed for the responder.

Legend: B rows, T tokens, K labels, P lines of packed rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.batching import pad, token_mask
from datamodules.contexts import IGNORED, ClassifierRow, ResponderRow

__all__ = ["ResponderBatch", "ResponderCollator", "StrategyBatch", "StrategyCollator", "pack"]


class StrategyBatch(TypedDict):
    """Tensors of the classifier's rows."""

    rows: Tensor
    """int64 [B]: row numbers in the DataModule."""
    groups: Tensor
    """int64 [B]: numbers of the groups."""
    ids: Tensor
    """int64 [B, T]."""
    mask: Tensor
    """bool [B, T]: True at tokens."""
    speakers: Tensor
    """int64 [B, T]: 0 special tokens and padding, 1 seeker, 2 supporter."""
    distances: Tensor
    """int64 [B, T]: turns from the last one."""
    targets: Tensor
    """float32 [B, K]: 1 at the row's labels."""
    gold: Tensor
    """float32 [B, K]: 1 at all labels of the turn, of which the row may have one."""


class ResponderBatch(TypedDict):
    """Tensors of the responder's rows, several in a line."""

    rows: Tensor
    """int64 [B]: row numbers in the DataModule."""
    groups: Tensor
    """int64 [B]: numbers of the groups."""
    ids: Tensor
    """int64 [P, T]."""
    labels: Tensor
    """int64 [P, T]: -100 where no loss counts the token."""
    positions: Tensor
    """int64 [P, T]: places within the row, from 0."""
    members: Tensor
    """int64 [P, T]: which of the B rows a token belongs to; -1 is padding."""


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Puts rows into lines, the longest first, each into the first line that has room (first-fit decreasing).

    Args:
        lengths: Tokens of each row; none above `capacity`.
        capacity: Tokens of a line.

    Returns:
        The row numbers of each line.
    """
    lines: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        place = next((line for line, free in enumerate(room) if free >= lengths[row]), len(lines))
        if place == len(lines):
            lines.append([])
            room.append(capacity)
        lines[place].append(row)
        room[place] -= lengths[row]
    return lines


class StrategyCollator:
    """Row numbers to a classifier's batch.

    Args:
        inputs: What is read in each row.
        targets: float32 [N, K].
        gold: float32 [N, K].
        groups: int64 [N].
        pad_id: Token id of padding.
    """

    def __init__(
        self,
        inputs: Sequence[ClassifierRow],
        targets: npt.NDArray[np.float32],
        gold: npt.NDArray[np.float32],
        groups: npt.NDArray[np.int64],
        pad_id: int,
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self.gold = gold
        self.groups = groups
        self.pad_id = pad_id

    def __call__(self, rows: list[int]) -> StrategyBatch:
        """Assembles the batch of these rows."""
        found = [self.inputs[row] for row in rows]
        ids = [row.ids for row in found]
        index = np.asarray(rows)
        return {
            "rows": torch.from_numpy(index),
            "groups": torch.from_numpy(self.groups[index]),
            "ids": pad(ids, self.pad_id),
            "mask": token_mask(ids),
            "speakers": pad([row.speakers for row in found], 0),
            "distances": pad([row.distances for row in found], 0),
            "targets": torch.from_numpy(self.targets[index]),
            "gold": torch.from_numpy(self.gold[index]),
        }


class ResponderCollator:
    """Row numbers to a responder's batch.

    Args:
        inputs: What is read and written in each row.
        groups: int64 [N].
        pad_id: Token id of padding; which one doesn't matter, since nothing attends to it.
        packed: Put short rows behind one another in lines as long as the longest row; else a row a line.
    """

    def __init__(
        self, inputs: Sequence[ResponderRow], groups: npt.NDArray[np.int64], pad_id: int, *, packed: bool
    ) -> None:
        self.inputs = inputs
        self.groups = groups
        self.pad_id = pad_id
        self.packed = packed

    def __call__(self, rows: list[int]) -> ResponderBatch:
        """Assembles the batch of these rows."""
        found = [self.inputs[row] for row in rows]
        lengths = [len(row.ids) for row in found]
        lines = pack(lengths, max(lengths)) if self.packed else [[row] for row in range(len(found))]
        places = [np.arange(length) for length in lengths]
        owners = [np.full(length, row) for row, length in enumerate(lengths)]
        index = np.asarray(rows)
        return {
            "rows": torch.from_numpy(index),
            "groups": torch.from_numpy(self.groups[index]),
            "ids": pad([np.concatenate([found[row].ids for row in line]) for line in lines], self.pad_id),
            "labels": pad([np.concatenate([found[row].labels for row in line]) for line in lines], IGNORED),
            "positions": pad([np.concatenate([places[row] for row in line]) for line in lines], 0),
            "members": pad([np.concatenate([owners[row] for row in line]) for line in lines], -1),
        }
