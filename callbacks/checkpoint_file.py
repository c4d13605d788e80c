"""Checkpoints that are whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from datamodules.files import replacing_path

__all__ = ["CheckpointFile"]


class CheckpointFile(TorchCheckpointIO):
    """Writes beside the final name and renames.

    Lightning's own writer fills a file in the system's temporary folder and moves it; between two file systems that is
    a copy, which a full disk or a kill leaves half done under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves a checkpoint.

        Args:
            checkpoint: What `Trainer.dump_checkpoint` gives.
            path: The final name.
            storage_options: Not used.

        Raises:
            OSError: No room or no right to write; what stood under the name stays.
        """
        with replacing_path(Path(path)) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's complaint about its archive hides the disk's
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
