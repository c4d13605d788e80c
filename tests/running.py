"""The command line in tests: in this process, or in one that can be killed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback

import cli

ROOT = Path(__file__).parents[1]


@dataclass
class Ran:
    """What a command left behind: its status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def folder(self) -> Path:
        """The last line on standard output."""
        return Path(self.out.splitlines()[-1])


def run(*argv: object) -> Ran:
    """A command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main([str(word) for word in argv])
    return Ran(status, out.getvalue(), err.getvalue())


def succeed(*argv: object) -> Ran:
    """A command in this process that must end well."""
    ran = run(*argv)
    assert ran.status == 0, ran.err
    return ran


def config(file: Path, encoder: str | Path, *, model: Any = None, data: Any = None, **top: Any) -> Path:
    """A config of the empathy model at the size of a test; `model` and `data` are `init_args`."""
    content = {
        "model": {
            "class_path": "lightning_modules.empathy.EmpathyModule",
            "init_args": {"encoder": str(encoder), "optimisation": {"lr": 1e-3}, **(model or {})},
        },
        "data": {
            "class_path": "datamodules.empathy.EmpathyDataModule",
            "init_args": {"max_tokens": 48, "batch_size": 8, **(data or {})},
        },
        "runs": str(file.parent / "runs"),
        **top,
    }
    content["trainer"] = {"accelerator": "cpu", "max_epochs": 2, **top.get("trainer", {})}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


class KillAt(Callback):
    """Kills its own process, without a chance to clean up, when a step's batch has been worked on.

    Args:
        step: Number of optimiser steps after which it happens.
        where: Which hook.
    """

    def __init__(self, step: int, where: str = "train_batch") -> None:
        self.step = step
        self.where = where

    def _kill(self, trainer: L.Trainer, where: str) -> None:
        if where == self.where and trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._kill(trainer, "train_batch")

    def on_validation_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._kill(trainer, "validation")

    def on_test_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._kill(trainer, "test")


def _child(argv: list[str], environment: dict[str, str]) -> None:
    multiprocessing.set_start_method("fork", force=True)  # for loader processes, which end when this one does
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(cli.main(argv))


def run_apart(*argv: object) -> int:
    """A command in a process of its own; its exit status, negative where a signal ended it."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["running", "training", "inference.score"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = paths
    try:
        process = context.Process(target=_child, args=([str(word) for word in argv], dict(os.environ)))
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    process.join(240)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """A checkpoint's parameters."""
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same parameters to the last bit."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def curve(run: Path) -> list[dict[str, str]]:
    """The rows of a run's `metrics.csv`."""
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores(run: Path) -> dict[str, Any]:
    """A run's `metrics.json`."""
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
