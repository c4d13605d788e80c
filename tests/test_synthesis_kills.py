"""SIGKILL at random points: nothing lost, doubled or halved, and no call paid for twice."""

import json
import multiprocessing
import random
import time
from pathlib import Path

import pytest
from synthesis_killed import make_dialogues

from synthesis.store import read_log

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def start(output, dialogues):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["synthesis_killed"])
    process = context.Process(target=make_dialogues, args=(output, dialogues))
    process.start()
    return process


def run(output, dialogues):
    process = start(output, dialogues)
    process.join()
    return process.exitcode


def log_of(output):
    """The ids of the calls, and those of the accepted dialogues."""
    calls, accepted = [], set()
    for record in read_log(output / "attempts.jsonl"):
        if record["kind"] == "call":
            calls.append(record["call_id"])
        elif record["kind"] == "dialogue" and record["accepted"]:
            accepted.add(record["dialogue"])
    return calls, accepted


def check_kills(folder, kills, dialogues):
    left_alone = folder / "left_alone"
    assert run(left_alone, dialogues) == 0
    whole = (left_alone / "attempts.jsonl").stat().st_size
    dice = random.Random(0)
    output = folder / "killed"
    log, rows = output / "attempts.jsonl", output / "rows.jsonl"
    for number in range(kills):
        process = start(output, dialogues)
        aim = dice.uniform(number, number + 1) / (kills + 1) * whole
        while process.is_alive() and (not log.exists() or log.stat().st_size < aim):
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.01))
        process.kill()
        process.join()
        ids, accepted = log_of(output)
        assert len(ids) == len(set(ids))
        if rows.exists():
            written = [json.loads(line)["id"] for line in rows.read_text().splitlines()]
            assert len(written) == len(set(written))
            assert set(written) <= accepted
    assert run(output, dialogues) == 0
    assert rows.read_bytes() == (left_alone / "rows.jsonl").read_bytes()
    assert len(rows.read_text().splitlines()) == dialogues
    ids, _ = log_of(output)
    assert len(ids) == len(set(ids))
    assert set(ids) == set(log_of(left_alone)[0])
    assert sorted(path.name for path in output.iterdir()) == ["attempts.jsonl", "card.md", "rows.jsonl"]


def test_ten_kills(tmp_path):
    check_kills(tmp_path, 10, 60)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_kills(tmp_path):
    check_kills(tmp_path, 200, 240)
