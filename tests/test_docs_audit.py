"""The commands of docs/audit.md run, one after the other."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from clinic import synthesize, write_clinical
from documented import ROOT, commands
from running import Ran
from tiny import tiny_pairs, write_epitome

import cli


def test_commands_run(tmp_path: Path, trained: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")
    write_epitome(tmp_path / "data" / "epitome-reddit", tiny_pairs(60))
    scripted = ["--config", "configs/synthesis/scripted.yaml", "--targets.dialogues", "90"]
    assert cli.main(["synthesize", *scripted, "--output", "runs/scripted"]) == 0
    Path("runs/first").symlink_to(trained.folder)
    write_clinical(Path("clinical.jsonl"), 1)
    write_clinical(Path("unseen.jsonl"), 2)
    assert synthesize(Path(), Path("runs/clinical")) == 0
    for line in commands(ROOT / "docs" / "audit.md"):
        words = shlex.split(line)[2:]
        assert cli.main([*words, "--encoder", "tfidf"]) == 0, line
    assert json.loads(Path("runs/clinical/rows.jsonl.release.json").read_text())["reason"] == "audit passed"
    values = json.loads(Path("runs/scripted/rows-audit/audit.json").read_text())["values"]
    assert any(key.startswith("bias/predicted/gender") for key in values)
