"""The runner: the numbers of `fit`, resumable, several processes, failures, what it leaves."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import ROOT, Ran, run, run_apart, scores, start_apart, stop_at, succeed
from tiny import tiny_pairs, write_jsonl
from tiny_grid import metrics, tiny_grid

from experiments.claims import Claims
from experiments.grid import Point
from experiments.grid_file import read_grid
from experiments.runner import Runner

NAMES = ["explorations-0-3", "explorations-6-3", "interpretations-0-3", "interpretations-6-3"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, encoder: str, reddit: Path) -> Path:
    return tiny_grid(tmp_path_factory.mktemp("grid"), encoder, reddit)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment") / "tiny"


@pytest.fixture(scope="module")
def whole(file: Path, output: Path) -> Ran:
    """The uninterrupted grid. Tests must not write into its folder."""
    return succeed("experiment", file, "--output", output)


def ledger(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]


def table(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


def test_it_leaves_run_folders_ledger_and_table(whole: Ran, output: Path) -> None:
    assert whole.out.splitlines() == ["4 of 4 points done, 0 failed", str(output / "results.csv")]
    assert "interpretations-6-3 done; 4 of 4 points done, 0 failed, about 0 s left" in whole.err
    assert sorted(path.name for path in output.iterdir()) == [
        "claims", "experiment.yaml", "ledger.jsonl", "results.csv", "runs",
    ]  # fmt: skip
    assert not list((output / "claims").iterdir())
    assert sorted(path.name for path in (output / "runs" / NAMES[0]).iterdir()) == [
        "config.yaml", "environment.json", "log.txt", "manifest.json", "metrics.csv", "metrics.json",
        "predictions.html", "predictions.jsonl",
    ]  # fmt: skip
    settings = yaml.safe_load((output / "runs" / NAMES[0] / "config.yaml").read_text(encoding="utf-8"))
    assert settings["runs"] == str(output / "runs")
    assert [(event["event"], event["point"]) for event in ledger(output)] == [("done", name) for name in NAMES]


def test_the_table_says_what_the_runs_say(whole: Ran, output: Path) -> None:
    rows = table(output)
    assert [row["point"] for row in rows] == NAMES
    for row in rows:
        found = scores(output / "runs" / row["point"])
        key = f"test/{row['mechanism']}/level_f1_macro"
        assert float(row[key]) == found[key]["value"]
        assert [float(row[f"{key}/low"]), float(row[f"{key}/high"])] == [found[key]["low"], found[key]["high"]]
        protocol = found[key]["protocol"]
        assert row["split_hash"] == protocol["split_hash"]
        assert (row["tested_on"], row["protocol"], row["seed"], row["checkpoint"]) == ("reddit", "base", "3", "last")
    assert rows[0]["test/interpretations/level_f1_macro"] == ""
    assert rows[1]["count"] == "6"
    described = yaml.safe_load((output / "experiment.yaml").read_text(encoding="utf-8"))
    assert described["tested_on"] == "reddit"


def test_each_point_is_the_fit_that_it_stands_for(whole: Ran, output: Path, file: Path, tmp_path: Path) -> None:
    """One as a fresh process, the others here in another order, all byte for byte."""
    points = read_grid(file).points()
    apart = run_apart(tmp_path, "fit", *points[1].flags(), "--runs", tmp_path / "apart", OMP_NUM_THREADS="1")
    assert apart.status == 0, apart.err
    folders = [(points[1], apart.folder)]
    for point in reversed(points[2:]):
        folders.append((point, succeed("fit", *point.flags(), "--runs", tmp_path / "here").folder))
    for point, folder in folders:
        for name in ("metrics.json", "manifest.json", "predictions.jsonl", "metrics.csv"):
            assert (folder / name).read_bytes() == (output / "runs" / point.name / name).read_bytes(), point.name
        assert not (folder / "checkpoints").exists()


def test_checkpoints_make_no_difference_to_the_numbers(whole: Ran, output: Path, file: Path, tmp_path: Path) -> None:
    flags = [flag for flag in read_grid(file).points()[0].flags() if "keep_checkpoints" not in flag]
    kept = succeed("fit", *flags, "--runs", tmp_path).folder
    assert (kept / "checkpoints" / "last.ckpt").is_file()
    assert (kept / "metrics.json").read_bytes() == metrics(output)[NAMES[0]]
    best = [*flags, "--test_checkpoint=best", "--data.split.validation=0.1", "--trainer.max_steps=-1"]
    first, second = (
        succeed("fit", *best, *more, "--runs", tmp_path).folder for more in ([], ["--keep_checkpoints=false"])
    )
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    assert scores(second)["test/level_accuracy"]["protocol"]["checkpoint"] == "best"
    assert not (second / "checkpoints").exists()
    refused = run("fit", *flags, "--keep_checkpoints=false", "--checkpoint_every_n_steps", 2, "--runs", tmp_path)
    assert refused.status == 2
    assert "leave one out" in refused.err


def test_started_again_it_repeats_nothing(whole: Ran, output: Path, file: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (output / "runs").rglob("*")}
    again = succeed("experiment", file, "--output", output)
    assert again.out == whole.out
    assert len(ledger(output)) == 4
    assert {path: path.stat().st_mtime_ns for path in (output / "runs").rglob("*")} == before
    guess = succeed("experiment", file, "--output", output, "--dry_run").out.splitlines()[-1]
    assert "4 points, 0 to run" in guess
    assert f"as the 4 finished points in {output} took" in guess
    for more in (["--trainer.max_steps", 2], ["--factor", "count={6: {data.mix.count: 12}}"]):
        other = run("experiment", file, "--output", output, *more)
        assert other.status == 2
        assert "was run with other options" in other.err


def test_no_finished_point_is_lost_by_a_grid_without_it(whole: Ran, output: Path, file: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(output, tmp_path / "out")
    before = {name: (mine / name).read_bytes() for name in ("experiment.yaml", "results.csv", "ledger.jsonl")}
    words = ["experiment", file, "--output", mine]
    for more, names in (
        (["--factor", "count=[6]"], "explorations-0-3, interpretations-0-3;"),
        (["--factor", "seed=[4]"], "explorations-0-3, explorations-6-3, interpretations-0-3 and 1 more;"),
    ):
        for dry in ([], ["--dry_run"]):
            ran = run(*words, *more, *dry)
            assert ran.status == 2
            assert f"{mine} holds finished points that are not among those to run" in ran.err
            assert f"{names} choose another --output" in ran.err
            assert {name: (mine / name).read_bytes() for name in before} == before
    extended = succeed(*words, "--factor", "count=[0, 6, 12]")
    assert extended.out.startswith("6 of 6 points done, 0 failed\n")
    names = [row["point"] for row in table(mine)]
    assert names == [*NAMES[:2], "explorations-12-3", *NAMES[2:], "interpretations-12-3"]
    for name in set(names) - set(NAMES):
        shutil.rmtree(mine / "runs" / name)
    assert succeed(*words).out == whole.out.replace(str(output), str(mine)), "what was deleted holds nothing up"


def test_what_lost_its_folder_is_run_again(
    whole: Ran, output: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(output, tmp_path / "out")
    shutil.rmtree(mine / "runs" / NAMES[1])
    (mine / "runs" / NAMES[2] / "metrics.json").unlink()
    guess = succeed("experiment", file, "--output", mine, "--dry_run").out.splitlines()[-1]
    assert guess.startswith("4 points, 2 to run")
    ran = succeed("experiment", file, "--output", mine)
    assert f"doesn't hold them any more; run again: {NAMES[1]}, {NAMES[2]}\n" in ran.err
    assert ran.out.startswith("4 of 4 points done")
    assert metrics(mine) == metrics(output)
    assert [event["point"] for event in ledger(mine)] == [*NAMES, NAMES[1], NAMES[2]]

    def fail(point: Point, runs: Path) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr("experiments.runner.run_in_process", fail)
    shutil.rmtree(mine / "runs" / NAMES[0])
    for _ in range(2):
        assert run("experiment", file, "--output", mine).out.startswith("3 of 4 points done, 1 failed\n")
        assert [row["point"] for row in table(mine)] == NAMES[1:]
    assert len(ledger(mine)) == 7, "a failure is not tried again unasked"


@pytest.mark.parametrize("ends_well", [False, True])
def test_what_another_machine_took_over_is_left_to_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_well: bool
) -> None:
    """The process is stopped in its first point, another machine takes that over, the process goes on."""
    out = tmp_path / "out"

    def lose(point: Point, runs: Path) -> None:
        if point.name != NAMES[0]:
            raise RuntimeError("of another point")
        os.utime(out / "claims" / f"{NAMES[0]}.1", (1, 1))
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr("experiments.claims._machine", lambda: "another")
            assert Claims(out / "claims").take(NAMES[0]) is not None
        if ends_well:
            (runs / point.name).mkdir()
            for name, text in (("config.yaml", ""), ("metrics.json", "{}"), ("manifest.json", MANIFEST)):
                (runs / point.name / name).write_text(text, encoding="utf-8")
        else:
            shutil.rmtree(runs)

    monkeypatch.setattr("experiments.runner.run_in_process", lose)
    said: list[str] = []
    state = Runner(read_grid(file), out, wait=False, say=said.append).run()
    assert said[0] == f"{NAMES[0]} was taken over by another process while this one showed no life; left to it"
    assert [event["point"] for event in ledger(out)] == NAMES[1:] == list(state.failed)
    assert sorted(path.name for path in (out / "claims").iterdir()) == [f"{NAMES[0]}.1", f"{NAMES[0]}.2"]


MANIFEST = json.dumps({"splits": {"test": {"sources": {"reddit": 1}}}})


def test_interrupted_it_says_how_it_goes_on(file: Path, tmp_path: Path) -> None:
    stop = stop_at(1, number=signal.SIGINT)
    ran = run_apart(tmp_path, "experiment", file, "--output", tmp_path / "out", *stop)
    assert ran.status == 130
    assert ran.err.splitlines()[-2:] == ["interrupted; the same command goes on with what is missing", "interrupted"]
    assert not (tmp_path / "out" / "ledger.jsonl").exists()
    assert not list((tmp_path / "out" / "claims").iterdir())


def test_a_failed_point_stops_nothing_and_is_tried_again_when_asked(tmp_path: Path, encoder: str, reddit: Path) -> None:
    late = tmp_path / "late.jsonl"
    factors = {
        "source": {"values": {"late": {"data.synthetic": str(late)}, "none": {}}},
        "seed": {"option": "seed_everything", "values": [3]},
    }
    file = tiny_grid(tmp_path, encoder, reddit, factors=factors, report={}, set={})
    output = tmp_path / "out"
    first = run("experiment", file, "--output", output)
    assert first.status == 1
    assert "1 of 2 points done, 1 failed" in first.out
    assert f"failed (1): {late}" in first.out
    assert [event["event"] for event in ledger(output)] == ["failed", "done"]
    assert [row["point"] for row in table(output)] == ["none-3"]
    assert not (output / "runs" / "late-3").exists()
    write_jsonl(late, tiny_pairs(12, "synthetic", seed=5))
    assert run("experiment", file, "--output", output).status == 1, "a failure is not tried again unasked"
    assert len(ledger(output)) == 2
    succeed("experiment", file, "--output", output, "--retry_failed")
    assert [event["event"] for event in ledger(output)] == ["failed", "done", "done"]


@pytest.mark.parametrize(
    ("base", "fixed", "said"),
    [
        ("{}", {}, "RuntimeError: her sister's name"),
        ("{}", {"data.clinical": None}, "RuntimeError: her sister's name"),
        ("{}", {"data.clinical": "c.csv"}, "RuntimeError"),
        ("data: {init_args: {clinical: c.csv}}", {}, "RuntimeError"),
    ],
)
def test_an_unforeseen_error_is_not_quoted_where_rows_are_clinical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, fixed: dict[str, Any], said: str
) -> None:
    def fail(point: Point, runs: Path) -> None:
        raise RuntimeError("her sister's name")

    monkeypatch.setattr("experiments.runner.run_in_process", fail)
    (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
    factors = {"seed": {"option": "seed_everything", "values": [3]}}
    grid = {"base": str(tmp_path / "base.yaml"), "set": fixed, "factors": factors}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    state = Runner(read_grid(tmp_path / "grid.yaml"), tmp_path / "out", say=lambda line: None).run()
    assert state.failed["3"]["error"] == said


def test_clinical_rows_test_and_their_absence_is_said(tmp_path: Path, encoder: str, reddit: Path) -> None:
    clinical = write_jsonl(tmp_path / "clinical.jsonl", tiny_pairs(20, "clinical", seed=9))
    without = {"data.clinical": {"data.test_on": "reddit", "data.split.test": 0.2}}
    factors = {"seed": {"option": "seed_everything", "values": [3]}}
    fixed = {
        "data.test_on": "clinical",
        "data.split.test": 0.0,
        "data.leakage": "drop",
        "model.mechanisms": ["explorations"],
    }
    file = tiny_grid(tmp_path, encoder, reddit, factors=factors, report={}, set=fixed, without=without)
    succeed("experiment", file, "--output", tmp_path / "clinical", "--data.clinical", clinical)
    held_out = succeed("experiment", file, "--output", tmp_path / "reddit")
    assert "no --data.clinical is given; every run gets --data.test_on reddit, --data.split.test 0.2" in held_out.err
    for source, rows in (("clinical", 20), ("reddit", 16)):
        assert [row["tested_on"] for row in table(tmp_path / source)] == [source]
        described = yaml.safe_load((tmp_path / source / "experiment.yaml").read_text(encoding="utf-8"))
        assert described["tested_on"] == source
        manifest = json.loads((tmp_path / source / "runs" / "3" / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["splits"]["test"]["rows"] == rows
        assert manifest["splits"]["train"]["rows"] == (80 if source == "clinical" else 64)


@pytest.mark.slow
def test_workers_share_the_grid(whole: Ran, output: Path, file: Path, tmp_path: Path) -> None:
    succeed("experiment", file, "--output", tmp_path / "out", "--workers", 2)
    assert metrics(tmp_path / "out") == metrics(output)
    assert sorted(event["point"] for event in ledger(tmp_path / "out")) == NAMES
    assert [row["point"] for row in table(tmp_path / "out")] == NAMES


def kill_at_random(file: Path, folder: Path, kills: int, seed: int) -> None:
    """Starts the grid and kills it after a random time, so many times; then lets it end."""
    chooser = random.Random(seed)
    for done in range(kills):
        grid = start_apart(folder, "experiment", file, "--output", folder / "out", name=str(done), OMP_NUM_THREADS="1")
        time.sleep(chooser.uniform(0.2, 6.0))
        grid.kill()
        assert grid.wait().status in (-9, 0)
    ended = run_apart(folder, "experiment", file, "--output", folder / "out", OMP_NUM_THREADS="1")
    assert ended.status == 0, ended.err


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_anywhere_it_ends_like_the_uninterrupted_one(
    whole: Ran, output: Path, file: Path, tmp_path: Path, kills: int
) -> None:
    kill_at_random(file, tmp_path, kills, seed=kills)
    assert metrics(tmp_path / "out") == metrics(output)
    names = [event["point"] for event in ledger(tmp_path / "out")]
    assert sorted(names) == NAMES, "every point is finished once"
    mine = [{**row, "seconds": ""} for row in table(tmp_path / "out")]
    assert mine == [{**row, "seconds": ""} for row in table(output)]
    assert not (tmp_path / "out" / "unfinished").exists()


def test_memory_stays_flat(file: Path, tmp_path: Path) -> None:
    """Nothing of a finished run stays alive."""
    import gc

    from lightning_modules.empathy import EmpathyModule

    Runner(read_grid(file), tmp_path / "out", say=lambda line: None).run()
    assert not [thing for thing in gc.get_objects() if type(thing) is EmpathyModule]


def test_configs_name_their_launch_line_and_result() -> None:
    files = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
    assert len(files) >= 8
    for path in files:
        header = path.read_text(encoding="utf-8").split("title:")[0]
        assert f"# Run:   python cli.py experiment configs/experiments/{path.name} --output" in header
        assert "# Result:" in header
