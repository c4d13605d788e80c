"""Every command and example of docs/serve.md runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from documented import ROOT, blocks, commands
from running import Ran
from serving import ask

PAGE = ROOT / "docs" / "serve.md"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, trained: Ran, talkers: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("docs_serve")
    (folder / "runs").mkdir()
    for name, run in {**talkers, "empathy": trained.folder}.items():
        (folder / "runs" / name).symlink_to(run)
    return folder


@pytest.mark.parametrize("line", commands(PAGE))
def test_every_command_serves(line: str, workplace: Path) -> None:
    words = shlex.split(line)
    assert words[:3] == ["python", "cli.py", "serve"]
    if "--port" not in words:
        words += ["--port", "0"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *words[2:]], cwd=workplace, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        assert url, said
        assert ask(url[0], "")[0] == 200
        if line == commands(PAGE)[0]:
            for example in blocks(PAGE, "python"):
                exec(compile(example.replace("8018", url[1]), str(PAGE), "exec"), {})
        if "--store" in words:
            ask(url[0], "respond", {"turns": []})
            assert (workplace / "kept.jsonl").read_text(encoding="utf-8").count("\n") == 1
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
