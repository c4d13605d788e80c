"""`results.csv`: a row a finished run, in the grid's order."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.files import replacing
from experiments.grid import Point

__all__ = ["complete", "tested_on", "write_results"]


def complete(run: Path) -> bool:
    """Whether a run's folder holds what the table says of it."""
    return all((run / name).is_file() for name in ("manifest.json", "metrics.json"))


def tested_on(run: Path) -> str:
    """The sources of a run's test rows, such as `clinical`."""
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    return "+".join(sorted(manifest["splits"]["test"]["sources"]))


def write_results(file: Path, protocol: str, points: Sequence[Point], seconds: Mapping[str, float], runs: Path) -> None:
    """Writes the table whole.

    Args:
        file: `results.csv`.
        protocol: What the way of training and testing is called.
        points: The finished runs, in the grid's order.
        seconds: Name -> what the run took.
        runs: Folder of the run folders.
    """
    rows = [_row(protocol, point, seconds[point.name], runs / point.name) for point in points]
    about = ["point", *dict.fromkeys(factor for point in points for factor in point.values)]
    about += [name for name in _ABOUT if name not in about]
    metrics = sorted({name for row in rows for name in row} - {*about})
    with replacing(file) as output:
        writer = csv.DictWriter(output, [*about, *metrics], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


_ABOUT = ("seed", "protocol", "tested_on", "split_hash", "metric_variant", "checkpoint", "seconds")


def _row(protocol: str, point: Point, seconds: float, run: Path) -> dict[str, Any]:
    scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    protocols = [score["protocol"] for score in scores.values()]
    row: dict[str, Any] = {
        "seed": _common(protocols, "seed"),
        "protocol": protocol,
        "tested_on": tested_on(run),
        "split_hash": _common(protocols, "split_hash"),
        "metric_variant": _common(protocols, "metric_variant"),
        "checkpoint": _common(protocols, "checkpoint"),
        "seconds": round(seconds, 2),
    }
    for key, score in scores.items():
        row |= {key: score["value"], f"{key}/low": score["low"], f"{key}/high": score["high"]}
    return {"point": point.name, **row, **point.values}


def _common(protocols: Sequence[Mapping[str, Any]], name: str) -> Any:
    """What all scores of a run share; nothing where they differ."""
    found = {protocol.get(name) for protocol in protocols}
    return found.pop() if len(found) == 1 else None
