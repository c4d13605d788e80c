"""The commands of docs/synthesis.md run, one after the other."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from documented import ROOT, commands
from tiny import tiny_pairs, write_epitome

import cli

SMALL = "--data.max_tokens 32 --trainer.max_steps 2 --trainer.accelerator cpu --trainer.devices 1 --data.num_workers 0"


def test_commands_run(tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_epitome(tmp_path / "data" / "epitome-reddit", tiny_pairs(60))
    monkeypatch.chdir(tmp_path)
    small = {
        "synthesize": ["--targets.dialogues", "180"],
        "audit": ["--encoder", "tfidf"],
        "fit": [*SMALL.split(), "--trainer.precision", "32-true", "--model.encoder", encoder],
    }
    lines = [shlex.split(line)[2:] for line in commands(ROOT / "docs" / "synthesis.md")]
    assert [words[0] for words in lines] == ["synthesize", "audit", "fit"]
    for words in lines:
        assert cli.main([*words, *small[words[0]]]) == 0, words
    manifest = next((tmp_path / "runs").glob("*/manifest.json")).read_text(encoding="utf-8")
    assert "scripted-reflexion" in manifest
    assert "scripted-standalone" in manifest
