"""Progress for people: a bar in a terminal, a plain line now and then in a log file."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

__all__ = ["PlainProgress", "TerminalProgress", "progress"]


class _Throughput:
    """Rows per second over the training steps so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.seconds = 0.0
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.perf_counter()

    def end(self, rows: int) -> None:
        self.seconds += time.perf_counter() - self._began
        self.rows += rows

    @property
    def rate(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


class TerminalProgress(TQDMProgressBar):
    """Lightning's bar with loss and rows per second."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=5)
        self._throughput = _Throughput()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Starts the clock."""
        self._throughput.begin()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stops it and moves the bar."""
        self._throughput.end(len(batch["rows"]) * trainer.world_size)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """What stands behind the bar."""
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return {**shown, "rows/s": f"{self._throughput.rate:.0f}"}


class PlainProgress(Callback):
    """A line on standard error every few seconds and at the end of each epoch.

    Args:
        seconds: Time between lines.
    """

    def __init__(self, seconds: float = 15.0) -> None:
        self.seconds = seconds
        self._throughput = _Throughput()
        self._last = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Starts the clock."""
        self._throughput.begin()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Prints the line when it is time."""
        self._throughput.end(len(batch["rows"]) * trainer.world_size)
        steps = int(trainer.num_training_batches)
        due = time.perf_counter() - self._last > self.seconds or batch_idx + 1 == steps
        if not due or not trainer.is_global_zero:
            return
        self._last = time.perf_counter()
        loss = trainer.callback_metrics.get("train/loss")
        left = (steps - batch_idx - 1 + steps * ((trainer.max_epochs or 1) - trainer.current_epoch - 1)) * (
            self._throughput.seconds / max(1, self._throughput.rows) * len(batch["rows"]) * trainer.world_size
        )
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, step {batch_idx + 1}/{steps}, "
            f"loss {float(loss) if loss is not None else float('nan'):.4f}, {self._throughput.rate:.0f} rows/s, "
            f"about {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


def progress() -> Callback:
    """A bar where there is a terminal, plain lines where there is none."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()
