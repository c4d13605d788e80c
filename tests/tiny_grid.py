"""A grid of four small runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from running import config
from tiny import tiny_pairs, write_jsonl

from datamodules.records import MECHANISMS


def tiny_grid(folder: Path, encoder: str, reddit: Path, **more: Any) -> Path:
    """Two mechanisms x 0 or 6 synthetic rows, single-mechanism models of a few steps, last weights."""
    pairs = tiny_pairs(60, "synthetic", seed=5)
    for number, pair in enumerate(pairs):
        pair.levels, pair.rationales = dict.fromkeys(MECHANISMS, number % 3), {}
    synthetic = write_jsonl(folder / "synthetic.jsonl", pairs)
    data = {"reddit": str(reddit), "split": {"validation": 0.0, "test": 0.2}, "cache": str(folder / "cache")}
    base = config(
        folder / "base.yaml", encoder, data=data, test_checkpoint="last", trainer={"max_steps": 3, "max_epochs": 1}
    )
    content = {
        "name": "tiny",
        "base": str(base),
        "set": {"data.synthetic": str(synthetic)},
        "factors": {
            "mechanism": {
                "values": {
                    "explorations": {"model.mechanisms": ["explorations"]},
                    "interpretations": {"model.mechanisms": ["interpretations"]},
                }
            },
            "count": {"option": "data.mix.count", "range": [0, 6, 6]},
            "seed": {"option": ["seed_everything", "data.mix.seed"], "values": [3]},
        },
        "report": {"kind": "curves", "x": "count", "panel": "mechanism", "metrics": ["level_accuracy"]},
        **more,
    }
    file = folder / "tiny_grid.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def metrics(output: Path) -> dict[str, bytes]:
    """Point -> its metrics.json."""
    return {path.parent.name: path.read_bytes() for path in sorted((output / "runs").glob("*/metrics.json"))}
