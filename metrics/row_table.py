"""The rows of an evaluation, gathered over all devices."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

__all__ = ["RowTable"]


class RowTable(Metric):
    """Numbers of each evaluated row, the same for any order of rows and any number of devices.

    The state is the rows themselves; a row that two devices evaluated counts once.

    Args:
        columns: Numbers a row.
    """

    is_differentiable = False
    full_state_update = False

    cells: list[Tensor]

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.add_state("cells", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forgets all rows."""
        super().reset()
        self.cells.append(torch.empty(0, dtype=torch.float64, device=self.device))

    @property
    def update_called(self) -> bool:
        """Always true: a device without rows is sound."""
        return True

    def update(self, rows: Tensor, groups: Tensor, *values: Tensor) -> None:
        """Adds the rows of a batch.

        Args:
            rows: int64 [B], row numbers, unique over all devices.
            groups: int64 [B], numbers of the rows' groups.
            values: [B] or [B, X] each, `columns` numbers a row in all.
        """
        parts = [part.double().reshape(len(rows), -1) for part in (rows, groups, *values)]
        self.cells.append(torch.cat(parts, dim=1).flatten().to(self.device))

    def compute(self) -> Tensor:
        """float64 [N, 2 + columns] on the CPU: row, group and values over all devices, sorted by row."""
        table = dim_zero_cat(self.cells).reshape(-1, 2 + self.columns).cpu()
        order = torch.argsort(table[:, 0], stable=True)
        table = table[order]
        first = torch.ones(len(table), dtype=torch.bool)
        first[1:] = table[1:, 0] != table[:-1, 0]
        return table[first]
