"""Which folder a run gets: a new one, never one that another run has."""

from __future__ import annotations

import re
from pathlib import Path

from errors import UserError

__all__ = ["base_name", "claim_folder", "forget_refused"]


def claim_folder(runs: Path, name: str | None, base: str) -> Path:
    """Makes a new run folder.

    Args:
        runs: Where runs are kept.
        name: The run's name; None: `base` with the first free number behind it.
        base: The config's name.

    Returns:
        The folder, which this call created.

    Raises:
        UserError: The named folder exists; a run is never overwritten.
    """
    runs.mkdir(parents=True, exist_ok=True)
    if name is not None:
        try:
            (runs / name).mkdir()
        except FileExistsError:
            raise UserError(
                f"--run_name {name}: {runs / name} exists and is not overwritten; choose another name, or continue it "
                "with --ckpt_path last"
            ) from None
        return runs / name
    number = 1
    while True:
        try:
            (runs / f"{base}-{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return runs / f"{base}-{number}"


def forget_refused(folder: Path) -> None:
    """Takes away what was recorded of a run that was refused before it began, so that its name is free again.

    Args:
        folder: The run's folder, which stays as it is where anything was trained, tested or predicted in it.
    """
    recorded = {"config.yaml", "manifest.json", "environment.json"}
    if {path.name for path in folder.iterdir()} <= recorded:
        for name in recorded:
            (folder / name).unlink(missing_ok=True)


def base_name(paths: list[str]) -> str:
    """A run's base name: of the last config file, or of the run that the file belongs to."""
    if not paths:
        return "run"
    last = Path(paths[-1])
    return re.sub(r"-\d+$", "", last.resolve().parent.name) if last.name == "config.yaml" else last.stem
