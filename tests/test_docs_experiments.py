"""The commands of docs/experiments.md run, in this order."""

import shlex
from pathlib import Path

import pytest
from documented import ROOT, commands
from tiny import tiny_pairs, write_epitome

import cli


def test_commands_run(tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("configs", "quickstart"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_epitome(tmp_path / "data" / "epitome-reddit", tiny_pairs(60))
    monkeypatch.chdir(tmp_path)
    lines = commands(ROOT / "docs" / "experiments.md")
    assert len(lines) == 4
    small = ["--model.encoder", encoder, "--data.max_tokens", "32", "--trainer.max_steps", "1"]
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["python", "cli.py"]
        assert cli.main([*words[2:], *small, "--trainer.accelerator", "cpu"]) == 0, line
    assert len(list((tmp_path / "runs" / "demo" / "runs").iterdir())) == 16
    assert "- Runs: 16, 2 seeds" in (tmp_path / "runs" / "demo" / "report" / "report.md").read_text(encoding="utf-8")
