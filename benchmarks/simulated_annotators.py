"""Agreement of three simulated annotators whose kappas are known, through the command that people use.

Run: python benchmarks/simulated_annotators.py [--rows 360] [--seed 12]
An annotator sees the true level with probability p and else guesses by the levels' shares (those of EPITOME on Reddit),
so that a pair's kappa is the product of the two p. Prints the known kappas beside what `agreement` finds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np

from experiments.agreement import main as agreement

SHARES = {
    "emotional_reactions": (0.66, 0.29, 0.05),
    "interpretations": (0.53, 0.04, 0.43),
    "explorations": (0.84, 0.04, 0.12),
}
SEES = {
    "emotional_reactions": (0.95, 0.9, 0.85),
    "interpretations": (0.9, 0.85, 0.8),
    "explorations": (0.97, 0.93, 0.9),
}


def simulated(rows: int, seed: int) -> list[dict[str, object]]:
    """A row an annotator and item."""
    rng = np.random.default_rng(seed)
    levels = {}
    for mechanism, shares in SHARES.items():
        truth = rng.choice(3, rows, p=shares)
        guesses = rng.choice(3, (rows, 3), p=shares)
        levels[mechanism] = np.where(rng.random((rows, 3)) < SEES[mechanism], truth[:, None], guesses)
    return [
        {"id": str(row), "annotator": name, **{mechanism: int(found[row, one]) for mechanism, found in levels.items()}}
        for row in range(rows)
        for one, name in enumerate("abc")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=360)
    parser.add_argument("--seed", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        table, output = Path(folder, "all.jsonl"), Path(folder, "found.json")
        table.write_text("".join(json.dumps(row) + "\n" for row in simulated(options.rows, options.seed)))
        agreement([str(table), "--output", str(output)])
        found = json.loads(output.read_text())
    print("| | known | found | 95 % interval |\n|---|---|---|---|")
    inside = 0
    for mechanism, sees in SEES.items():
        known = {f"{'abc'[a]}~{'abc'[b]}/kappa": sees[a] * sees[b] for a, b in combinations(range(3), 2)}
        for key, value in {**known, "mean_pairwise_kappa": sum(known.values()) / 3}.items():
            one = found[f"{mechanism}/{key}"]
            inside += one["low"] <= value <= one["high"]
            print(f"| {mechanism}, {key} | {value:.3f} | {one['value']:.3f} | {one['low']:.3f} to {one['high']:.3f} |")
    print(f"\nWithin their intervals: {inside} of 12")


if __name__ == "__main__":
    main()
