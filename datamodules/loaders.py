"""The loaders of both DataModules: training batches that go on after a resume, evaluation batches a split."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.batching import EvaluationBatches, TrainBatches
from datamodules.dialogue_splits import DialogueSplit
from datamodules.splits import SPLITS, SplitName, SplitOptions
from errors import UserError

__all__ = ["RowNumbers", "SplitLoaders"]


class RowNumbers(Dataset[int]):
    """A dataset whose items are row numbers; the collator holds the rows.

    Args:
        size: Number of rows.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        """Number of rows."""
        return self.size

    def __getitem__(self, row: int) -> int:
        """The number itself."""
        return row


class SplitLoaders(L.LightningDataModule, ABC):
    """Loaders of the rows of each split, and where training stands in its own.

    A subclass's `setup` fills `rows`, `lengths` and `manifest`; its `_collator` makes batches.

    Args:
        batch_size: Training rows a step, over all devices together.
        evaluation_batch_size: Rows in an evaluation batch.
        bucketed: Whether training batches hold rows of similar length.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
    """

    split: SplitOptions | DialogueSplit
    """How rows are divided."""
    lengths: npt.NDArray[np.int64]
    """int64 [N]: tokens of each row, by which batches are made."""

    def __init__(self, batch_size: int, evaluation_batch_size: int, *, bucketed: bool, num_workers: int) -> None:
        super().__init__()
        for name, size in (("batch_size", batch_size), ("evaluation_batch_size", evaluation_batch_size)):
            if size < 1:
                raise UserError(f"--data.{name} is {size}; it is 1 or more")
        self.batch_size = batch_size
        self.evaluation_batch_size = evaluation_batch_size
        self.bucketed = bucketed
        self.num_workers = num_workers
        self.rows: dict[SplitName, list[int]] = {}
        self.manifest: dict[str, Any] = {}
        self._resume = (0, 0)

    def prepare_data(self) -> None:
        """Nothing to fetch: `cli.py prepare` does that, on purpose and with the licence in view."""

    @abstractmethod
    def _collator(self, *, evaluation: bool) -> Callable[[list[int]], Any]:
        """Row numbers to a batch."""

    def _loader(self, batches: TrainBatches | EvaluationBatches, *, evaluation: bool) -> DataLoader[Any]:
        return DataLoader(
            RowNumbers(len(self.lengths)),
            batch_sampler=batches,
            collate_fn=self._collator(evaluation=evaluation),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _train_batches(self) -> TrainBatches:
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return TrainBatches(self.rows["train"], self.lengths, self.batch_size, seed, bucketed=self.bucketed)

    def _evaluation_loader(self, split: SplitName) -> DataLoader[Any]:
        batches = EvaluationBatches(self.rows[split], self.lengths, self.evaluation_batch_size)
        return self._loader(batches, evaluation=True)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches; continues within an epoch after a resume."""
        if not self.rows["train"]:
            raise UserError("no row is left to train on; lower --data.split.test or give another source")
        batches = self._train_batches()
        batches.resume(*self._resume)
        return self._loader(batches, evaluation=False)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """The validation rows; no loader where there are none."""
        return self._evaluation_loader("validation") if self.rows["validation"] else []

    def test_dataloader(self) -> DataLoader[Any]:
        """The test rows."""
        if not self.rows["test"]:
            raise UserError(f"no row is left to test; raise --data.split.test (it is {self.split.test}) or add rows")
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """One loader a split that has rows."""
        return [self._evaluation_loader(split) for split in SPLITS if self.rows[split]]

    def _position(self) -> list[int]:
        """Where training stands: its epoch, and how many batches of it had their step.

        Counts batches whose step was made, not those fetched or begun, and needs no StatefulDataLoader, whose state
        Lightning loses where a schedule asks for the number of steps.
        """
        if self.trainer is None:
            return [0, 0]
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        done, epoch = progress.processed, self.trainer.current_epoch
        return [epoch + 1, 0] if done >= len(self._train_batches()) else [epoch, done]

    def state_dict(self) -> dict[str, Any]:
        """Where training stands in its rows."""
        return {"position": self._position()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up `state_dict`'s position."""
        epoch, batch = state_dict["position"]
        self._resume = (int(epoch), int(batch))
