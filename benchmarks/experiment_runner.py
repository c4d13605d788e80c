"""The in-process runner against the same runs started one by one as processes: wall and CPU seconds, alternating.

Run: python benchmarks/experiment_runner.py [--points 6] [--rounds 2] [--data FOLDER]
Short runs (a few steps, the small encoder), where start-up counts: of configs/experiments/demo.yaml over the bundled
corpus, or, with the folder of the EPITOME corpus, of augmentation_small.yaml. Caches on the disk are warm for both;
metrics are compared byte for byte.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments.grid import Grid, Point  # noqa: E402
from experiments.grid_file import read_grid  # noqa: E402

CLI = [sys.executable, str(ROOT / "cli.py")]


def cost(work: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of the child processes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def call(*words: object) -> None:
    """A command that must end well."""
    subprocess.run([*CLI, *map(str, words)], check=True, cwd=ROOT, capture_output=True)


def short_grid(options: argparse.Namespace, folder: Path) -> tuple[Path, Grid]:
    """The first points of a grid, as a grid of their own."""
    name = "augmentation_small" if options.data else "demo"
    given = {"trainer.max_steps": str(options.steps)} | ({"data.reddit": options.data} if options.data else {})
    grid = read_grid(ROOT / "configs" / "experiments" / f"{name}.yaml", given)
    points: list[Point] = grid.points()[: options.points]
    runs = []
    for point in points:
        own = {name: value for name, value in point.options.items() if name not in grid.options}
        runs.append({"value": point.name, "options": own})
    file = folder / "short.yaml"
    file.write_text(yaml.safe_dump({"base": grid.base, "set": grid.options, "factors": {"run": {"values": runs}}}))
    return file, read_grid(file)


def main() -> None:
    """Measures in rounds and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--data")
    options = parser.parse_args()
    os.chdir(ROOT)
    spent: dict[str, list[tuple[float, float]]] = {"in process": [], "processes": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file, grid = short_grid(options, folder)
        points = grid.points()
        call("fit", *points[0].flags(), "--runs", folder / "warm")
        for number in range(options.rounds):
            inside, apart = folder / f"in{number}", folder / f"apart{number}"

            def one_by_one(apart: Path = apart) -> None:
                for point in points:
                    call("fit", *point.flags(), "--runs", apart, "--run_name", point.name)

            def together(inside: Path = inside) -> None:
                call("experiment", file, "--output", inside, "--workers", 1)

            for kind, work in (("in process", together), ("processes", one_by_one)):
                spent[kind].append(cost(work))
                wall, cpu = spent[kind][-1]
                print(f"round {number + 1}: {kind}: {wall:.1f} s wall, {cpu:.1f} s CPU", flush=True)
            for point in points:
                one, other = (at / point.name / "metrics.json" for at in (inside / "runs", apart))
                assert one.read_bytes() == other.read_bytes(), point.name
    for column, what in enumerate(("wall", "CPU")):
        first, second = (median(pair[column] for pair in spent[kind]) for kind in ("in process", "processes"))
        ratio = f"{first:.1f} s in process, {second:.1f} s as processes, {second / first:.2f} times"
        print(f"{len(points)} points, {what}: {ratio}")


if __name__ == "__main__":
    main()
