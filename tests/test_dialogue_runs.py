"""Strategy runs that are killed go on bit for bit; two processes over gloo learn and say what one does."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from running import assert_same, curve, launch, run_apart, stop_at, succeed, weights
from tiny import save_tiny_encoder
from tiny_dialogues import responder_config, strategy_config, write_esconv

POLICIES = [{"class_path": f"inference.policies.{name}"} for name in ("NoPolicy", "RandomPolicy", "ModelPolicy")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_esconv(folder / "ESConv.json", 24)
    return folder


def strategy(place: Path, dropout: float = 0.1) -> Path:
    """7 rows a batch, which two processes can't halve."""
    encoder = save_tiny_encoder(place / f"encoder-{dropout}", dropout=dropout)
    model = {"dropout": dropout, "loss": "class_weighted", "turn_embeddings": True}
    data = {"batch_size": 7, "evaluation_batch_size": 8}
    trainer = {"log_every_n_steps": 1, "gradient_clip_val": 1.0}
    file, esconv = place / "strategy.yaml", place / "ESConv.json"
    return strategy_config(file, str(encoder), esconv, model=model, data=data, trainer=trainer)


def responder(place: Path, dropout: float = 0.1) -> Path:
    small = {"layers": 1, "width": 16, "heads": 2, "window": 64, "vocabulary": 300, "dropout": dropout}
    model = {"small": small, "policies": POLICIES, "written_rows": 9}
    data = {"batch_size": 7, "evaluation_batch_size": 8}
    trainer = {"log_every_n_steps": 1, "gradient_clip_val": 1.0}
    return responder_config(place / "responder.yaml", place / "ESConv.json", model=model, data=data, trainer=trainer)


@pytest.mark.parametrize("make", [strategy, responder])
@pytest.mark.parametrize(
    ("step", "hook"),
    [
        (5, "train"),
        pytest.param(14, "train", marks=pytest.mark.slow),
        pytest.param(12, "validation", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(make, step, hook, place, tmp_path) -> None:
    file = make(place)
    alone = place / "runs" / f"{make.__name__}-alone"
    if not alone.exists():
        succeed("fit", "--config", file, "--run_name", alone.name)
    options = ["--config", file, "--runs", tmp_path, "--checkpoint_every_n_steps", 3]
    if hook == "validation":
        step = next(int(row["step"]) + 1 for row in curve(alone) if row["validation/loss"])
    killed = run_apart(tmp_path, "fit", *options, *stop_at(step, hook))
    assert killed.status == -signal.SIGKILL, killed.err
    folder = tmp_path / f"{make.__name__}-1"
    assert succeed("fit", *options, "--ckpt_path", folder).folder == folder
    assert_same(folder, alone)


def test_several_files_stand_behind_one_option(place, tmp_path) -> None:
    more, clinical = write_esconv(tmp_path / "Failed.json", 9, seed=3), tmp_path / "c.jsonl"
    answer = {"speaker": "supporter", "text": "For what?", "strategy": "Question"}
    clinical.write_text(json.dumps({"turns": [{"speaker": "seeker", "text": "I wait."}, answer]}))
    words = ["--config", responder(place), "--data.esconv", place / "ESConv.json", more, "--data.leakage", "report"]
    ran = succeed("fit", *words, "--trainer.max_steps", 1, "--data.clinical", clinical, "--runs", tmp_path)
    sources = json.loads((ran.folder / "manifest.json").read_text())["sources"]
    assert [(Path(source["path"]).name, source["rows"]) for source in sources] == [
        ("ESConv.json", 24),
        ("Failed.json", 9),
        ("c.jsonl", 1),
    ]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("make", [strategy, responder])
def test_two_processes_learn_and_say_what_one_does(make, tmp_path) -> None:
    write_esconv(tmp_path / "ESConv.json", 24)
    file = make(tmp_path, dropout=0.0)
    one = succeed("fit", "--config", file, "--runs", tmp_path / "one").folder
    two = launch(tmp_path, "fit", "--config", file, "--runs", tmp_path / "two").folder
    mine, theirs = (weights(run / "checkpoints" / "last.ckpt") for run in (one, two))
    for name, values in mine.items():
        torch.testing.assert_close(theirs[name], values, rtol=0, atol=1e-4, msg=name)
    losses = [[float(row["train/loss"]) for row in curve(run) if row["train/loss"]] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    options = ["--ckpt_path", one, "--trainer.callbacks", "null"]
    alone = succeed("test", *options, "--runs", tmp_path / "alone").folder
    shared = launch(tmp_path, "test", *options, "--runs", tmp_path / "shared").folder
    for name in ("metrics.json", "predictions.jsonl"):
        assert (shared / name).read_bytes() == (alone / name).read_bytes(), name
