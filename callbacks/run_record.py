"""A run's folder: configuration, manifest, environment, scores and the table on the screen."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from callbacks.curve import CurveLogger
from datamodules.files import replacing, write_json
from lightning_modules.checkpoints import run_of
from lightning_modules.evaluation_record import EvaluationRecord, Stage

__all__ = ["RunRecord", "environment"]

_PACKAGES = ("torch", "lightning", "transformers", "tokenizers", "torchmetrics", "datasets", "jsonargparse", "numpy")


def environment() -> dict[str, Any]:
    """Versions, device and commit: what a number depends on beside its configuration."""
    code = Path(__file__).resolve().parent.parent
    try:
        asked = subprocess.run(
            ["git", "-C", str(code), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
        commit = asked.stdout.strip() or None
    except OSError:
        commit = None
    cuda = torch.cuda.is_available()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        if cuda
        else ["cpu"],
        "packages": {name: version(name) for name in _PACKAGES},
        "git_commit": commit,
    }


class RunRecord(Callback):
    """Writes the run's folder and gathers the scores of the whole test set.

    Args:
        folder: The folder, as far as this process knows it; the first process decides.
        write_config: Called with `config.yaml`'s path; writes the whole configuration.
        protocol: What to note beside every number: seed and tested checkpoint.
    """

    def __init__(
        self, folder: Path, write_config: Callable[[Path], None], protocol: Mapping[str, str | int | None]
    ) -> None:
        self.folder = folder
        self.write_config = write_config
        self.protocol = dict(protocol)
        self.table = ""
        self.tell: Callable[[Mapping[str, Any]], None] = lambda manifest: None
        """Called with the manifest, for a tracker that shows it."""
        self._recorded = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Agrees on the folder and describes the run in it; the DataModule has been set up before."""
        self.folder = Path(trainer.strategy.broadcast(str(self.folder)))
        if self._recorded or not trainer.is_global_zero:
            return
        self._recorded = True
        data = trainer.datamodule  # type: ignore[attr-defined]
        _warn_of_losses(data.manifest)
        if stage in ("validate", "test"):
            _warn_of_trained_rows(data.manifest, self.protocol.get("checkpoint"), stage)
        config = self.folder / "config.yaml"
        if stage == "predict" and config.is_file():
            return  # the folder is that of the run that trained the model
        self.write_config(config)
        write_json(self.folder / "manifest.json", data.manifest)
        write_json(self.folder / "environment.json", environment())
        self.tell(data.manifest)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the curve up to the checkpoint, so that a run resumed from it has all of it."""
        for logger in trainer.loggers:
            if isinstance(logger, CurveLogger):
                logger.keep()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Records the scores of `validate`; during `fit` they go to the curve alone."""
        if trainer.state.fn == "validate":
            self._record(trainer, pl_module, "validation")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Records the test scores."""
        self._record(trainer, pl_module, "test")

    def _record(self, trainer: L.Trainer, module: L.LightningModule, stage: Stage) -> None:
        """Every task says itself what is to be recorded."""
        ask = cast(Callable[[Stage], EvaluationRecord], module.evaluation_record)
        found = ask(stage)  # collective: before any process leaves
        if not trainer.is_global_zero:
            return
        protocol = {"split_hash": trainer.datamodule.split_hash, **self.protocol}  # type: ignore[attr-defined]
        write_json(
            self.folder / "metrics.json",
            {
                key: {
                    **score._asdict(),
                    "protocol": {**protocol, "metric_variant": found.variants.get(key, found.variant)},
                }
                for key, score in sorted(found.scores.items())
            },
        )
        for name, content in found.files.items():
            with replacing(self.folder / name) as file:
                file.write(content)
        self.table = found.table


def _warn_of_trained_rows(manifest: Mapping[str, Any], checkpoint: str | int | None, stage: str) -> None:
    """One line where the rows aren't those that the checkpoint's run held out, and their source trained it."""
    run = run_of(Path(str(checkpoint))) if checkpoint else None
    trained = run / "manifest.json" if run else None
    if trained is None or not trained.is_file():
        return
    split = "test" if stage == "test" else "validation"
    theirs, ours = json.loads(trained.read_text(encoding="utf-8"))["splits"], manifest["splits"]
    if theirs[split]["ids_sha256"] == ours[split]["ids_sha256"]:
        return
    if both := sorted(set(theirs["train"]["sources"]) & set(ours[split]["sources"])):
        print(
            f"note: these {split} rows aren't those that {run} held out, and {', '.join(both)} rows trained it: "
            "what it was trained on may be among them",
            file=sys.stderr,
        )


def _warn_of_losses(manifest: Mapping[str, Any]) -> None:
    """One line that counts what was left out, so that nothing is lost silently."""
    lost: dict[str, int] = defaultdict(int)
    for source in manifest["sources"]:
        for reason, count in source.get("dropped", {}).items():
            lost[f"rows dropped ({reason})"] += count
        for what in ("empty_turns", "strategies_on_seeker_turns"):
            lost[what.replace("_", " ")] += source.get("counts", {}).get(what, 0)
        lost["rationales not placed"] += source.get("rationales", {}).get("unplaced", 0)
    for reason, count in manifest["dropped"].items():
        lost[f"rows dropped ({reason})"] += count
    for split in manifest["splits"].values():
        for what, count in split["cut"].items():
            if "/" not in what:
                lost[f"{what.replace('_', ' ')} cut by the window"] += count
    found = "; ".join(f"{what} {count}" for what, count in lost.items() if count)
    if found:
        print(f"note: {found} (manifest.json has the details)", file=sys.stderr)
