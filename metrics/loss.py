"""A mean loss that is the same to the last digit on any number of devices."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

__all__ = ["OrderedMean"]


class OrderedMean(Metric):
    """Mean of the batches' losses, weighted by their rows and summed without rounding.

    A batch is known by its first row number, so that one that two processes evaluated counts once.
    """

    full_state_update = False

    batches: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("batches", default=[], dist_reduce_fx="cat")

    def update(self, loss: Tensor, rows: Tensor) -> None:
        """Takes in a batch.

        Args:
            loss: float scalar, the batch's mean loss.
            rows: int64 [B], its row numbers.
        """
        entry = torch.tensor([[float(rows[0]), float(loss), float(len(rows))]], dtype=torch.float64)
        self.batches.append(entry.to(self.device))

    def compute(self) -> Tensor:
        """float64 scalar; nan where there was no batch."""
        if not len(self.batches):
            return torch.tensor(math.nan, dtype=torch.float64)
        entries = {first: (loss, rows) for first, loss, rows in dim_zero_cat(self.batches).tolist()}
        total = math.fsum(loss * rows for loss, rows in entries.values())
        return torch.tensor(total / math.fsum(rows for _, rows in entries.values()), dtype=torch.float64)
