"""A real server at the other end of a real socket: `transformers serve` with a model built on the spot."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_language_model

import cli
from datamodules.records import LEVELS, MECHANISMS
from datamodules.sources.table import Columns, read_table
from synthesis.engines import Sampling
from synthesis.limits import Retry
from synthesis.openai_engine import OpenAIEngine
from synthesis.run import synthesize
from synthesis.settings import Settings
from synthesis.store import read_log
from synthesis.targets import Targets

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_language_model.build_babbler(tmp_path_factory.mktemp("babbler")))


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


@contextmanager
def serving(model, port=0):
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()"]
    options = ["serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--log-level", "error"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *options], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 280
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()


def settings(model, port, dialogues):
    engine = OpenAIEngine(model, [f"http://127.0.0.1:{port}/v1"], name="babbler", concurrency=4, timeout=60)
    reflexion = {f"{m}/{n}/reflexion": dialogues // 45 for m in MECHANISMS for n in LEVELS}
    targets = Targets(
        dialogues=dialogues - sum(reflexion.values()), methods=["standalone", "reflexion"], quotas=reflexion, spare=9
    )
    short = Sampling(max_tokens=32)
    return Settings(
        engine, "configs/synthesis/prompts/empathy.yaml", targets,
        writing=short, judging=short, repeats=9, retry=Retry(times=2, wait=0.05, longest=0.2),
    )  # fmt: skip


def kill_when_long(process, log, lines):
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        time.sleep(0.1)
    process.kill()


def check(output, dialogues):
    calls = [record for record in read_log(output / "attempts.jsonl") if record["kind"] == "call"]
    assert len({call["call_id"] for call in calls}) == len(calls)
    assert all(call["prompt_tokens"] > 100 and not call["tokens_estimated"] for call in calls)
    pairs, report = read_table(output / "rows.jsonl", Columns(), "synthetic")
    assert len(pairs) + sum(report.dropped.values()) == dialogues
    for row in map(json.loads, (output / "rows.jsonl").read_text().splitlines()):
        assert row["levels"].keys() == set(MECHANISMS)
        assert row["method"] == "standalone" or row["levels"][row["target"]["mechanism"]] == row["target"]["level"]
    assert re.search(rf"\| all \|  \|  \| {len(calls)} \|", (output / "card.md").read_text())
    return calls


@pytest.fixture(scope="module")
def server(model):
    with serving(model) as (_, port):
        yield port


def test_a_run_against_transformers_serve_and_its_resume(model, tmp_path, server):
    assert synthesize(settings(model, server, 3), tmp_path).unmet == {}
    first = check(tmp_path, 3)
    assert synthesize(settings(model, server, 6), tmp_path).unmet == {}
    assert check(tmp_path, 6)[: len(first)] == first


def test_the_config_of_compatible_servers_runs(model, tmp_path, server):
    engine = ["--engine.init_args.model", model, "--engine.init_args.base_urls", f"[http://127.0.0.1:{server}/v1]"]
    config = ["--config", "configs/synthesis/openai_compatible.yaml", "--output", str(tmp_path), *engine]
    assert cli.main(["synthesize", *config, *tiny_language_model.BABBLING]) == 0
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ninety_dialogues_from_start_to_audit_with_the_server_lost_on_the_way(model, tmp_path):
    with serving(model) as (process, port):
        threading.Thread(target=kill_when_long, args=(process, tmp_path / "attempts.jsonl", 200)).start()
        report = synthesize(settings(model, port, 90), tmp_path)
    assert report.stopped.startswith("the engine doesn't answer")
    before = [record for record in read_log(tmp_path / "attempts.jsonl") if record["kind"] == "call"]
    with serving(model, port):
        assert synthesize(settings(model, port, 90), tmp_path).unmet == {}
    calls = check(tmp_path, 90)
    assert calls[: len(before)] == before
    assert cli.main(["audit", str(tmp_path / "rows.jsonl"), "--encoder", "tfidf", "--output", str(tmp_path / "a")]) == 0
    found = json.loads((tmp_path / "a" / "audit.json").read_text())["values"]
    assert found["quality/synthetic/pairs/exact_repeats"]["n"] == 90
