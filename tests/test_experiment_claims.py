"""Claims on a shared folder: one owner a piece of work, the dead give way; the ledger survives its writers."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from errors import UserError
from experiments.claims import Claims
from experiments.grid import Point
from experiments.ledger import Ledger


def point(name: str, **options: object) -> Point:
    return Point(name, {}, [], options)


def test_one_owner_until_release(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claim = claims.take("a")
    assert claim is not None
    assert claims.take("a") is None
    assert claims.take("a.5") is not None, "names may hold dots and numbers"
    assert claims.taken("a")
    claims.release(claim)
    assert not claims.taken("a")
    assert claims.take("a") is not None


def _take_and_die(folder: str) -> None:
    Claims(Path(folder)).take("work")
    os._exit(9)


def test_a_dead_owner_gives_way_at_once(tmp_path: Path) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=_take_and_die, args=(str(tmp_path),))
    process.start()
    process.join()
    claims = Claims(tmp_path)
    assert not claims.taken("work")
    claim = claims.take("work")
    assert claim is not None
    assert claim.generation == 2
    assert claims.take("work") is None
    claims.release(claim)
    assert [path.name for path in tmp_path.iterdir()] == []


ELSEWHERE = {"machine": "another", "pid": 1, "began": "1", "job": "70", "start": "0"}


@pytest.mark.parametrize(("job", "start", "gives_way"), [("70", "1", True), ("70", "0", False), ("71", "1", False)])
def test_a_job_queued_again_elsewhere_takes_up_its_own_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, start: str, gives_way: bool
) -> None:
    (tmp_path / "work.1").write_text(json.dumps(ELSEWHERE), encoding="utf-8")
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", start)
    assert (Claims(tmp_path).take("work") is not None) is gives_way


def test_an_owner_elsewhere_gives_way_when_it_shows_no_life(tmp_path: Path) -> None:
    claims = Claims(tmp_path, expiry=30)
    file = tmp_path / "work.1"
    file.write_text(json.dumps(ELSEWHERE), encoding="utf-8")
    assert claims.take("work") is None
    os.utime(file, (time.time() - 31, time.time() - 31))
    assert claims.take("work") is not None


def test_an_owner_shows_life(tmp_path: Path) -> None:
    claims = Claims(tmp_path, expiry=0.2)
    claim = claims.take("work")
    assert claim is not None
    os.utime(claim.file, (1, 1))
    with claims.held(claim):
        end = time.monotonic() + 20
        while claim.file.stat().st_mtime < 1000 and time.monotonic() < end:
            time.sleep(0.02)
    assert claim.file.stat().st_mtime > 1000


NAMES = [f"p{number}" for number in range(30)]


def _work(folder: str, seed: int, die: bool) -> None:
    """Does what it can get; a dying worker is gone in the middle of a point."""
    place = Path(folder)
    claims = Claims(place / "claims")
    ledger = Ledger(place, claims)
    chooser = random.Random(seed)
    points = [point(name) for name in NAMES]
    while missing := [one for one in points if one.name not in ledger.read(points).done]:
        chooser.shuffle(missing)
        for one in missing:
            claim = claims.take(one.name)
            if claim is None:
                continue
            if one.name not in ledger.read(points).done:
                (place / f"working-{one.name}").touch(exist_ok=False)  # a second owner would fail here
                time.sleep(chooser.uniform(0, 0.003))
                (place / f"working-{one.name}").unlink()
                if die and chooser.random() < 0.2:
                    os._exit(9)
                ledger.add("done", one, claim, seconds=1.0)
            claims.release(claim)
        time.sleep(0.002)


def test_many_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    workers = [context.Process(target=_work, args=(str(tmp_path), seed, seed % 2 == 1)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert {worker.exitcode for worker in workers} <= {0, 9}, "no worker met another at the same point"
    assert workers[0].exitcode == 0
    lines = (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["point"] for line in lines) == sorted(NAMES)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, Claims(tmp_path / "claims"))


def add(ledger: Ledger, event: str, one: Point, **more: object) -> None:
    claim = ledger.claims.take(one.name)
    assert claim is not None
    assert ledger.add(event, one, claim, **more)
    ledger.claims.release(claim)


def test_half_a_line_is_cut_off(ledger: Ledger) -> None:
    one, two = point("one"), point("two")
    add(ledger, "done", one, seconds=2.0)
    with ledger.file.open("ab") as file:
        file.write(b'{"event": "done", "point": "tw')
    assert set(ledger.read([one, two]).done) == {"one"}
    add(ledger, "failed", two, seconds=1.0, error="why")
    state = ledger.read([one, two])
    assert (set(state.done), set(state.failed)) == ({"one"}, {"two"})
    assert len(ledger.file.read_bytes().splitlines()) == 2
    assert state.seconds == 2.0


def test_a_point_of_another_grid_is_refused(ledger: Ledger) -> None:
    add(ledger, "done", point("one", lr=1), seconds=2.0)
    with pytest.raises(UserError, match="'one' was run with other options"):
        ledger.read([point("one", lr=2)])


@pytest.mark.parametrize(
    ("line", "said"), [("5", "is not what became"), ('{"event": "done"}', "is not what became"), ("five", "not JSON")]
)
def test_a_line_of_something_else_is_named(ledger: Ledger, line: str, said: str) -> None:
    add(ledger, "done", point("one"), seconds=2.0)
    with ledger.file.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=f"ledger.jsonl: line 2 is {said}|ledger.jsonl: line 2 {said}"):
        ledger.read([point("one")])


@pytest.mark.parametrize("after", ["at work", "finished", "given back", "failed and begun again by a third"])
def test_an_owner_that_stood_still_says_nothing_any_more(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """It is stopped, another machine takes its work over, it goes on."""
    one = point("one")
    stopped = ledger.claims.take("one")
    assert stopped is not None
    assert stopped.holds()
    os.utime(stopped.file, (1, 1))
    monkeypatch.setattr("experiments.claims._machine", lambda: "another")
    theirs = ledger.claims.take("one")
    assert theirs is not None
    if after == "finished":
        assert ledger.add("done", one, theirs, seconds=1.0)
    if after != "at work":
        ledger.claims.release(theirs)
    third = ledger.claims.take("one") if "third" in after else None
    monkeypatch.undo()
    before = ledger.file.read_bytes() if after == "finished" else None
    assert not stopped.holds()
    assert not ledger.add("failed", one, stopped, error="its folder is gone")
    assert (ledger.file.read_bytes() if ledger.file.exists() else None) == before
    ledger.claims.release(stopped)
    assert ledger.claims.taken("one") is (after == "at work" or third is not None)
