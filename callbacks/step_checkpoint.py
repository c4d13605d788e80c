"""Checkpoints within an epoch, for runs that may be stopped at any time."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from callbacks.run_record import RunRecord
from lightning_modules.checkpoints import LAST

__all__ = ["StepCheckpoint"]


class StepCheckpoint(Callback):
    """Writes `checkpoints/last.ckpt` every so many optimiser steps.

    A step that validation or the end of an epoch follows is left to the next one: Lightning takes a run that resumes
    there for validated already, and its scores would be missing.

    Args:
        record: Knows the run's folder.
        every: Optimiser steps from one checkpoint to the next.
    """

    def __init__(self, record: RunRecord, every: int) -> None:
        self.record = record
        self.every = every
        self._saved = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts from where a resumed run stands."""
        self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        """Writes the checkpoint when it is due."""
        loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
        assert fetcher is not None
        if trainer.global_step - self._saved < self.every or loop._should_accumulate():
            return
        if not (loop.batch_progress.is_last_batch or loop._should_check_val_fx(fetcher)):
            trainer.save_checkpoint(self.record.folder / "checkpoints" / LAST)
            self._saved = trainer.global_step
