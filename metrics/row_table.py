"""The rows of an evaluation, gathered over all devices.

Legend: B rows of a batch, N rows of the split, C columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

__all__ = ["GatheredRows", "RowTable"]


class GatheredRows(Metric):
    """Numbers of each evaluated row, the same to the last digit for any order of rows and any number of devices.

    The state is the rows themselves, so that scores are those of the whole split: means of batch or device means are
    another number. Row indices are unique over all devices; a row that a padded sampler hands out twice counts once.

    Args:
        columns: Numbers a row, C.
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
        # For a device without rows torchmetrics would gather an empty float tensor among the others' integers.
        self.cells.append(torch.empty(0, dtype=torch.int64, device=self.device))

    @property
    def update_called(self) -> bool:
        """Always true: a device without rows is sound, and the scores of no rows are nan without a warning."""
        return True

    def _add(self, rows: Tensor, groups: Tensor, *values: Tensor) -> None:
        """Keeps a batch: rows and groups int64 [B], values [B] or [B, X], C numbers a row in all.

        On the CPU as float64, which not every device has, and from there as bits: `Module.to` with a narrower dtype
        would round a float state.
        """
        parts = [part.cpu().double() for part in (rows, groups, *values)]
        parts = [part if part.ndim == 2 else part[:, None] for part in parts]
        self.cells.append(torch.cat(parts, dim=1).flatten().view(torch.int64).to(self.device))

    def _rows(self) -> Tensor:
        """float64 [N, 2 + C] on the CPU: row, group and values, sorted by row."""
        table = dim_zero_cat(self.cells).cpu().view(torch.float64).reshape(-1, 2 + self.columns)
        table = table[torch.argsort(table[:, 0], stable=True)]
        again = torch.zeros(len(table), dtype=torch.bool)
        again[1:] = table[1:, 0] == table[:-1, 0]
        before = again.nonzero().flatten() - 1
        assert torch.equal(table[again, 1], table[before, 1]), "two rows of different groups have the same row index"
        return table[~again]


class RowTable(GatheredRows):
    """The rows' numbers as they are."""

    def update(self, rows: Tensor, groups: Tensor, *values: Tensor) -> None:
        """Adds the rows of a batch.

        Args:
            rows: int64 [B], row indices in the evaluated split.
            groups: int64 [B], numbers of the rows' groups.
            values: [B] or [B, X] each, `columns` numbers a row in all.
        """
        self._add(rows, groups, *values)

    def compute(self) -> Tensor:
        """float64 [N, 2 + C] on the CPU: row, group and values over all devices, sorted by row."""
        return self._rows()
