"""The command line in tests: in this process, or in one that can be killed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
import signal
import socket
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from lightning_utilities.core.rank_zero import rank_zero_only

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


class StopAt(Callback):
    """Sends its own process a signal once so many optimiser steps are done.

    Args:
        step: Optimiser steps.
        hook: Where: `train`, `validation` or `test`.
        number: The signal; SIGKILL leaves no chance to clean up.
    """

    def __init__(self, step: int, hook: str = "train", number: int = signal.SIGKILL) -> None:
        self.step = step
        self.hook = hook
        self.number = number

    def _stop(self, trainer: L.Trainer, hook: str) -> None:
        if hook == self.hook and trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)

    def on_before_optimizer_step(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._stop(trainer, "train")

    def on_validation_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._stop(trainer, "validation")

    def on_test_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._stop(trainer, "test")


class RowLog(Callback):
    """Leaves the rows of every training batch in the run's folder, a file for each process."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, *arguments: Any) -> None:
        self.rows.append(batch["rows"].tolist())

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        file = Path(trainer.default_root_dir) / f"rows-{trainer.global_rank}.json"
        file.write_text(json.dumps(self.rows), encoding="utf-8")


def stop_at(step: int, hook: str = "train", number: int = signal.SIGKILL) -> list[str]:
    """The option that puts `StopAt` into a run."""
    arguments = {"step": step, "hook": hook, "number": int(number)}
    return ["--trainer.callbacks", json.dumps([{"class_path": "running.StopAt", "init_args": arguments}])]


def _child(argv: list[str], environment: dict[str, str], files: list[str]) -> None:
    multiprocessing.set_start_method("fork", force=True)  # for loader processes, which end when this one does
    os.environ.clear()
    os.environ.update(environment)
    rank_zero_only.rank = int(os.environ.get("LOCAL_RANK", "0"))  # Lightning looks when it is imported
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # so does torch
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.exit(cli.main(argv))


@dataclass
class Apart:
    """A command in a process of its own."""

    process: BaseProcess
    files: list[Path]

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self.process.kill()

    def wait(self) -> Ran:
        """Its end; the status of a killed process is negative."""
        self.process.join(240)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError("the process hangs")
        return Ran(self.process.exitcode, *(file.read_text(encoding="utf-8") for file in self.files))


def start_apart(folder: Path, *argv: object, name: str = "", **environment: str) -> Apart:
    """Starts a command in a process of its own, which may be killed.

    The process is forked from a server that has done the imports, which take most of the time otherwise.

    Args:
        folder: Where its output goes.
        argv: The command.
        name: Tells its output from that of another process.
        environment: Variables for it.
    """
    files = [folder / f".{stream}{name}" for stream in ("stdout", "stderr")]
    for file in files:
        file.touch()  # it may be killed before it opens them
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["running", "training.command", "inference.score"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        words = [str(word) for word in argv]
        process = context.Process(
            target=_child, args=(words, {**os.environ, **environment}, [str(file) for file in files])
        )
        process.start()
    return Apart(process, files)


def run_apart(folder: Path, *argv: object, **environment: str) -> Ran:
    """`start_apart`, and waits."""
    return start_apart(folder, *argv, **environment).wait()


TWO = ["--trainer.devices", 2, "--trainer.strategy", "ddp"]


def launch(folder: Path, *argv: object) -> Ran:
    """Two processes that torchrun or srun would have started; what the first one says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "OMP_NUM_THREADS": "1"}
    processes = [start_apart(folder, *argv, *TWO, name=rank, LOCAL_RANK=rank, **group) for rank in ("0", "1")]
    first, second = (process.wait() for process in processes)
    assert (first.status, second.status) in ((0, 0), (2, 2)), first.err + second.err
    assert second.out == ""
    return first


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


def assert_same(run: Path, other: Path) -> None:
    """Two runs ended alike: same weights, curve, scores and predictions; the first has left nothing unfinished."""
    for name in ("last.ckpt", "best.ckpt"):
        assert same_weights(run / "checkpoints" / name, other / "checkpoints" / name), name
    assert curve(run) == curve(other)
    assert scores(run) == scores(other)
    assert lines(run / "predictions.jsonl") == lines(other / "predictions.jsonl")
    assert not [path for path in run.rglob("*") if path.suffix == ".part"]
