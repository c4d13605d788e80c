"""Two processes over gloo learn and score what one does. Every run here is `python cli.py` itself."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from running import ROOT, TWO, Ran, config, curve, launch, lines, run_apart, stop_at, succeed, weights
from tiny import save_tiny_encoder, tiny_pairs, write_epitome

pytestmark = pytest.mark.timeout(400)


def cli(folder: Path, *argv: object) -> Ran:
    """A real command, with the test's helpers in reach."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(ROOT / "cli.py"), *(str(word) for word in argv)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment, cwd=folder, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No dropout; 7 rows a batch, which two processes can't halve; three evaluation batches, one process has two."""
    folder = tmp_path_factory.mktemp("distributed")
    encoder = save_tiny_encoder(folder / "encoder", dropout=0)
    reddit = write_epitome(folder / "reddit", tiny_pairs(101))
    return config(
        folder / "tiny.yaml",
        encoder,
        model={"dropout": 0.0, "level_loss": "class_weighted"},
        data={"reddit": str(reddit), "batch_size": 7, "evaluation_batch_size": 8},
        trainer={"max_epochs": 2, "log_every_n_steps": 1, "gradient_clip_val": 1.0},
    )


def with_rows(file: Path) -> list[object]:
    return ["--config", file, "--trainer.callbacks", json.dumps([{"class_path": "running.RowLog"}])]


@pytest.fixture(scope="module")
def one(file: Path) -> Path:
    return succeed("fit", *with_rows(file), "--run_name", "one").folder


@pytest.fixture(scope="module")
def two(file: Path) -> Path:
    ran = cli(file.parent, "fit", *with_rows(file), "--run_name", "two", *TWO)
    assert ran.status == 0, ran.err
    assert ran.out.splitlines()[-1] == str(file.parent / "runs" / "two")
    assert ran.out.count("trivial baseline") == 3
    return ran.folder


def steps(run: Path, processes: int) -> list[list[list[int]]]:
    """The rows of each process in each step."""
    by_process = [json.loads((run / f"rows-{rank}.json").read_text()) for rank in range(processes)]
    assert len({len(rows) for rows in by_process}) == 1
    return [list(step) for step in zip(*by_process, strict=True)]


def test_the_same_rows_make_the_same_steps(one: Path, two: Path) -> None:
    alone, shared = steps(one, 1), steps(two, 2)
    assert len(alone) == len(shared) >= 20
    for (whole,), (first, second) in zip(alone, shared, strict=True):
        assert first == whole[0::2]
        assert second == whole[1::2]
    assert any(len(first) != len(second) for first, second in shared)


def test_the_weights_are_those_of_one_process(one: Path, two: Path) -> None:
    mine, theirs = (weights(run / "checkpoints" / "last.ckpt") for run in (one, two))
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        torch.testing.assert_close(theirs[name], values, rtol=0, atol=1e-5, msg=name)


def test_the_curve_is_that_of_one_process(one: Path, two: Path) -> None:
    losses = [[float(row["train/loss"]) for row in curve(run) if row["train/loss"]] for run in (one, two)]
    assert len(losses[0]) == len(losses[1]) >= 20
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    validated = [[float(row["validation/loss"]) for row in curve(run) if row["validation/loss"]] for run in (one, two)]
    assert validated[1] == pytest.approx(validated[0], abs=1e-5)


def test_one_run_folder_is_written(two: Path, one: Path) -> None:
    own = {path.name for path in two.rglob("*") if not path.name.startswith("rows-")}
    assert own == {path.name for path in one.rglob("*") if not path.name.startswith("rows-")}
    assert sorted(path.name for path in two.parent.iterdir()) == ["one", "two"]


def test_predictions_are_ordered_and_whole(one: Path, two: Path) -> None:
    ids = [row["id"] for row in lines(two / "predictions.jsonl")]
    assert ids == sorted(set(ids))
    assert ids == [row["id"] for row in lines(one / "predictions.jsonl")]


@pytest.mark.parametrize("batch", [pytest.param(8, id="uneven shards"), pytest.param(64, id="one batch for two")])
def test_a_checkpoint_scores_the_same_to_the_last_digit(one: Path, tmp_path: Path, batch: int) -> None:
    options = ["--ckpt_path", one, "--data.evaluation_batch_size", batch, "--trainer.callbacks", "null"]
    alone = succeed("test", *options, "--runs", tmp_path / "alone").folder
    shared = launch(tmp_path, "test", *options, "--runs", tmp_path / "shared")
    assert shared.status == 0, shared.err
    assert (shared.folder / "metrics.json").read_bytes() == (alone / "metrics.json").read_bytes()
    assert (shared.folder / "predictions.jsonl").read_bytes() == (alone / "predictions.jsonl").read_bytes()
    (mine,), (theirs,) = curve(alone), curve(shared.folder)
    assert theirs == mine


def test_a_run_of_one_process_goes_on_with_two(file: Path, one: Path, tmp_path: Path) -> None:
    command = ["fit", "--config", file, "--runs", tmp_path, "--checkpoint_every_n_steps", 3]
    command += ["--run_name", "mine", "--ckpt_path", "last"]
    assert run_apart(tmp_path, *command, *stop_at(5)).status == -signal.SIGKILL
    ran = launch(tmp_path, *command)
    assert ran.status == 0, ran.err
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["mine"]
    mine, theirs = (weights(run / "checkpoints" / "last.ckpt") for run in (one, tmp_path / "mine"))
    for name, values in mine.items():
        torch.testing.assert_close(theirs[name], values, rtol=0, atol=1e-5, msg=name)
    assert [row["step"] for row in curve(tmp_path / "mine")] == [row["step"] for row in curve(one)]


def test_a_batch_with_fewer_rows_than_processes_is_refused(file: Path, tmp_path: Path) -> None:
    ran = launch(tmp_path, "fit", "--config", file, "--runs", tmp_path / "runs", "--data.batch_size", 1)
    assert ran.status == 2
    assert "error: a batch has fewer rows than there are processes (2); raise --data.batch_size" in ran.err
    assert "Traceback" not in ran.err
