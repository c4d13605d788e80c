"""The training curve as a plain file, whatever tracker is used beside it."""

from __future__ import annotations

import csv
import math
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from datamodules.files import replacing

__all__ = ["CurveLogger"]

_SECONDS = 5.0


class CurveLogger(Logger):
    """`metrics.csv`: a line a logged step, a column a metric; a resumed run goes on with the file.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] = {}
        self._loaded = False
        self._saved = time.monotonic()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.file.parent.name

    @property
    def version(self) -> str:
        """Empty: a run's folder is never used twice."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Takes in a step's metrics; those of steps after it, from before an interruption, give way."""
        step = step or 0
        if not self._loaded:
            self._loaded = True
            if self.file.is_file():
                with self.file.open(encoding="utf-8", newline="") as file:
                    earlier = {int(row["step"]): row for row in csv.DictReader(file)}
                self._rows = {
                    number: {key: value for key, value in row.items() if value and key != "step"}
                    for number, row in earlier.items()
                    if number < step
                }
        self._rows.setdefault(step, {}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        """Writes the file, if the last time was some seconds ago: Lightning asks at every logged step."""
        if time.monotonic() - self._saved > _SECONDS:
            self._write()

    @rank_zero_only
    def keep(self) -> None:
        """Writes the file now, and again when the step at hand is logged, which happens after its checkpoint."""
        self._write()
        self._saved = -math.inf

    def _write(self) -> None:
        if not self._rows:
            return
        self._saved = time.monotonic()
        keys = sorted({key for row in self._rows.values() for key in row})
        with replacing(self.file) as file:
            writer = csv.DictWriter(file, ["step", *keys], lineterminator="\n")
            writer.writeheader()
            writer.writerows({"step": step, **self._rows[step]} for step in sorted(self._rows))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes the file at the end of a stage."""
        self._write()
