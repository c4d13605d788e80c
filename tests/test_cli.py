"""The one door: what it lists, what it starts, and what it says where the arguments are at fault."""

import importlib
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT, Ran, config, curve, run, succeed
from tiny import tiny_pairs, write_jsonl

from cli import COMMANDS

SECONDS = 2.0
CALL = "python cli.py"


def process(*argv: object, folder: Path = ROOT) -> tuple[Ran, float]:
    """A real process, and the seconds that it kept a core busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, str(ROOT / "cli.py"), *(str(word) for word in argv)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=folder, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(done.returncode, done.stdout, done.stderr), spent


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], []])
def test_the_help_lists_every_command_at_once(words: list[str]) -> None:
    ran, seconds = process(*words)
    assert (ran.status, ran.err) == (0, "")
    listed = [line.split(maxsplit=1) for line in ran.out.splitlines() if line.startswith("  ")]
    assert listed == [[name, text] for name, (_, text) in COMMANDS.items()]
    assert {"fit", "validate", "test", "predict", "prepare", "score"} <= COMMANDS.keys()
    assert seconds < SECONDS


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("prepare", ["--dest", "--from", "--allow_modified"]),
        ("score", ["--checkpoint", "--output", "--only_expressed"]),
    ],
)
def test_a_light_commands_help_answers_at_once(command: str, options: list[str]) -> None:
    ran, seconds = process(command, "--help")
    assert ran.status == 0
    assert all(option in ran.out for option in options)
    assert seconds < SECONDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str) -> None:
    module, function = COMMANDS[name][0].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_options_of_a_run_explain_themselves() -> None:
    ran = run("fit", "--help")
    assert ran.status == 0
    for option in ("--run_name", "--runs", "--logger", "--monitor", "--checkpoint_every_n_steps", "--ckpt_path"):
        assert option in ran.out
    explained = " ".join(run("fit", "--data.help", "datamodules.empathy.EmpathyDataModule").out.split())
    for option in ("--data.reddit", "--data.clinical", "--data.synthetic", "--data.test_on", "--data.max_tokens"):
        assert option in explained
    assert "Window in tokens for each of the two texts" in explained


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fitt"], "there is no command 'fitt'; did you mean 'fit'?"),
        (["zzz"], f"there is no command 'zzz'; the commands are {', '.join(COMMANDS)}"),
        (
            ["--config", "x.yaml", "fit"],
            f"'--config' stands before the command; write: {CALL} COMMAND --config ...",
        ),
        (["fit", "--config", "nowhere.yaml"], "--config: File does not exist: '{place}/nowhere.yaml'"),
    ],
)
def test_a_slip_is_answered_by_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    ran, _ = process(*words, folder=tmp_path)
    assert (ran.status, ran.out, ran.err) == (2, "", f"error: {message.format(place=tmp_path)}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, encoder: str, reddit: Path) -> Path:
    return config(tmp_path_factory.mktemp("cli") / "tiny.yaml", encoder, data={"reddit": str(reddit)})


DATA, MODEL = "datamodules.empathy.EmpathyDataModule", "lightning_modules.empathy.EmpathyModule"
LISTS = "lists the options"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--splat", 7], f"unrecognized arguments: --splat 7; {CALL} fit --help {LISTS}"),
        (["--data.splat", 7], f"--data: Option 'splat' is not accepted; {CALL} fit --data.help {DATA} {LISTS}"),
        (
            ["--trainer.max_epoch", 7],
            f"unrecognized arguments: --trainer.max_epoch 7; {CALL} fit --help {LISTS}",
        ),
        (["--data.max_tokens", "many"], "--data.max_tokens: Expected int. Got value: many"),
        (["--data.split.test", "a fifth"], "--data.split.test: Expected float. Got value: a fifth"),
        (["--data.split.test", 7], "--data.split.test is 7.0; it is a share from 0 to 1"),
        (["--trainer.max_epochs", "few"], "--trainer.max_epochs: Expected int. Got value: few"),
        (
            ["--data.mix.mode", "stir"],
            "--data.mix.mode: Expected one of ['augment', 'substitute', 'ratio']. Got",
        ),
        (["--logger", "mlflow"], "--logger: Expected one of ['csv', 'tensorboard', 'wandb']. Got value: mlflow"),
        (["--checkpoint_every_n_steps", 0], "--checkpoint_every_n_steps: "),
        (["--model.lambda_EI", "x"], "--model.lambda_EI: Expected float. Got value: x"),
        (["--model.optimisation.lr", -1], "--model.optimisation.lr is -1.0; a learning rate is above 0"),
        (["--model.mechanisms", "[empathy]"], "--model.mechanisms: Expected one of ['emotional_reactions', "),
        (
            ["--model", "lightning_modules.empathy.Modul"],
            "--model: module 'lightning_modules.empathy' has no",
        ),
        (["--model", "nowhere.Module"], "--model: No module named 'nowhere'"),
        (["--data.reddit", "nowhere"], "nowhere: no such folder; `python cli.py prepare epitome` makes one"),
        (["--data.clinical", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--model.init_from", "nowhere"], "checkpoint 'nowhere': there is no such file or run folder"),
        (["--ckpt_path", "nowhere"], "checkpoint 'nowhere': there is no such file or run folder"),
        (["--data.test_on", "clinical"], "--data.test_on clinical: no clinical rows are given (--data.clinical)"),
        (["--data.max_tokens", 1000], "--data.max_tokens is 1000; the encoder reads at most 128"),
        (["--trainer.max_epochs", -1], "the schedule falls to 0 at the end: set --trainer.max_epochs or"),
        (["--trainer.accelerator", "gpu"], "No supported gpu backend found!"),
        (["--config"], "argument -c/--config: expected one argument"),
        (["stray"], f"unrecognized arguments: stray; {CALL} fit --help {LISTS}"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_named(file: Path, words: list[object], message: str) -> None:
    ran = run("fit", "--config", file, *words)
    assert ran.status == 2
    wrong = [line for line in ran.err.splitlines() if not line.startswith(("note:", "epoch "))]
    assert len(wrong) == 1
    assert wrong[0].startswith(f"error: {message}")
    assert ran.out == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_tokens: 48", "max_tock: 48", f"--data: Option 'max_tock' is not accepted; {CALL} fit --data.help {DATA}"),
        ("max_tokens: 48", "max_tokens: [48]", "--data.max_tokens: Expected int. Got value: [48]"),
        ("lr: 0.001", "lrr: 1", f"--model.optimisation: Option 'lrr' is not accepted; {CALL} fit --model.help {MODEL}"),
        ("max_epochs: 2", "max_epoch: 2", "Subcommand 'fit' does not accept option 'trainer.max_epoch'; "),
        ("EmpathyModule", "EmpathyModul", "--model: module 'lightning_modules.empathy' has no attribute"),
        ("lightning_modules.", "lightning_module.", "--model: No module named 'lightning_module'"),
        ("runs:", "splat: 1\nruns:", "Subcommand 'fit' does not accept option 'splat'; python cli.py fit --help"),
        ("max_tokens: 48", "max_tokens: [48", "{file}: Problems parsing config: while parsing a flow sequence"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_config_is_named(file: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace(old, new), encoding="utf-8")
    ran = run("fit", "--config", wrong)
    assert (ran.status, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith(f"error: {message.format(file=wrong)}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit"], "error: the following arguments are required: fit.data, fit.model; a config brings them: --config"),
        (["fit", "--config", "."], "error: --config: Path is not a file: "),
        (["score"], "python cli.py score: error: the following arguments are required: table, --checkpoint, --output"),
        (["score", "t", "--checkpoint", "r", "--output", "o", "--bad"], "python cli.py score: error: unrecognized"),
        (["prepare"], "python cli.py prepare: error: the following arguments are required: corpus"),
        (["prepare", "epitom"], "python cli.py prepare: error: argument corpus: invalid choice: 'epitom'"),
    ],
)
def test_missing_and_unknown_arguments(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    ran = run(*words)
    assert ran.status == 2
    assert len(ran.err.splitlines()) <= 2
    assert ran.err.splitlines()[-1].startswith(message)


def test_data_options_take_one_path_or_several(file: Path, tmp_path: Path) -> None:
    one, two = (
        write_jsonl(tmp_path / f"{name}.jsonl", tiny_pairs(9, "synthetic", seed=seed))
        for seed, name in enumerate(("one", "two"), 50)
    )
    options = ["--runs", tmp_path / "runs", "--trainer.max_steps", 1, "--data.leakage", "drop"]
    for given, generators in ((one, {"synthetic/one"}), (f"[{one}, {two}]", {"synthetic/one", "synthetic/two"})):
        folder = succeed("fit", "--config", file, *options, "--data.synthetic", given).folder
        manifest = json.loads((folder / "manifest.json").read_text())
        assert {name for name in manifest["splits"]["train"]["sources"] if name != "reddit"} == generators


def test_a_later_config_goes_on_top_of_an_earlier_one(file: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "faster.yaml"
    overlay.write_text(
        "trainer: {max_steps: 3, log_every_n_steps: 1}\nmodel: {init_args: {optimisation: {head_lr: 0.5}}}\n"
    )
    folder = succeed("fit", "--config", file, "--config", overlay, "--runs", tmp_path).folder
    assert folder.name == "faster-1"
    assert [row["step"] for row in curve(folder) if row["train/loss"]] == ["0", "1", "2"]
    text = (folder / "config.yaml").read_text()
    assert "head_lr: 0.5" in text
    assert "lr: 0.001" in text


def test_a_reader_that_leaves_is_no_error_of_ours() -> None:
    words = [sys.executable, str(ROOT / "cli.py"), "experiment", "configs/experiments/demo.yaml", "--dry_run"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (1, "")
