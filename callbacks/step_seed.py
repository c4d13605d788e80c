"""Random numbers that depend on the step alone, so that a resumed run draws what the uninterrupted one drew."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

__all__ = ["StepSeed"]


class StepSeed(Callback):
    """Seeds torch before each training step from the run's seed, the step and the process.

    Lightning's checkpoints hold no state of the random number generators; dropout after a resume would differ.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seeds this step."""
        entropy = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
