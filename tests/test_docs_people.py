"""Every command of docs/people.md runs, on sessions, tasks and answers as they would be there."""

from __future__ import annotations

import csv
import json
import random
import shlex
from pathlib import Path

import pytest
from documented import ROOT, commands
from running import lines, run
from tiny import tiny_pairs, write_epitome, write_jsonl

from datamodules.records import LEVEL_NAMES, MECHANISMS

PAGE = ROOT / "docs" / "people.md"
SAID = ("How was your week?", "Bad and long.", "Long?", "Endless, really.")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sessions").mkdir()
    for number in range(2):
        cues = "".join(
            f"00:0{place}:00.000 --> 00:0{place}:09.000\n<v {('Dr. Ada', 'Ben')[place % 2]}>{text} {number}\n\n"
            for place, text in enumerate(SAID)
        )
        (tmp_path / "sessions" / f"{number}.vtt").write_text(f"WEBVTT\n\n{cues}", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("Ben: I can't sleep.\nDr. Ada: Since when?\n", encoding="utf-8")
    write_epitome(tmp_path / "data" / "epitome-reddit", tiny_pairs(320))
    write_jsonl(tmp_path / "gpt3.jsonl", tiny_pairs(320, "synthetic", seed=5))
    (tmp_path / "exports").mkdir()
    for seed, name in enumerate(("anna", "ben")):
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "annotator", *MECHANISMS])
            writer.writerows([pair.id, name, *_levels(pair.id, seed)] for pair in tiny_pairs(40))
    scored = [
        {"id": pair.id, "levels": dict(zip(MECHANISMS, _levels(pair.id, 7), strict=True))} for pair in tiny_pairs(40)
    ]
    (tmp_path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scored), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _levels(name: str, seed: int) -> list[int]:
    """What an annotator says of a row: mostly the same as the others."""
    truth, own = random.Random(name), random.Random(f"{name}{seed}")
    return [own.randrange(3) if own.random() < 0.2 else truth.randrange(3) for _ in MECHANISMS]


def label_studio_work(study: Path, exports: Path) -> None:
    """Annotates every task, and exports a file a person, as Label Studio does."""
    for seed, name in enumerate(("anna", "ben", "cleo")):
        exported = []
        for file in sorted(study.glob(f"*/{name}.json")):
            for task in json.loads(file.read_text(encoding="utf-8")):
                result = [
                    {
                        "from_name": mechanism,
                        "to_name": "response",
                        "type": "choices",
                        "value": {"choices": [LEVEL_NAMES[level]]},
                    }
                    for mechanism, level in zip(MECHANISMS, _levels(task["data"]["row_id"], seed), strict=True)
                ]
                annotation = {"id": len(exported), "completed_by": seed, "result": result}
                exported.append({**task, "id": len(exported), "annotations": [annotation]})
        (exports / f"{name}.json").write_text(json.dumps(exported), encoding="utf-8")


def test_every_command_runs(workplace: Path) -> None:
    told = {}
    for line in commands(PAGE):
        if " annotate import " in line:
            label_studio_work(Path("studies/one"), Path("exports"))
        words = []
        for word in shlex.split(line):
            words += sorted(str(path) for path in Path().glob(word)) if "*" in word else [word]
        assert words[:2] == ["python", "cli.py"], line
        ran = run(*words[2:])
        assert ran.status == 0, f"{line}\n{ran.err}"
        told[" ".join(words[2:4])] = ran
    assert len(told) >= 5
    assert len(lines(Path("data/sessions.jsonl"))) == 2 + 1
    assert {row["source"] for row in lines(Path("data/sessions.jsonl"))} == {"clinical"}
    rows = lines(Path("studies/one-imported/rows.jsonl"))
    assert len(rows) == 640
    shared = next(row for row in rows if row["source"] == "reddit")
    assert shared["levels"].keys() == set(MECHANISMS)
    assert Path("studies/one-imported/differences/round-1-feedback-anna.md").is_file()
    found = json.loads(Path("agreement.json").read_text(encoding="utf-8"))
    assert any(key.endswith("explorations/mean_pairwise_kappa") for key in found)
    assert Path("agreement.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert "model" in told["agreement anna.csv"].out
