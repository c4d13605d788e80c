"""Every config runs as it stands, at the size of a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import scores, succeed
from tiny import tiny_pairs, write_epitome, write_jsonl

ROOT = Path(__file__).resolve().parent.parent
ALL = sorted((ROOT / "configs").rglob("*.yaml"))
OVERLAYS = sorted((ROOT / "configs" / "overlays").glob("*.yaml"))
ELSEWHERE = ("audit", "compare", "experiments", "sweeps", "synthesis", "cluster", "prompting", "responder", "strategy")
"""Beginnings of the names, below configs/, of those that the tests of their commands run."""


def settings_of(path: Path) -> Mapping[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


OWN = [path for path in ALL if not str(path.relative_to(ROOT / "configs")).startswith(ELSEWHERE)]
RUNNABLE = [path for path in OWN if "class_path" in settings_of(path)["model"]]


def test_none_is_missed() -> None:
    assert len(RUNNABLE) >= 5
    assert {*RUNNABLE, *OVERLAYS} == {*OWN}


@pytest.mark.parametrize("path", [*RUNNABLE, *OVERLAYS], ids=lambda path: path.stem)
def test_it_trains_and_tests(path: Path, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    header = path.read_text(encoding="utf-8").split("seed_everything")[0]
    assert "# Run:   python cli.py fit" in header, "a config says how it is launched"
    assert "# Result:" in header, "and what came of it"
    files = ["--config", path] if path in RUNNABLE else ["--config", ROOT / "configs/empathy.yaml", "--config", path]
    options = ["--model.encoder", encoder, "--data.max_tokens", 48, "--data.num_workers", 0, "--runs", tmp_path]
    options += ["--trainer.max_steps", 2, "--trainer.accelerator", "cpu", "--trainer.devices", 1]
    options += ["--trainer.precision", "32-true"]
    if path.stem != "quickstart":
        options += ["--data.reddit", write_epitome(tmp_path / "reddit", tiny_pairs(40))]
    if path.stem == "study_a":
        options += [
            "--data.clinical",
            write_jsonl(tmp_path / "c.jsonl", tiny_pairs(10, "clinical")),
            "--data.leakage",
            "drop",
        ]
    folder = succeed("fit", *files, *options).folder
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    found = scores(folder)
    assert found
    assert settings["monitor"].replace("validation/", "test/") in found
