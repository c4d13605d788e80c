"""Every config runs as it stands, at the size of a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from running import scores, succeed
from tiny import tiny_pairs, write_epitome, write_jsonl

ROOT = Path(__file__).resolve().parent.parent
ALL = sorted((ROOT / "configs").rglob("*.yaml"))
RUNNABLE = [path for path in ALL if "class_path" in yaml.safe_load(path.read_text(encoding="utf-8"))["model"]]
OVERLAYS = sorted((ROOT / "configs" / "overlays").glob("*.yaml"))


def test_none_is_missed() -> None:
    assert len(RUNNABLE) >= 5
    assert {*RUNNABLE, *OVERLAYS} == {*ALL}


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
