"""Where a run's curves go: its own file, TensorBoard, W&B."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch.loggers import Logger

from callbacks.curve import CurveLogger
from callbacks.run_record import RunRecord, environment

__all__ = ["LoggerChoice", "build_loggers", "close_wandb"]

LoggerChoice = Literal["csv", "tensorboard", "wandb"]


def build_loggers(choice: LoggerChoice, record: RunRecord, project: str, config: dict[str, Any]) -> list[Logger]:
    """The run's own curves, and the tracker that was asked for beside them.

    Args:
        choice: The tracker; `csv`: none.
        record: The run; W&B is told its manifest as soon as there is one.
        project: The project's name in W&B.
        config: The run's whole configuration as plain values, for W&B.
    """
    loggers: list[Logger] = [CurveLogger(record.folder)]
    if choice == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(str(record.folder), name="", version="tensorboard"))
    elif choice == "wandb":
        loggers.append(_wandb(record, project, config))
    return loggers


def _wandb(record: RunRecord, project: str, config: dict[str, Any]) -> Logger:
    """W&B without what it takes on its own: console, code, git, host; the configuration under one key."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    settings = wandb.Settings(
        console="off", disable_code=True, save_code=False, disable_git=True, x_disable_meta=True,
        x_disable_machine_info=True, x_disable_stats=True, x_save_requirements=False, host="",
    )  # fmt: skip
    told = {"config": config, "environment": environment()}
    logger = WandbLogger(
        name=record.folder.name,
        save_dir=str(record.folder),
        project=project,
        offline=os.environ.get("WANDB_MODE") == "offline",
        settings=settings,
        config={"attune": told},
    )

    def tell(manifest: Mapping[str, Any]) -> None:
        logger.experiment.config.update({"attune": {**told, "manifest": manifest}}, allow_val_change=True)

    record.tell = tell
    return logger


def close_wandb() -> None:
    """Ends a W&B run, which would otherwise be written out at exit and taken up by the next run of this process."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=int(sys.exc_info()[0] is not None))
