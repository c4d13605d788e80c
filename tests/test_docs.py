"""Every command and example of the documentation runs."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from documented import ROOT, blocks, commands
from tiny import tiny_pairs, write_epitome, write_jsonl

import cli
from datamodules.records import MECHANISMS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLING = {
    "python -m pip install -q uv && uv run pytest",
    "uv run pre-commit install",
    "uv run ruff check . && uv run mypy",
}
"""Commands that .ci/run stands for, or that only prepare a machine."""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("configs", "quickstart"):
        if (ROOT / name).is_dir():
            (tmp_path / name).symlink_to(ROOT / name)
    write_epitome(tmp_path / "data" / "epitome-reddit", tiny_pairs(60))
    write_jsonl(tmp_path / "synthetic.jsonl", tiny_pairs(200, "synthetic", seed=5))
    with (tmp_path / "clinical.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "seeker_post", "response_post", *MECHANISMS])
        for pair in tiny_pairs(40, "clinical", seed=9):
            writer.writerow([pair.id, pair.seeker_post, pair.response_post, *pair.levels.values()])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, encoder: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["python", "cli.py"], command
    words = words[2:]
    if words[0] == "fit":
        words += ["--model.encoder", encoder, "--data.max_tokens", "32", "--trainer.max_steps", "2"]
        words += ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.precision", "32-true"]
        words += ["--data.num_workers", "0"]
    elif words[:2] == ["prepare", "epitome"]:
        words += ["--from", "data/epitome-reddit", "--dest", "fetched", "--allow_modified"]
    assert cli.main(words) == 0, command


def test_readme_commands_run(workplace: Path, encoder: str) -> None:
    page = ROOT / "README.md"
    elsewhere = {line for other in PAGES if other.parent.name == "docs" for line in commands(other)}
    lines = [line for line in commands(page) if line.startswith("python cli.py") and line not in elsewhere]
    assert len(lines) > 10
    first = next(line for line in lines if "--run_name first" in line and "last" not in line)
    run(first, encoder)
    for line in lines:
        if line != first:
            run(line, encoder)
    for example in blocks(page, "python"):
        exec(compile(example, str(page), "exec"), {})


def test_no_command_is_left_untested() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "uv run pytest" in ci
    assert "uv run ruff check ." in ci
    for page in PAGES:
        for line in commands(page):
            known = line in INSTALLING or line.startswith(("python -m venv", "python cli.py"))
            assert known or "uv run --extra quickstart python cli.py fit" in line, f"{page.name}: {line}"
        if page.parent.name == "docs" and any(line.startswith("python cli.py") for line in commands(page)):
            assert (ROOT / "tests" / f"test_docs_{page.stem}.py").is_file(), f"no test runs the commands of {page.name}"


def test_named_files_exist() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(
            r"`((?:configs|docs|benchmarks|datamodules|callbacks|lightning_modules)/[\w./-]+\.\w+)`", text
        ):
            assert (ROOT / name).is_file(), f"{page.name} names {name}"
