"""Every command of docs/compare.md runs, from dialogues to the table, and so does the config of the judge."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documented import ROOT, commands
from running import lines, run
from serving import ChatServer, ask

PAGE = ROOT / "docs" / "compare.md"


@pytest.fixture
def workplace(tmp_path: Path, talkers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runs").mkdir()
    for name, folder in talkers.items():
        (tmp_path / "runs" / name).symlink_to(folder)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    said = ("I feel low.", "Since when?", "Since spring.", "That is long.")
    rows = []
    for number in range(25):
        spoken = zip(("seeker", "supporter") * 2, said, strict=True)
        rows.append(
            {"id": f"d{number}", "turns": [{"speaker": who, "text": f"{text} {number}"} for who, text in spoken]}
        )
    (tmp_path / "dialogues.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rate(words: list[str]) -> None:
    """The page answers while the command runs; two tasks are judged."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "cli.py"), *words, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+/", process.stderr.readline())
        assert url
        view = ask(url[0], "api/start", {"rater": "anna"})[1]
        assert view["total"] == 40
        for place in (0, 1):
            ask(url[0], "api/judge", {"rater": "anna", "place": place, "choice": 1, "seconds": 2.0})
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_every_command_runs(workplace: Path) -> None:
    config = workplace / "configs" / "compare" / "judge_local.yaml"
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert content["engine"]["init_args"]["base_urls"] == ["http://localhost:8000/v1"]
    with ChatServer(lambda body: "Both are short.\nVerdict: 1") as server:
        content["engine"]["init_args"]["base_urls"] = [f"http://localhost:{server.server_port}/v1"]
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        done = []
        for line in commands(PAGE):
            words = shlex.split(line)
            assert words[:2] == ["python", "cli.py"], line
            if words[2:4] == ["compare", "rate"]:
                rate(words[2:])
                continue
            ran = run(*words[2:])
            assert ran.status == 0, f"{line}\n{ran.err}"
            done.append(ran)
    assert len(server.got) == 80  # 40 tasks in both orders
    assert "2 systems, 40 contexts; 2 judgements by 1 person" in done[4].out
    assert "Judge openai" in done[4].out or "Judge Qwen" in done[4].out
    assert json.loads((workplace / "scores.json").read_text())["human/plain_vs_tagged/win"]["n"] == 2
    assert len(lines(workplace / "cot.jsonl")) >= 48
    assert len(lines(workplace / "studies" / "prompting" / "tasks.jsonl")) == 60


def test_every_config_says_how_it_is_run() -> None:
    for path in (ROOT / "configs" / "compare").glob("*.yaml"):
        header = path.read_text(encoding="utf-8")
        assert str(path.relative_to(ROOT)) in header
        assert str(path.relative_to(ROOT)) in PAGE.read_text(encoding="utf-8")
        assert "# Result:" in header
