"""Sweep files: W&B's own expansion gives commands that run, and `sweep --local` runs them without an account."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import sweeps
import yaml
from running import ROOT, config, run, succeed
from tiny import tiny_pairs, write_epitome, write_jsonl
from tiny_grid import tiny_grid
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from datamodules.records import MECHANISMS
from errors import UserError
from experiments.grid import Point
from experiments.sweep_file import read_sweep

FILES = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the sweep files name."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_epitome(tmp_path / "data" / "epitome-reddit", tiny_pairs(80))
    pairs = tiny_pairs(300, "synthetic", seed=5)
    for number, pair in enumerate(pairs):
        pair.levels, pair.rationales = dict.fromkeys(MECHANISMS, number % 3), {}
    for name in ("quickstart/pairs", *(f"synthetic/{g}{r}" for g in ("gpt3", "falcon") for r in ("", "_reflexion"))):
        file = tmp_path / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        write_jsonl(file, pairs)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expanded(settings: dict[str, Any], most: int) -> list[list[str]]:
    """The commands that a W&B agent would start, by W&B's own code."""
    commands: list[list[str]] = []
    runs: list[sweeps.SweepRun] = []
    while len(commands) < most:
        known = {name: value for name, value in settings.items() if name != "run_cap"}  # younger than this code
        suggested = sweeps.next_run(sweeps.SweepConfig(known), runs, validate=True)
        if suggested is None:
            break
        runs.append(suggested)
        macros = create_sweep_command_args({"args": suggested.config})
        macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [settings["program"]]}
        words: list[str] = []
        for chunk in create_sweep_command(list(settings["command"])):
            macro = chunk[2:-1] if chunk.startswith("${") else None
            words += macros[macro] if macro else [chunk]
        commands.append(words)
    return commands


def starts(words: list[str], encoder: str) -> None:
    """One step of a command, with the tracker that needs no account."""
    assert words[:4] == ["/usr/bin/env", "python", "cli.py", "fit"]
    small = ["--model.encoder", encoder, "--data.max_tokens", 32, "--trainer.max_steps", 1]
    small += ["--trainer.accelerator", "cpu", "--trainer.limit_test_batches", 1]
    succeed(*words[3:], *small, "--logger", "csv")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_an_agent_starts_runs(path: Path, workplace: Path, encoder: str) -> None:
    header = path.read_text(encoding="utf-8").split("program:")[0]
    assert f"python cli.py sweep configs/sweeps/{path.name} --local" in header
    assert "# Result:" in header
    starts(expanded(yaml.safe_load(path.read_text(encoding="utf-8")), 1)[0], encoder)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_whatever_an_agent_starts_runs(path: Path, workplace: Path, encoder: str) -> None:
    """All of a grid; of a search, which has no end, the first runs."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = expanded(settings, 100 if settings["method"] == "grid" else 6)
    assert len(found) > 5
    for words in found[1:]:
        starts(words, encoder)


def test_grids_are_those_of_wandb(workplace: Path) -> None:
    """Every command of W&B's expansion, and no other, in the same order."""
    for name, count in (("counts", 15), ("generators", 12)):
        path = workplace / "configs" / "sweeps" / f"{name}.yaml"
        commands = expanded(yaml.safe_load(path.read_text(encoding="utf-8")), 100)
        sweep = read_sweep(path)
        sweep.draw(seed=0, runs=None)
        assert len(commands) == count == len(sweep.drawn)
        theirs = [sorted(word for word in words[4:] if "--logger" not in word) for words in commands]
        ours = [
            sorted([*(f"--config={file}" for file in point.configs), *point.flags()[2:]]) for point in sweep.points()
        ]
        assert sorted(theirs) == sorted(ours)


def test_options_of_the_command_may_be_words_of_their_own(
    tmp_path: Path, encoder: str, reddit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my base.yaml").touch()
    command = ["fit", "--config", "my base.yaml", "--data.reddit", "my folder", "--data.synthetic", "a", "b", "${args}"]
    sweep = read_sweep(sweep_file(tmp_path, encoder, reddit, command=[*command, "--keep_checkpoints=false"]))
    assert sweep.configs == ["my base.yaml"]
    assert sweep.options == {
        "data.reddit": "my folder", "data.synthetic": '["a", "b"]', "keep_checkpoints": "false",
    }  # fmt: skip


def test_steps_are_those_of_wandb(tmp_path: Path, encoder: str, reddit: Path) -> None:
    parameters = {"data.mix.share": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.3}}
    path = sweep_file(tmp_path, encoder, reddit, parameters=parameters)
    theirs = [float(words[-1].partition("=")[2]) for words in expanded(yaml.safe_load(path.read_text()), 100)]
    sweep = read_sweep(path)
    sweep.draw(seed=0, runs=None)
    assert [values["data.mix.share"] for values in sweep.drawn] == pytest.approx(sorted(theirs))
    assert len(theirs) == 4


def sweep_file(folder: Path, encoder: str, reddit: Path, **content: Any) -> Path:
    base = config(
        folder / "base.yaml", encoder, data={"reddit": str(reddit)}, trainer={"max_steps": 2, "max_epochs": 1}
    )
    settings = {
        "program": "cli.py",
        "method": "grid",
        "metric": {"name": "test/level_f1_macro", "goal": "maximize"},
        "command": [
            "${env}",
            "${interpreter}",
            "${program}",
            "fit",
            "--config",
            str(base),
            "--logger=wandb",
            "${args}",
        ],
        "parameters": {"seed_everything": {"values": [3, 4]}, "model.lambda_RE": {"value": 0.25}},
        **content,
    }
    file = folder / "tiny_sweep.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def test_a_grid_runs_here(tmp_path: Path, encoder: str, reddit: Path) -> None:
    file = sweep_file(tmp_path, encoder, reddit)
    ran = succeed("sweep", file, "--local", "--output", tmp_path / "out", "--data.max_tokens", 32)
    assert ran.out.splitlines()[0] == "2 of 2 points done, 0 failed"
    assert [(row["point"], row["seed_everything"], row["seed"]) for row in rows(tmp_path / "out")] == [
        ("001", "3", "3"),
        ("002", "4", "4"),
    ]
    assert not list((tmp_path / "out").rglob("wandb"))
    settings = yaml.safe_load((tmp_path / "out" / "runs" / "001" / "config.yaml").read_text(encoding="utf-8"))
    assert settings["model"]["init_args"]["lambda_RE"] == 0.25
    assert settings["data"]["init_args"]["max_tokens"] == 32
    (tmp_path / "grid").mkdir()
    kept = {name: (tmp_path / "out" / name).read_bytes() for name in ("experiment.yaml", "results.csv")}
    for words, names in (
        (["experiment", tiny_grid(tmp_path / "grid", encoder, reddit)], "001, 002"),
        (["sweep", file, "--local", "--data.max_tokens", 32, "--max_runs", 1], "002"),
    ):
        other = run(*words, "--output", tmp_path / "out")
        assert other.status == 2
        assert f"results.csv would lose them: {names}; choose another --output" in other.err
        assert {name: (tmp_path / "out" / name).read_bytes() for name in kept} == kept


def test_random_draws_follow_the_seed_and_their_distributions(tmp_path: Path, encoder: str, reddit: Path) -> None:
    parameters = {
        "data.mix.count": {"min": 0, "max": 9},
        "model.optimisation.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3},
        "data.mix.share": {"distribution": "q_uniform", "min": 0.02, "max": 0.1, "q": 0.02},
        "model.mechanisms": {"values": [["explorations"], ["interpretations"]]},
        "model.lambda_RE": {"min": 0.0, "max": 1.0},
    }
    file = sweep_file(tmp_path, encoder, reddit, method="random", run_cap=200, parameters=parameters)
    sweep, again, other = (read_sweep(file) for _ in range(3))
    sweep.draw(seed=1, runs=None)
    again.draw(seed=1, runs=None)
    other.draw(seed=2, runs=5)
    assert sweep.drawn == again.drawn
    assert (len(sweep.drawn), len(other.drawn)) == (200, 5)
    assert sweep.drawn[:5] != other.drawn
    assert {values["data.mix.count"] for values in sweep.drawn} == set(range(10))
    assert {values["data.mix.share"] for values in sweep.drawn} == {0.02, 0.04, 0.06, 0.08, 0.1}
    logs = [math.log10(values["model.optimisation.lr"]) for values in sweep.drawn]
    assert -5 <= min(logs) < -4.8
    assert abs(sum(logs) / len(logs) + 4) < 0.15
    assert {len(values["model.mechanisms"]) for values in sweep.drawn} == {1}


def test_bayes_suggests_from_what_it_has_seen(tmp_path: Path, encoder: str, reddit: Path) -> None:
    parameters = {"model.optimisation.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}}
    file = sweep_file(tmp_path, encoder, reddit, method="bayes", run_cap=2, parameters=parameters)
    ran = succeed("sweep", file, "--local", "--output", tmp_path / "out")
    assert ran.out.splitlines()[0] == "2 of 2 points done, 0 failed"
    before = rows(tmp_path / "out")
    succeed("sweep", file, "--local", "--output", tmp_path / "out", "--max_runs", 3)
    after = rows(tmp_path / "out")
    assert after[:2] == before
    assert len({row["model.optimisation.lr"] for row in after}) == 3
    fewer = run("sweep", file, "--local", "--output", tmp_path / "out")
    assert fewer.status == 2
    assert "results.csv would lose them: 003;" in fewer.err
    assert rows(tmp_path / "out") == after


def test_bayes_tries_again_once_what_failed_in_an_earlier_start(
    tmp_path: Path, encoder: str, reddit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def fail(point: Point, runs: Path) -> None:
        started.append(point.name)
        raise UserError("it fails")

    monkeypatch.setattr("experiments.runner.run_in_process", fail)
    parameters = {"model.optimisation.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}}
    file = sweep_file(tmp_path, encoder, reddit, method="bayes", run_cap=3, parameters=parameters)
    words = ["sweep", file, "--local", "--output", tmp_path / "out"]
    for more in ([], ["--retry_failed"]):
        ran = run(*words, *more)
        assert ran.status == 1
        assert ran.out.splitlines()[:2] == ["0 of 3 points done, 3 failed", "failed (3): it fails"]
        assert started == ["001", "002", "003"], more
        started.clear()


def test_bayes_without_optuna_says_what_to_do(
    tmp_path: Path, encoder: str, reddit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    file = sweep_file(tmp_path, encoder, reddit, method="bayes", run_cap=2)
    ran = run("sweep", file, "--local", "--output", tmp_path / "out")
    assert ran.status == 2
    assert "install the extra `sweeps`" in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"method": "hyperband"}, "method is 'hyperband'"),
        ({"command": ["${program}"]}, "command holds no `fit`"),
        ({"command": ["fit", "--config=nope.yaml"]}, "command: no file nope.yaml; names are from the current folder"),
        ({"command": "fit"}, "command holds no `fit`"),
        ({"metric": "test/x"}, "metric is 'test/x'; write {name: "),
        ({"metric": {"name": "test/x", "goal": "max"}}, "write {name: "),
        ({"run_cap": 0}, "run_cap is 0; it is a whole number of at least 1"),
        ({"parameters": {"a": 5}}, "parameter 'a': it is 5; write {value: 5}"),
        ({"parameters": {"a": {"values": 5}}}, "parameter 'a': values is 5; write a list of at least one"),
        ({"parameters": {"a": {"values": []}}}, "parameter 'a': values is []; write a list of at least one"),
        ({"parameters": {"a": {"distribution": "normal", "mu": 0, "sigma": 1}}}, "distribution is 'normal'"),
        ({"parameters": {"a": {"min": [0], "max": 1}}}, "min is [0]; write a number"),
        ({"parameters": {"a": {"min": 3, "max": 1}}}, "min 3 is above max 1"),
        (
            {"parameters": {"a": {"distribution": "log_uniform_values", "min": 0, "max": 1}}, "method": "random"},
            "min is 0; log_uniform_values needs one above 0",
        ),
        (
            {"parameters": {"a": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}}},
            "q is 0; it is a step above 0",
        ),
        ({"parameters": {"a": {"distribution": "q_uniform", "min": 1, "max": 1}}}, "there is no value from 1 to 1"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "a grid needs values"),
        ({"method": "random"}, "give --max_runs"),
    ],
)
def test_what_cannot_run_is_refused(
    tmp_path: Path, encoder: str, reddit: Path, content: dict[str, Any], said: str
) -> None:
    ran = run("sweep", sweep_file(tmp_path, encoder, reddit, **content), "--local", "--output", tmp_path / "out")
    assert ran.status == 2
    assert said in ran.err


def test_options_that_change_nothing_are_refused(tmp_path: Path, encoder: str, reddit: Path) -> None:
    file = sweep_file(tmp_path, encoder, reddit)
    words = ["--max_runs", 0, "--seed_everything", 9, "--model.init_args.lambda_RE", 0.5, "--data.max_tokens", 32]
    ran = run("sweep", file, "--local", "--output", tmp_path / "out", *words)
    assert ran.status == 2
    assert ran.err.removeprefix("error: ").splitlines() == [
        f"--seed_everything 9: the sweep's parameter 'seed_everything' sets it; change its values in {file}, "
        "or take it out there",
        f"--model.init_args.lambda_RE 0.5: the sweep's parameter 'model.lambda_RE' sets it; change its values in "
        f"{file}, or take it out there",
        "--max_runs 0: at least 1",
    ]
    assert "--max_runs -1: at least 1" in run("sweep", file, "--local", "--max_runs", -1).err
    assert f"{file} is a file" in run("sweep", file, "--local", "--output", file).err


def test_without_local_the_agent_is_named() -> None:
    ran = run("sweep", FILES[0])
    assert ran.status == 2
    assert f"wandb sweep {FILES[0]}" in ran.err


def test_all_problems_at_once(tmp_path: Path, encoder: str, reddit: Path) -> None:
    file = sweep_file(tmp_path, encoder, reddit, method="x", command=[], parameters={"a": {}})
    with pytest.raises(UserError) as caught:
        read_sweep(file)
    assert all(part in str(caught.value) for part in ("method is 'x'", "no `fit`", "parameter 'a'"))
