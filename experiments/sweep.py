"""`python cli.py sweep FILE --local`: the runs of a W&B sweep file, here and without an account."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from errors import DataError, UserError
from experiments.command import options_of_fit, output_folder, summary
from experiments.grid import overlap
from experiments.sweep_file import Sweep, read_sweep

__all__ = ["main"]


def build_parser() -> argparse.ArgumentParser:
    """The command's own options; those of `fit` go to every run."""
    parser = argparse.ArgumentParser(
        prog="cli.py sweep",
        usage="cli.py sweep FILE --local --output FOLDER [options] [options of fit, such as --data.reddit FOLDER]",
        description="Runs a W&B sweep file (configs/sweeps/*.yaml) on this machine, into a folder like that of "
        "`experiment`. For W&B itself: wandb sweep FILE, then wandb agent.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="the sweep's file")
    parser.add_argument("--local", action="store_true", help="run it here, without W&B")
    parser.add_argument("--output", help="folder of the results")
    parser.add_argument("--max_runs", type=int, help="most runs, instead of the file's run_cap")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    parser.add_argument("--retry_failed", action="store_true", help="run again what failed in an earlier start")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The arguments; None: those of the process.

    Returns:
        0, or 1 where a run failed.

    Raises:
        UserError: The file or the options are at fault.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if not options.local:
        raise UserError(
            f"--local is missing; with a W&B account: wandb sweep {options.file}, then the wandb agent that it names"
        )
    sweep = read_sweep(Path(options.file))
    given = options_of_fit(rest, parser)
    _check(options, given, sweep)
    sweep.options |= given
    if not options.output:
        raise UserError("--output is missing: the folder of the results")
    if sweep.method != "grid" and not (options.max_runs or sweep.cap):
        raise UserError(f"a {sweep.method} sweep has no end of its own; give --max_runs, or run_cap in the file")
    output = output_folder(options.output)
    sweep.cap = options.max_runs or sweep.cap
    if sweep.method == "bayes":
        return _bayes(sweep, output, options)
    sweep.draw(options.seed, sweep.cap)
    return _run(sweep, output, retry_failed=options.retry_failed)


def _check(options: argparse.Namespace, given: Mapping[str, str], sweep: Sweep) -> None:
    problems = [
        f"--{name} {value}: the sweep's parameter '{parameter.name}' sets it; change its values in {options.file}, "
        "or take it out there"
        for name, value in given.items()
        for parameter in sweep.parameters
        if overlap(name, parameter.name)
    ]
    if options.max_runs is not None and options.max_runs < 1:
        problems.append(f"--max_runs {options.max_runs}: at least 1")
    if problems:
        raise DataError(problems)


def _run(sweep: Sweep, output: Path, *, retry_failed: bool) -> int:
    from experiments.runner import Runner

    state = Runner(sweep, output, retry_failed=retry_failed).run()
    print(summary(state, len(sweep.drawn)))
    print(output / "results.csv")
    return 1 if state.failed else 0


def _bayes(sweep: Sweep, output: Path, options: argparse.Namespace) -> int:
    """One run after the other, each suggested by those before it; started again, the same suggestions are made."""
    try:
        import optuna
    except ImportError:
        raise UserError("method bayes needs Optuna: install the extra `sweeps`, or use grid or random") from None
    from experiments.runner import Runner
    from sharing import sharing

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Literal["minimize", "maximize"] = "maximize" if sweep.goal == "maximize" else "minimize"
    sampler = optuna.samplers.TPESampler(seed=options.seed)
    study = optuna.create_study(direction=direction, sampler=sampler)
    with sharing():
        for _ in range(sweep.cap or 0):
            trial = study.ask()
            sweep.drawn.append({parameter.name: parameter.suggest(trial) for parameter in sweep.parameters})
            runner = Runner(sweep, output, retry_failed=options.retry_failed)
            newest = runner.points[-1].name
            runner.again = {name: event for name, event in runner.again.items() if name == newest}  # others had theirs
            runner.run()
            value = last_value(runner.runs / newest, sweep.metric)
            study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
    return _run(sweep, output, retry_failed=False)


def last_value(run: Path, metric: str) -> float | None:
    """What a run's curve says last of a metric; None where it failed.

    Raises:
        UserError: The run has no such metric.
    """
    if not run.is_dir():
        return None
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [float(row[metric]) for row in rows if row.get(metric)]
    if not values:
        near = ", ".join(name for name in rows[0] if name.split("/")[0] == metric.split("/")[0]) if rows else ""
        raise UserError(f"metric.name is {metric}, which {run} doesn't have" + (f"; it has {near}" if near else ""))
    return values[-1]
