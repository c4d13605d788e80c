"""Folders of runs and experiments as `fit` and `experiment` leave them, with made-up predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from datamodules.records import LEVELS
from metrics.evaluation import VARIANT
from metrics.levels import level_scores
from metrics.statistics import bootstrap_level_intervals, bootstrap_mean_intervals
from metrics.strategies import StrategyRows, evaluate_strategies

MECHANISM = "explorations"
RESPONSE = "I am with you. What would help tonight?"


def make_run(
    folder: Path,
    *,
    mechanisms: tuple[str, ...] = (MECHANISM,),
    skill: float = 0.7,
    found: float = 0.0,
    seed: int = 12,
    rows: int = 120,
    added: int = 0,
    share: float = 0.0,
    generator: str = "gpt3",
    source: str = "reddit",
    text: str = RESPONSE,
    split_hash: str = "aaaabbbbcccc",
    variant: str = VARIANT,
    **model: Any,
) -> Path:
    """A finished run that is right about a row with probability `skill`, on gold that depends on the rows alone.

    It finds a row's whole rationale with probability `found`, or else marks all other words.
    """
    folder.mkdir(parents=True)
    mix = {"mode": "substitute" if share else "augment", "count": None if share else added, "share": share}
    draw = np.random.default_rng([seed, added, int(100 * share), len(generator)])
    described: list[dict[str, Any]] = [
        {"id": f"r{row}", "source": source, "split": "test", "group": row // 2, "levels": {}, "probabilities": {},
         "rationales": {}, "gold": {"levels": {}, "rationales": {}}}
        for row in range(rows)
    ]  # fmt: skip
    if source != "clinical":
        for row in described:
            row |= {"seeker_post": f"Seeker {row['id']}.", "response_post": text}
    metrics: dict[str, Any] = {}
    protocol = {"split_hash": split_hash, "metric_variant": variant, "seed": seed, "checkpoint": "last"}
    for mechanism in mechanisms:
        gold = np.random.default_rng(len(mechanism)).choice(3, size=rows, p=(0.6, 0.15, 0.25))
        luck = np.random.default_rng([seed, len(mechanism)]).random(rows)  # the same whatever is added: paired
        predicted = np.where(luck < skill, gold, draw.integers(3, size=rows))
        hits = np.random.default_rng([seed, len(mechanism), 1]).random(rows) < found
        for row, said, meant, hit in zip(described, predicted.tolist(), gold.tolist(), hits, strict=True):
            row["levels"][mechanism], row["gold"]["levels"][mechanism] = said, meant
            row["probabilities"][mechanism] = [0.8 if level == said else 0.1 for level in LEVELS]
            row["rationales"][mechanism] = [[0, 14]] if hit else [[15, 39]]
            if meant:
                row["gold"]["rationales"][mechanism] = [[0, 14]]
        intervals = bootstrap_level_intervals(predicted, gold, np.arange(rows) // 2, resamples=50)
        for key, value in level_scores(predicted, gold).items():
            low, high = intervals.get(key, (None, None))
            entry = {"low": low, "high": high, "n": rows, "protocol": protocol}
            metrics[f"test/{mechanism}/{key}"] = {"value": value, **entry}
            metrics[f"test/{mechanism}/{key}_majority"] = {"value": 0.25, **entry}
        scored = np.where(gold > 0, hits, np.nan)[:, None]
        low, high = bootstrap_mean_intervals(scored, np.arange(rows) // 2, keys=["f1"], resamples=50)["f1"]
        for key in ("rationale_f1", "rationale_iou_f1"):
            entry = {"low": low, "high": high, "n": int((gold > 0).sum()), "protocol": protocol}
            metrics[f"test/{mechanism}/{key}"] = {"value": float(np.nanmean(scored)), **entry}
    split = {"rows": rows, "ids_sha256": f"{seed}{added}" * 8, "sources": {source: _source(rows)}, "cut": {}}
    train = dict(split, sources={"reddit": _source(400)}, rows=400 + added)
    if added:
        train["sources"][f"synthetic/{generator}"] = _source(added)
    elif share:
        train["sources"][f"synthetic/{generator}"] = _source(int(400 * share))
    manifest = {
        "split_hash": split_hash, "options": {}, "sources": [], "dropped": {}, "leaks": {},
        "mix": {"added": added or int(400 * share), "removed": int(400 * share)},
        "splits": {"train": train, "validation": dict(split, rows=0, sources={}), "test": split},
    }  # fmt: skip
    config = {
        "seed_everything": seed, "run_name": None, "runs": "runs", "trainer": {"max_epochs": 1},
        "model": {
            "class_path": "lightning_modules.empathy.EmpathyModule",
            "init_args": {"encoder": "/models/tiny-encoder", "mechanisms": list(mechanisms), **model},
        },
        "data": {
            "class_path": "datamodules.empathy.EmpathyDataModule",
            "init_args": {"reddit": "/data/reddit", "synthetic": f"/data/{generator}.jsonl", "mix": mix},
        },
        "test_checkpoint": "last",
    }  # fmt: skip
    _write(folder, config, manifest, metrics, described)
    return folder


CATEGORIES = ("Comforting", "Exploration", "Action", "Others")


def make_strategy_run(
    folder: Path, *, skill: float = 0.7, seed: int = 12, rows: int = 120, target: str = "next", **data: Any
) -> Path:
    """A finished strategy classifier that is right about a row with probability `skill`."""
    make_run(folder, seed=seed, rows=rows)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    options = {"encoder": "/models/tiny-encoder", "target": target}
    config["model"] = {"class_path": "lightning_modules.strategy.StrategyClassifier", "init_args": options}
    config["data"]["init_args"] = {"esconv": "/data/esconv.json", "label_space": "categories", "scheme": None, **data}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    size = len(CATEGORIES)
    gold = np.random.default_rng(5).integers(size, size=rows)
    said = np.where(np.random.default_rng(seed).random(rows) < skill, gold, (gold + 1) % size)
    probabilities = np.full((rows, size), 0.1)
    probabilities[np.arange(rows), said] = 0.7
    groups, chosen, meant = np.arange(rows) // 2, np.eye(size)[said], np.eye(size)[gold]
    table = StrategyRows(np.arange(rows), groups, probabilities, probabilities, chosen, meant, meant)
    variant = f"{target} turn, {config['data']['init_args']['label_space']}"
    protocol = {"split_hash": "ddddeeeeffff", "metric_variant": variant, "seed": seed, "checkpoint": "best"}
    metrics = {}
    for key, score in evaluate_strategies(table, np.ones(size)).items():
        known = {end: None if np.isnan(value) else value for end, value in zip(score._fields, score, strict=True)}
        metrics[f"test/{key}"] = {**known, "protocol": protocol}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    described = [
        {
            "id": f"{row // 2}:{row % 2}", "source": "esconv", "split": "test", "group": row // 2,
            "strategy": CATEGORIES[said[row]], "gold": [CATEGORIES[gold[row]]],
            "probabilities": dict(zip(CATEGORIES, probabilities[row].tolist(), strict=True)),
        }
        for row in range(rows)
    ]  # fmt: skip
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in described), encoding="utf-8")
    curve = "step,epoch,train/loss,validation/f1_macro\n9,0,1.5,\n19,0,,0.4\n29,1,0.8,0.5\n"
    (folder / "metrics.csv").write_text(curve, encoding="utf-8")
    return folder


def _source(rows: int) -> dict[str, Any]:
    return {"rows": rows, "levels": {MECHANISM: {"0": rows - 2, "1": 1, "2": 1}}}


def _write(folder: Path, config: Any, manifest: Any, metrics: Any, predictions: list[dict[str, Any]]) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {"date": "2026-01-02T03:04:05+00:00", "python": "3.11", "packages": {"torch": "2.11"}, "devices": []}
    for name, content in (("manifest", manifest), ("metrics", metrics), ("environment", environment)):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in predictions)
    (folder / "predictions.jsonl").write_text(lines, encoding="utf-8")
    curve = "step,epoch,train/loss\n9,0,1.5\n19,0,1.0\n29,1,0.8\n"
    (folder / "metrics.csv").write_text(curve, encoding="utf-8")


def make_experiment(
    folder: Path,
    *,
    counts: tuple[int, ...] = (0, 30, 60, 90, 120),
    seeds: tuple[int, ...] = (12, 13),
    mechanisms: tuple[str, ...] = ("emotional_reactions", MECHANISM),
    gain: float = 0.0,
    **options: Any,
) -> Path:
    """An experiment of adding rows; every 30 rows up to 60 bring `gain` more rows right, then nothing."""
    rows = []
    for mechanism in mechanisms:
        for count in counts:
            for seed in seeds:
                point = f"{mechanism}-{count}-{seed}"
                skill = 0.5 + gain * min(count, 60) / 30
                made = {"mechanisms": (mechanism,), "seed": seed, "skill": skill, "added": count, **options}
                make_run(folder / "runs" / point, **made)
                rows.append({"point": point, "mechanism": mechanism, "count": count, "seed": seed})
    grid = {
        "name": "augmentation",
        "title": "Synthetic rows added to all of Reddit",
        "protocol": "study_a",
        "set": {},
        "factors": {"mechanism": {}, "count": {}, "seed": {}},
        "report": {
            "kind": "curves", "x": "count", "x_label": "synthetic rows added", "panel": "mechanism", "repeat": "seed",
            "metrics": ["level_accuracy", "level_f1_macro"], "published": "augmentation",
        },
    }  # fmt: skip
    (folder / "experiment.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    failed = {"event": "failed", "point": "explorations-150-12", "error": "out of memory"}
    (folder / "ledger.jsonl").write_text(json.dumps(failed) + "\n", encoding="utf-8")
    return folder
