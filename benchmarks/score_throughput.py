"""What `score` costs: CPU seconds for 1,000 rows, and the memory it needs for few rows and for many.

Run: python benchmarks/score_throughput.py RUN TABLE [--rows 2000 8000] [--rounds 2]
The table's rows are repeated, with new ids, up to each number; each measurement is a process of its own, the numbers in
turn within a round. Start-up (imports, loading the model) is the measurement of one row, taken off the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from datamodules.sources.table import Columns, read_rows


def write(table: Path, number: int, path: Path) -> Path:
    """A table of that many rows; repeated texts differ by a word, so that nothing can be remembered."""
    rows = read_rows(table, Columns(), "clinical", annotations=False)
    with path.open("w", encoding="utf-8") as file:
        for place, row in enumerate(islice(cycle(list(rows)), number)):
            texts = {"seeker_post": f"{row.seeker_post} {place}", "response_post": f"{row.response_post} {place}"}
            file.write(json.dumps({"id": str(place), **texts}) + "\n")
    return path


def measure(run: str, table: Path, output: Path) -> tuple[float, float, float]:
    """CPU seconds, seconds, and the largest resident set in MiB of one call."""
    words = [sys.executable, "cli.py", "score", str(table), "--checkpoint", run, "--output", str(output)]
    began = time.monotonic()
    child = subprocess.Popen([*words, "--device", "cpu"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"score left with {child.returncode}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("table", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    found: dict[int, list[tuple[float, float, float]]] = {number: [] for number in (1, *options.rows)}
    with tempfile.TemporaryDirectory() as folder:
        tables = {number: write(options.table, number, Path(folder) / f"{number}.jsonl") for number in found}
        for round_ in range(1, options.rounds + 1):
            for number, table in tables.items():
                found[number].append(measure(options.run, table, Path(folder) / "scores.jsonl"))
                print(f"round {round_}: {number} rows: {found[number][-1]}", file=sys.stderr, flush=True)
    start, start_wall, _ = (median(values) for values in zip(*found[1], strict=True))
    for number in options.rows:
        cpu, wall, memory = (median(values) for values in zip(*found[number], strict=True))
        print(
            f"{number} rows: {1000 * (cpu - start) / number:.1f} CPU s per 1,000 rows, "
            f"{number / (wall - start_wall):.0f} rows/s, {memory:.0f} MiB at most"
        )


if __name__ == "__main__":
    main()
