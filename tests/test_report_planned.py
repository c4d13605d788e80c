"""Tables that experiments ask for: what a row is, and what it is a mean over."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import pytest
import yaml
from run_folders import MECHANISM, make_run
from running import succeed

KEY = f"test/{MECHANISM}/level_accuracy"


def experiment(folder: Path, factors: dict[str, list[str]], report: dict[str, str]) -> Path:
    """Every combination of the factors as a finished run; its score is .5 and .01 times its place."""
    rows = []
    for place, values in enumerate(itertools.product(*factors.values())):
        point = "-".join(values)
        run = make_run(folder / "runs" / point, seed=int(values[-1]))
        scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        scores[KEY] |= {"value": 0.5 + 0.01 * place, "low": None, "high": None}
        (run / "metrics.json").write_text(json.dumps(scores), encoding="utf-8")
        rows.append({"point": point, "seed": values[-1], **dict(zip(factors, values, strict=True))})
    grid = {
        "name": "planned",
        "title": "As planned",
        "factors": {name: {} for name in factors},
        "report": {"kind": "table", "columns": [KEY], **report},
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.parametrize(
    ("factors", "report", "rows"),
    [
        (
            {"clinical": ["one", "two"], "count": ["60", "200"], "seed": ["12", "13"]},
            {"rows": "count"},
            ["60, clinical one: 2 0.505", "200, clinical one: 2 0.525", "60, clinical two: 2 0.545",
             "200, clinical two: 2 0.565"],
        ),
        (
            {"source": ["a", "b"], "seed": ["12", "13"]},
            {"rows": "seed", "repeat": "source"},
            ["12: 2 0.510", "13: 2 0.520"],
        ),
        ({"source": ["a"], "fold": ["1", "2"], "seed": ["12", "13"]}, {"rows": "source", "repeat": "fold"},
         ["a, seed 12: 2 0.510", "a, seed 13: 2 0.520"]),
        ({"source": ["a", "b"], "trial": ["12", "13"]}, {"rows": "source", "repeat": "trial"},
         ["a: 2 0.505", "b: 2 0.525"]),
    ],
)  # fmt: skip
def test_a_row_is_a_combination_of_all_that_is_not_repeated(
    tmp_path: Path, factors: dict[str, list[str]], report: dict[str, str], rows: list[str]
) -> None:
    folder = experiment(tmp_path / "planned", factors, report)
    succeed("report", folder, "--output", tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8").partition("# Tables that the experiments")[2]
    table = [[cell.strip() for cell in line.split("|")[1:4]] for line in text.splitlines() if line.startswith("| ")]
    found = [f"{name}: {count} {score.split()[0]}" for name, count, score in table if count.isdigit()]
    assert found[: len(rows)] == rows
    assert f"which differ in nothing but {report.get('repeat', 'seed')}." in text
