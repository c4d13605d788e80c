"""The README's numbers on the EPITOME Reddit rows: our joint model and the published recipe, on one split.

Run: python benchmarks/empathy_reddit.py DATA --seeds 12 13 14 [--runs runs]
A run whose metrics.json is there is not repeated. Prints mean and spread (lowest to highest) over the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

MECHANISMS = ("emotional_reactions", "interpretations", "explorations")
KEYS = (
    "level_accuracy",
    "level_f1_macro",
    "level_f1_weighted",
    "level_kappa_quadratic",
    "rationale_f1",
    "rationale_iou_f1",
    "rationale_f1_published",
    "rationale_iou_f1_published",
)
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def fit(name: str, runs: Path, data: str, seed: int, config: str, *options: str) -> Path:
    """Runs one fit as a process of its own, unless it is done."""
    folder = runs / name
    if not (folder / "metrics.json").is_file():
        resume = ["--ckpt_path", "last"] if folder.is_dir() else []
        subprocess.run(
            [
                sys.executable,
                "cli.py",
                "fit",
                "--config",
                config,
                "--data.reddit",
                data,
                "--run_name",
                name,
                "--runs",
                str(runs),
                "--seed_everything",
                str(seed),
                *options,
                *resume,
            ],
            check=True,
        )
    return folder


def published(runs: Path, data: str, seed: int) -> dict[str, Path]:
    """Three single-mechanism runs by the published recipe, on the grouped split and the small encoder."""
    options = ["--model.encoder", ENCODER, "--data.split.by", "group", "--data.leakage", "error"]
    return {
        mechanism: fit(
            f"published-{mechanism}-{seed}",
            runs,
            data,
            seed,
            "configs/empathy_published.yaml",
            *options,
            "--model.mechanisms",
            f"[{mechanism}]",
        )
        for mechanism in MECHANISMS
    }


def joint(runs: Path, data: str, seed: int) -> dict[str, Path]:
    """One run for all three mechanisms."""
    folder = fit(f"joint-{seed}", runs, data, seed, "configs/empathy_small.yaml")
    return dict.fromkeys(MECHANISMS, folder)


def table(title: str, by_seed: list[dict[str, Path]]) -> list[str]:
    """Markdown lines: mechanism x metric, mean (lowest-highest), and the trivial baseline."""
    lines = [f"| {title} | " + " | ".join(KEYS) + " |", "|---" * (len(KEYS) + 1) + "|"]
    hashes = set()
    for mechanism in MECHANISMS:
        scores = [json.loads((folders[mechanism] / "metrics.json").read_text()) for folders in by_seed]
        hashes |= {entry["protocol"]["split_hash"] for score in scores for entry in score.values()}
        cells, trivial = [], []
        for key in KEYS:
            values = [score[f"test/{mechanism}/{key}"]["value"] for score in scores]
            cells.append(f"{sum(values) / len(values):.3f} ({min(values):.3f}-{max(values):.3f})")
            suffix = "_majority" if key.startswith("level") else "_everything"
            trivial.append(f"{scores[0][f'test/{mechanism}/{key}{suffix}']['value']:.3f}")
        lines += [f"| {mechanism} | " + " | ".join(cells) + " |", "| trivial baseline | " + " | ".join(trivial) + " |"]
    return [*lines, f"split {', '.join(sorted(hashes))}", ""]


def main() -> None:
    """Runs what is missing and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[12, 13, 14])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    for title, recipe in (("joint", joint), ("published recipe", published)):
        print("\n".join(table(title, [recipe(options.runs, options.data, seed) for seed in options.seeds])), flush=True)


if __name__ == "__main__":
    main()
