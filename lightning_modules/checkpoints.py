"""Finding, reading and checking checkpoints. Nothing is unpickled but tensors and plain values."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from errors import UserError
from lightning_modules.networks.bi_encoder import BiEncoder, NetworkSpec

__all__ = ["BEST", "LAST", "find_checkpoint", "load_network", "network_weights", "read_checkpoint", "run_of"]

BEST = "best.ckpt"
LAST = "last.ckpt"


def find_checkpoint(run_or_file: str | Path, names: Sequence[str] = (BEST, LAST)) -> Path:
    """The checkpoint that a name stands for.

    Args:
        run_or_file: A run's folder, or a checkpoint file.
        names: A run's checkpoints, of which the first that is there is taken. By default the one that its protocol
            tests: the best one where validation chose one, else the last.

    Returns:
        The file.

    Raises:
        UserError: There is none.
    """
    path = Path(run_or_file)
    if path.is_file():
        return path
    for name in names:
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    if not path.exists():
        raise UserError(f"checkpoint '{path}': there is no such file or run folder")
    wanted = " or ".join(f"checkpoints/{name}" for name in names)
    raise UserError(f"checkpoint '{path}': the folder has no {wanted}; is it a run?")


def run_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, or None."""
    folder = checkpoint.resolve().parent.parent
    return folder if checkpoint.resolve().parent.name == "checkpoints" and (folder / "config.yaml").is_file() else None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of ours.

    Args:
        path: The file.

    Returns:
        Its content; `network`, `state_dict` and the DataModule's state are there.

    Raises:
        UserError: It can't be read, holds more than plain values, or isn't one of ours.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError) as error:
        first_line = str(error).strip().split("\n", 1)[0][:200]
        raise UserError(f"checkpoint '{path}' can't be read ({first_line}); it is damaged or no checkpoint") from None
    if not isinstance(checkpoint, dict) or "network" not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(f"checkpoint '{path}' holds no network of this project")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The network's part of a checkpoint's weights, under the network's own names."""
    own = "network."
    state = checkpoint["state_dict"]
    return {name.removeprefix(own): values for name, values in state.items() if name.startswith(own)}


def load_network(checkpoint: dict[str, Any]) -> BiEncoder:
    """Rebuilds the bi-encoder of a checkpoint; needs no encoder files.

    Args:
        checkpoint: What `read_checkpoint` gave.

    Returns:
        The network with its weights, in evaluation mode.
    """
    if checkpoint.get("task", "empathy") != "empathy":
        raise UserError(f"the checkpoint is of the task '{checkpoint['task']}'; a run of the empathy model is needed")
    network = BiEncoder(NetworkSpec(**checkpoint["network"]))
    network.load_state_dict(network_weights(checkpoint))
    return network.eval()
