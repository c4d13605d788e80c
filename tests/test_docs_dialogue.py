"""The commands of docs/dialogue.md run, in their order."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from documented import ROOT, commands
from running import lines, succeed
from tiny import tiny_pairs, write_epitome
from tiny_dialogues import write_esconv

SMALL = '{"layers": 1, "width": 16, "heads": 2, "window": 64, "vocabulary": 300}'
FEW = ["--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--data.max_tokens", "64"]


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data" / "esconv").mkdir(parents=True)
    (tmp_path / "published").mkdir()
    for name in ("ESConv.json", "FailedESConv.json"):
        write_esconv(tmp_path / "published" / name, 20)
    write_epitome(tmp_path / "data" / "epitome-reddit", tiny_pairs(30))
    monkeypatch.chdir(tmp_path)
    shown = {}
    for line in commands(ROOT / "docs" / "dialogue.md"):
        words = shlex.split(line)
        assert words[:2] == ["python", "cli.py"]
        words = words[2:]
        if words[0] == "prepare":
            words += ["--from", "published", "--allow_modified"]
        elif words[0] == "fit" and "configs/strategy_small.yaml" in words:
            words += [*FEW, "--model.encoder", encoder]
        elif words[0] == "fit":
            words[3:3] = [*FEW, "--model.small", SMALL, "--model.max_response_tokens", "8", "--model.written_rows", "3"]
        shown[words[0]] = succeed(*words).out
    assert "Study B" in shown["strategies"]
    table = [line.split() for line in shown["responders"].splitlines()]
    assert [row[:3] for row in table if row[:2] in (["esconv", "no"], ["merged", "yes"])] == [
        ["esconv", "no", "none"],
        ["merged", "yes", "none"],
        ["merged", "yes", "random"],
        ["merged", "yes", "classifier"],
        ["merged", "yes", "model"],
        ["merged", "yes", "oracle"],
    ]
    responses, strategies = lines(tmp_path / "responses.jsonl"), lines(tmp_path / "strategies.jsonl")
    chosen = {row["id"]: row["strategy"] for row in strategies}
    assert [(row["id"], row["strategy"]) for row in responses] == list(chosen.items())
    assert len(lines(tmp_path / "next.jsonl")) == 20
