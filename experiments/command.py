"""`python cli.py experiment`: see docs/experiments.md."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from errors import DataError, UserError
from experiments.grid import Grid, option_pairs
from experiments.grid_file import factor_values, read_grid

if TYPE_CHECKING:
    from experiments.ledger import State

__all__ = ["main", "options_of_fit", "output_folder", "summary"]

_OF_FIT = ("seed_everything", "logger", "project", "monitor", "monitor_mode", "test_checkpoint")
"""Options of `fit`, beside those of data, model and trainer, that a series of runs may be given."""

_PATIENCE = 20.0
"""Seconds that interrupted workers have to end by themselves."""


def build_parser() -> argparse.ArgumentParser:
    """The command's own options; those of `fit` go to every run."""
    parser = argparse.ArgumentParser(
        prog="cli.py experiment",
        usage="cli.py experiment GRID --output FOLDER [options] [options of fit, such as --data.reddit FOLDER]",
        description="Runs a grid of trainings (configs/experiments/*.yaml) into one folder: ledger.jsonl, results.csv "
        "and a run folder a point. Started again, it goes on where it ended.",
        allow_abbrev=False,
    )
    parser.add_argument("grid", help="the grid's file")
    parser.add_argument("--output", help="folder of the results; several machines may share it")
    parser.add_argument(
        "--factor",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="other values of a factor, written as in the grid's file: 'seed=[12, 13]'; once a factor",
    )
    parser.add_argument("--dry_run", action="store_true", help="print every run as the fit it stands for, and a guess")
    parser.add_argument("--retry_failed", action="store_true", help="run points again that failed in an earlier start")
    parser.add_argument("--workers", type=int, help="processes; by default one a GPU, and one on a machine without")
    parser.add_argument("--no_wait", action="store_true", help="end when the rest is in other processes' hands")
    parser.add_argument("--report", action="store_true", help="write the page to FOLDER/report when all is done")
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument("--launcher", choices=["here", "slurm"], default="here", help="where the points are run")
    cluster.add_argument("--jobs", type=int, default=4, help="jobs of the array, which share the points (4)")
    cluster.add_argument("--partition", help="SLURM partition")
    cluster.add_argument("--account", help="SLURM account")
    cluster.add_argument("--gpus", type=int, default=1, help="GPUs a job (1)")
    cluster.add_argument("--cpus", type=int, default=8, help="CPU cores a job (8)")
    cluster.add_argument("--minutes", type=int, default=240, help="time limit of a job (240)")
    cluster.add_argument("--no_requeue", action="store_true", help="don't let SLURM start a preempted job again")
    return parser


def options_of_fit(words: Sequence[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """`--data.reddit FOLDER` and the like as option -> value.

    Args:
        words: What the command's own parser left over.
        parser: That parser, for messages.

    Raises:
        UserError: A word is no such option, or has no value.
    """
    options: dict[str, str] = {}
    for word, value in option_pairs(words):
        name = word.removeprefix("--")
        known = name.startswith(("data.", "model.", "trainer.")) or name in _OF_FIT
        if not word.startswith("--") or not known:
            command = parser.prog.rpartition(" ")[2]
            own = [action.option_strings[0] for action in parser._actions if action.option_strings]
            near = get_close_matches(word, [*own, *(f"--{name}" for name in _OF_FIT)], n=1)
            hint = f"did you mean {near[0]}?" if near else f"python cli.py {command} --help lists the options"
            raise UserError(f"'{word}' is no option of {command} and none that every fit can be given; {hint}")
        if value is None:
            raise UserError(f"{word} has no value; write {word}=VALUE")
        options[name] = value
    return options


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The arguments; None: those of the process.

    Returns:
        0, or 1 where a point failed.

    Raises:
        UserError: The grid or the options are at fault.
    """
    words = sys.argv[1:] if argv is None else argv
    parser = build_parser()
    options, rest = parser.parse_known_args(words)
    _check_numbers(options)
    grid = read_grid(Path(options.grid), options_of_fit(rest, parser), factor_values(options.factor))
    output = output_folder(options.output) if options.output else None
    if options.dry_run:
        return _dry_run(grid, output)
    if output is None:
        raise UserError("--output is missing: the folder of the results")
    if options.report:
        _check_report(options, output)
    for name, options_instead in grid.instead.items():
        instead = ", ".join(f"--{key} {value}" for key, value in options_instead.items())
        print(f"note: no --{name} is given; every run gets {instead}", file=sys.stderr)
    if options.launcher == "slurm":
        from experiments.launchers import submit

        return submit(options, output, [*_own(words), "--no_wait"])
    workers = options.workers or _devices()
    status = _run_workers(words, workers) if workers > 1 else _run_here(grid, output, options)
    if options.report:
        from experiments.report.command import main as report

        report([str(output), "--output", str(output / "report")])
    return status


def output_folder(name: str) -> Path:
    """`--output`, which need not be there yet.

    Args:
        name: What stands behind the option.

    Raises:
        UserError: No folder can have that name.
    """
    output = Path(name).expanduser()
    there = next(place for place in (output, *output.parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"--output {output}: {there} is a file; name a folder")
    return output


def _check_numbers(options: argparse.Namespace) -> None:
    least = {"workers": 1, "jobs": 1, "gpus": 0, "cpus": 1, "minutes": 1}
    given = {name: getattr(options, name) for name in least}
    problems = [
        f"--{name} {given[name]}: at least {low}"
        for name, low in least.items()
        if given[name] is not None and given[name] < low
    ]
    if problems:
        raise DataError(problems)


def _check_report(options: argparse.Namespace, output: Path) -> None:
    """Before hours of training, not after."""
    if options.launcher == "slurm":
        raise UserError(
            f"--report: the jobs end later; then `python cli.py report {output} --output {output / 'report'}`"
        )
    if find_spec("matplotlib") is None:
        raise UserError("--report draws figures with matplotlib: pip install 'attune[figures]'")


def _run_here(grid: Grid, output: Path, options: argparse.Namespace) -> int:
    from experiments.runner import Runner

    runner = Runner(grid, output, retry_failed=options.retry_failed, wait=not options.no_wait)
    state = runner.run()
    print(summary(state, len(runner.points)))
    print(output / "results.csv")
    return 1 if state.failed else 0


def summary(state: State, count: int) -> str:
    """What became of a series, like errors counted together."""
    lines = [f"{len(state.done)} of {count} points done, {len(state.failed)} failed"]
    errors = Counter(event["error"] for event in state.failed.values())
    lines += [f"failed ({number}): {error}" for error, number in errors.most_common()]
    return "\n".join(lines)


def _devices() -> int:
    import torch

    return max(1, torch.cuda.device_count())


def _own(words: Sequence[str]) -> list[str]:
    """The command's words without those that say where it is run."""
    kept = []
    skip = False
    for word in words:
        name, equals, _ = word.partition("=")
        if skip:
            skip = False
        elif name in ("--workers", "--launcher", "--jobs", "--partition", "--account", "--gpus", "--cpus", "--minutes"):
            skip = not equals
        elif name not in ("--no_requeue", "--report"):
            kept.append(word)
    return kept


def _run_workers(words: Sequence[str], workers: int) -> int:
    """The same command once a worker, each with one GPU in turn; the folder's claims deal out the points."""
    cli = Path(__file__).resolve().parent.parent / "cli.py"
    command = [sys.executable, str(cli), "experiment", *_own(words), "--workers", "1"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [str(number) for number in range(_devices())] if visible is None else visible.split(",")
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(workers):
            device = devices[number % len(devices)]
            environment = {"OMP_NUM_THREADS": threads, **os.environ, "CUDA_VISIBLE_DEVICES": device}
            processes.append(subprocess.Popen(command, env=environment))
        return max([abs(process.wait()) for process in processes])
    except KeyboardInterrupt:  # the terminal's reaches the workers too: they say how it goes on, and give back claims
        end = time.monotonic() + _PATIENCE
        with contextlib.suppress(subprocess.TimeoutExpired):
            for process in processes:
                process.wait(max(0.0, end - time.monotonic()))
        raise
    finally:
        for process in processes:
            process.terminate()  # no more than a look at those that have ended


def _dry_run(grid: Grid, output: Path | None) -> int:
    from experiments.claims import Claims
    from experiments.ledger import Ledger
    from experiments.runner import duration

    points = grid.points()
    for point in points:
        print(point.command())
    done, seconds, source = 0, grid.seconds_a_point, "which is the grid's own guess (seconds_a_point)"
    if output is not None and output.is_dir():
        ledger = Ledger(output, Claims(output / "claims"))
        state = ledger.read(points)
        ledger.check(grid.names())
        done = len(state.done) - len(state.lost(output / "runs"))
        if state.seconds is not None:
            seconds, source = state.seconds, f"as the {len(state.done)} finished points in {output} took"
    left = len(points) - done
    guess = "nothing says how long a point takes"
    if seconds is not None:
        guess = f"about {duration(left * seconds)} one after the other, at {seconds:.0f} s a point, {source}"
    print(f"{len(points)} points, {left} to run; {guess}")
    return 0
