"""A grid as a SLURM job array, through submitit: every job runs the same command, the claims deal out the points."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errors import UserError

__all__ = ["Work", "submit"]


class Work:
    """What a job runs; started again by SLURM after a preemption, it goes on with what is missing.

    Args:
        words: The arguments of `experiment`.
        folder: The folder that it runs in.
    """

    def __init__(self, words: Sequence[str], folder: str) -> None:
        self.words = list(words)
        self.folder = folder

    def __call__(self) -> int:
        """Runs points until none is left; a failed point is the ledger's affair, not SLURM's."""
        from experiments.command import main

        os.chdir(self.folder)
        return main(self.words)

    def checkpoint(self) -> Any:
        """Tells submitit to queue the same work again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(options: argparse.Namespace, output: Path, words: Sequence[str]) -> int:
    """Submits the array and prints where it can be watched.

    Args:
        options: The command's: jobs, partition, account, gpus, cpus, minutes, no_requeue.
        output: The experiment's folder, on a disk that all nodes see.
        words: What each job runs.

    Returns:
        0.

    Raises:
        UserError: submitit is not installed, or there is no SLURM here.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("--launcher slurm needs submitit: install the extra `slurm`") from None
    if not shutil.which("srun"):
        raise UserError("--launcher slurm: there is no `srun` here; run it on the cluster's login node")
    logs = output / "slurm"
    logs.mkdir(parents=True, exist_ok=True)
    executor = submitit.AutoExecutor(folder=str(logs.absolute()), cluster="slurm")
    executor.update_parameters(**_parameters(options))
    with executor.batch():
        jobs = [executor.submit(Work(words, str(Path.cwd()))) for _ in range(options.jobs)]
    print(f"{len(jobs)} jobs submitted, the first is {jobs[0].job_id}; logs in {logs}")
    print(output / "results.csv")
    return 0


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    chosen = {
        "name": "attune",
        "timeout_min": options.minutes,
        "cpus_per_task": options.cpus,
        "gpus_per_node": options.gpus or None,
        "slurm_partition": options.partition,
        "slurm_account": options.account,
        "slurm_array_parallelism": options.jobs,
        "slurm_additional_parameters": {} if options.no_requeue else {"requeue": True},
    }
    return {name: value for name, value in chosen.items() if value is not None}
