"""A run that is stopped anywhere and goes on ends as one left alone: same weights, curve, scores and predictions."""

import signal
from pathlib import Path

import pytest
from running import assert_same, config, curve, run, run_apart, same_weights, scores, stop_at, succeed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, encoder: str, reddit: Path) -> Path:
    """Two epochs of 8 steps with dropout, every step logged."""
    folder = tmp_path_factory.mktemp("resume")
    return config(folder / "tiny.yaml", encoder, data={"reddit": str(reddit)}, trainer={"log_every_n_steps": 1})


@pytest.fixture(scope="module")
def alone(file: Path) -> Path:
    """A run left alone."""
    return succeed("fit", "--config", file, "--run_name", "alone").folder


@pytest.mark.parametrize(
    ("every", "step", "hook", "workers"),
    [
        pytest.param(3, 5, "train", 0, id="first epoch"),
        pytest.param(3, 13, "train", 2, id="second epoch, loader processes"),
        pytest.param(3, 5, "train", 2, id="first epoch, loader processes", marks=pytest.mark.slow),
        pytest.param(3, 8, "validation", 0, id="while it validates"),
        pytest.param(4, 8, "train", 0, id="at the start of an epoch", marks=pytest.mark.slow),
        pytest.param(3, 16, "test", 0, id="while it tests"),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    file: Path, alone: Path, tmp_path: Path, every: int, step: int, hook: str, workers: int
) -> None:
    options = ["--config", file, "--runs", tmp_path, "--checkpoint_every_n_steps", every, "--data.num_workers", workers]
    killed = run_apart(tmp_path, "fit", *options, *stop_at(step, hook))
    assert killed.status == -signal.SIGKILL, killed.err
    folder = tmp_path / "tiny-1"
    assert not (folder / "metrics.json").exists()
    resumed = succeed("fit", *options, "--ckpt_path", folder)
    assert resumed.folder == folder
    assert_same(folder, alone)


def test_checkpoints_do_not_change_what_is_learned(file: Path, alone: Path, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--checkpoint_every_n_steps", 1, "--data.num_workers", 2]
    assert_same(succeed("fit", "--config", file, *options).folder, alone)


def test_one_command_starts_a_run_and_continues_it(file: Path, alone: Path, tmp_path: Path) -> None:
    command = ["fit", "--config", file, "--runs", tmp_path, "--checkpoint_every_n_steps", 3]
    command += ["--run_name", "mine", "--ckpt_path", "last"]
    for step, saved in ((2, False), (6, True), (9, True)):  # the first kill comes before the first checkpoint
        assert run_apart(tmp_path, *command, *stop_at(step)).status == -signal.SIGKILL
        assert (tmp_path / "mine" / "checkpoints" / "last.ckpt").is_file() == saved
    done = succeed(*command)
    assert done.folder == tmp_path / "mine"
    assert_same(done.folder, alone)
    assert succeed(*command).folder == done.folder
    assert_same(done.folder, alone)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["mine"]


def test_a_run_that_was_interrupted_says_how_to_go_on(file: Path, alone: Path, tmp_path: Path) -> None:
    options = ["--config", file, "--runs", tmp_path, "--checkpoint_every_n_steps", 3]
    stopped = run_apart(tmp_path, "fit", *options, *stop_at(5, number=signal.SIGINT))
    assert stopped.status == 1
    assert stopped.err.splitlines()[-1] == f"interrupted; go on with --ckpt_path {tmp_path / 'tiny-1'}"
    assert "Traceback" not in stopped.err
    succeed("fit", *options, "--ckpt_path", tmp_path / "tiny-1")
    assert_same(tmp_path / "tiny-1", alone)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(["--trainer.accumulate_grad_batches", 2], id="gradients of two batches a step"),
        pytest.param(["--trainer.val_check_interval", 0.5], id="validation within the epoch"),
        pytest.param(["--data.split.validation", 0], id="no validation"),
    ],
)
def test_other_loops_go_on_too(file: Path, tmp_path: Path, changed: list[object]) -> None:
    options = ["--config", file, "--checkpoint_every_n_steps", 2, *changed]
    alone = succeed("fit", *options, "--runs", tmp_path / "alone").folder
    assert run_apart(tmp_path, "fit", *options, "--runs", tmp_path / "cut", *stop_at(7)).status == -signal.SIGKILL
    resumed = succeed("fit", *options, "--ckpt_path", tmp_path / "cut" / "tiny-1").folder
    assert same_weights(resumed / "checkpoints" / "last.ckpt", alone / "checkpoints" / "last.ckpt")
    assert curve(resumed) == curve(alone)
    assert scores(resumed) == scores(alone)


def test_a_finished_run_is_extended_in_a_folder_of_its_own(file: Path, alone: Path, tmp_path: Path) -> None:
    before = (alone / "metrics.json").read_bytes()
    longer = succeed("fit", "--ckpt_path", alone, "--runs", tmp_path, "--trainer.max_epochs", 3).folder
    assert longer == tmp_path / "alone-1"
    assert [row["step"] for row in curve(longer) if row["validation/loss"]] == ["23"]
    assert (alone / "metrics.json").read_bytes() == before


def test_a_checkpoint_without_the_optimiser_is_no_place_to_go_on_from(file: Path, alone: Path) -> None:
    best = alone / "checkpoints" / "best.ckpt"
    ran = run("fit", "--config", file, "--ckpt_path", best)
    assert ran.status == 2
    assert ran.err == (
        f"error: --ckpt_path {best}: it holds weights alone, so training can't go on from it; continue from last.ckpt, "
        f"or start a new run with --model.init_from {best}\n"
    )


def test_last_needs_the_name_of_the_run(file: Path) -> None:
    ran = run("fit", "--config", file, "--ckpt_path", "last")
    assert (ran.status, ran.err) == (2, "error: --ckpt_path last needs --run_name: the run to continue\n")


def test_options_win_over_what_the_checkpoint_was_trained_with(file: Path, alone: Path, tmp_path: Path) -> None:
    """Lightning would take the checkpoint's hyper-parameters without a word."""
    options = ["--runs", tmp_path, "--ckpt_path", alone, "--trainer.max_epochs", 3, "--model.lambda_RE", 0]
    folder = succeed("fit", *options).folder
    assert "lambda_RE: 0.0" in (folder / "config.yaml").read_text()
    theirs = succeed("fit", *options[:-2], "--runs", tmp_path / "other").folder
    assert float(curve(folder)[-1]["test/loss"]) < float(curve(theirs)[-1]["test/loss"])
