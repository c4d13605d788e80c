"""Grids as data: expansion, flags, refusals, the dry run."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import ROOT, run, succeed
from tiny_grid import tiny_grid

from errors import UserError
from experiments.grid_file import read_grid
from experiments.runner import Runner


def write(tmp_path: Path, **content: object) -> Path:
    (tmp_path / "base.yaml").write_text("seed_everything: 1\n", encoding="utf-8")
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({"base": str(tmp_path / "base.yaml"), **content}, sort_keys=False), encoding="utf-8")
    return file


FACTORS = {
    "generator": {"values": {"gpt 3": {"data.synthetic": "a b.jsonl"}, "falcon": {"data.synthetic": "f.jsonl"}}},
    "count": {"option": "data.mix.count", "range": [0, 60, 30]},
    "seed": {"option": ["seed_everything", "data.mix.seed"], "values": [12]},
}


def test_first_factor_turns_slowest_and_flags_are_those_of_fit(tmp_path: Path) -> None:
    file = write(tmp_path, factors=FACTORS, set={"model.mechanisms": ["explorations"], "data.clinical": None})
    points = read_grid(file, {"data.reddit": "r"}).points()
    assert [point.name for point in points] == [
        "gpt_3-0-12", "gpt_3-30-12", "gpt_3-60-12", "falcon-0-12", "falcon-30-12", "falcon-60-12",
    ]  # fmt: skip
    assert points[1].values == {"generator": "gpt 3", "count": 30, "seed": 12}
    assert points[1].flags() == [
        "--config", str(tmp_path / "base.yaml"), '--model.mechanisms=["explorations"]', "--data.clinical=null",
        "--data.reddit=r", "--data.synthetic=a b.jsonl", "--data.mix.count=30", "--seed_everything=12",
        "--data.mix.seed=12", "--keep_checkpoints=false",
    ]  # fmt: skip
    assert "'--data.synthetic=a b.jsonl'" in points[1].command()


def test_options_where_another_is_missing(tmp_path: Path) -> None:
    without = {"data.clinical": {"data.test_on": "reddit", "data.split.test": 0.2}}
    file = write(tmp_path, factors=FACTORS, without=without, set={"data.test_on": "clinical"})
    held_out = read_grid(file).points()[0]
    assert {"--data.test_on=reddit", "--data.split.test=0.2"} <= set(held_out.flags())
    clinical = read_grid(file, {"data.clinical": "c.csv"}).points()[0]
    assert "--data.test_on=clinical" in clinical.flags()
    assert "--data.split.test=0.2" not in clinical.flags()
    asked = read_grid(file, {"data.split.test": "0.5"}).points()[0]
    assert "--data.split.test=0.5" in asked.flags()


def test_a_value_may_bring_a_config_and_checkpoints_may_stay(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("{}", encoding="utf-8")
    factors = {"variant": {"values": {"one": {"config": str(other)}}}}
    point = read_grid(write(tmp_path, factors=factors, checkpoints=True)).points()[0]
    assert point.flags() == ["--config", str(tmp_path / "base.yaml"), "--config", str(other)]


def test_every_factor_s_config_is_given_in_the_factors_order(tmp_path: Path) -> None:
    p, r, every = (str(tmp_path / f"{name}.yaml") for name in ("p", "r", "every"))
    for name in (p, r, every):
        Path(name).write_text("{}", encoding="utf-8")
    factors = {
        "a": {"values": {"p": {"config": p}, "q": {}}},
        "b": {"values": {"r": {"config": r}, "s": {"config": [r, p]}}},
    }
    points = read_grid(write(tmp_path, factors=factors, set={"config": every})).points()
    base = [str(tmp_path / "base.yaml"), every]
    assert [(point.name, point.configs) for point in points] == [
        ("p-r", [*base, p, r]),
        ("p-s", [*base, p, r, p]),
        ("q-r", [*base, r]),
        ("q-s", [*base, r, p]),
    ]
    assert all("config" not in point.options for point in points)


@pytest.mark.parametrize(
    ("more", "kept"),
    [({}, "seed"), ({"repeat": "count"}, "count")],
)
def test_what_is_repeated_is_the_seed_unless_it_is_named(tmp_path: Path, more: dict[str, str], kept: str) -> None:
    report = {"kind": "table", "rows": "generator", "columns": ["test/loss"], **more}
    assert read_grid(write(tmp_path, factors=FACTORS, report=report)).report["repeat"] == kept


def test_what_is_written_down_is_the_same_grid(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, factors=FACTORS, without={"data.clinical": {"data.test_on": "reddit"}}))
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump({**grid.to_dict(), "tested_on": "reddit"}, sort_keys=False), encoding="utf-8")
    assert read_grid(file).points() == grid.points()
    assert [point.flags()[-2] for point in read_grid(file, {}, {"seed": [3]}).points()] == ["--data.mix.seed=3"] * 6


def test_digest_follows_options_and_config_contents(tmp_path: Path) -> None:
    file = write(tmp_path, factors=FACTORS)
    first, second = read_grid(file).points()[:2]
    assert first.digest != second.digest
    assert first.digest == read_grid(file).points()[0].digest
    assert first.digest != read_grid(file, {"trainer.max_steps": "1"}).points()[0].digest
    (tmp_path / "base.yaml").write_text("seed_everything: 2\n", encoding="utf-8")
    assert first.digest != read_grid(file).points()[0].digest


def test_all_problems_at_once(tmp_path: Path) -> None:
    factors = {"count": {"values": [1]}, "seed": {"option": "seed_everything"}}
    file = write(tmp_path, base="nowhere.yaml", factors=factors, facters={}, report={"kind": "curves", "x": "cuont"})
    with pytest.raises(UserError) as caught:
        read_grid(file)
    text = str(caught.value)
    for part in (
        "facters",
        "nowhere.yaml",
        "factor 'count'",
        "factor 'seed': no values",
        "'cuont'",
        "metrics is missing",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"factors": ["count"]}, "factors: write `name: value`"),
        ({"factors": FACTORS, "set": "data.mix.count"}, "set: write `name: value`"),
        ({"factors": {"share": {"option": "data.mix.share", "range": [0, 0.5, 0.1]}}}, "in whole numbers"),
        ({"factors": {"count": {"option": "data.mix.count", "range": [0, 60]}}}, r"range is \[first, last, step\]"),
        ({"factors": {"source": {"values": {"late": "late.jsonl"}}}}, "the options of 'late' are not"),
        ({"factors": {"variant": {"values": {"one": {"config": "nope.yaml"}}}}}, "factor 'variant': no file nope.yaml"),
        (
            {"factors": {"count": {"option": "data.mix.count", "values": 5}}},
            "factor 'count': values is 5; write a list",
        ),
        ({"factors": {"count": {"option": "data.mix.count", "values": "30"}}}, "values is '30'; write a list"),
        ({"factors": FACTORS, "without": {"data.clinical": 5}}, "without: data.clinical: write `name: value`"),
        ({"factors": FACTORS, "report": {"kind": "curves", "x": ["seed"], "metrics": ["f1"]}}, r"x is '\['seed'\]'"),
        ({"factors": FACTORS, "seconds_a_point": "abc"}, "seconds_a_point is 'abc'; it is a number above 0"),
        ({"factors": FACTORS, "seconds_a_point": -3}, "seconds_a_point is -3"),
        (
            {"factors": FACTORS, "report": {"kind": "curves", "x": "generator", "metrics": ["level_accuracy"]}},
            "x is 'generator', whose value 'gpt 3' is no number",
        ),
        (
            {"factors": FACTORS, "report": {"kind": "curves", "x": "count", "metrics": ["level_accuracy"]}},
            "curves have no place for the factor 'generator'; name it as x, line, panel or repeat, give it one value",
        ),
    ],
)
def test_what_is_no_grid_is_said_before_anything_runs(tmp_path: Path, content: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_grid(write(tmp_path, **content))


def test_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, factors={"count": {"option": "data.mix.count", "values": [30, 30]}})
    with pytest.raises(UserError, match="two runs would be called '30'"):
        read_grid(file).points()


def test_dry_run_prints_each_run_and_reads_nothing(tmp_path: Path, encoder: str, reddit: Path) -> None:
    file = tiny_grid(tmp_path, encoder, tmp_path / "no such corpus", seconds_a_point=30)
    code = (
        f"import sys, cli\nstatus = cli.main(['experiment', {str(file)!r}, '--dry_run', '--data.max_tokens', '32'])\n"
        "assert not {'torch', 'lightning', 'transformers', 'numpy'} & set(sys.modules), 'heavy imports'\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, guess = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"python cli.py fit --config {tmp_path / 'base.yaml'} ") for line in lines)
    assert "--data.mix.count=6" in lines[1]
    assert "--data.max_tokens=32" in lines[1]
    assert guess == (
        "4 points, 4 to run; about 2 min one after the other, at 30 s a point, "
        "which is the grid's own guess (seconds_a_point)"
    )


def test_values_given_on_the_command_line_stand_for_the_factor_s_own(tmp_path: Path) -> None:
    file = write(tmp_path, factors=FACTORS)
    words = ["--factor", "generator={mine: {data.synthetic: my.jsonl}}", "--factor", "count=[0, 45]"]
    *lines, _ = succeed("experiment", file, "--dry_run", *words, "--factor", "seed=[3]").out.splitlines()
    assert [line.partition("base.yaml ")[2] for line in lines] == [
        f"--data.synthetic=my.jsonl --data.mix.count={count} --seed_everything=3 --data.mix.seed=3 "
        "--keep_checkpoints=false"
        for count in (0, 45)
    ]
    grid = read_grid(file, {}, {"seed": [3], "generator": {"mine": {"data.synthetic": "my.jsonl"}}})
    Runner(grid, tmp_path / "out")
    kept = read_grid(tmp_path / "out" / "experiment.yaml")
    assert [point.name for point in kept.points()] == ["mine-0-3", "mine-30-3", "mine-60-3"]
    assert kept.points() == grid.points()


def test_every_real_grid_says_how_long_it_may_take() -> None:
    files = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
    for file in files:
        assert "which is the grid's own guess" in succeed("experiment", file, "--dry_run").out.splitlines()[-1], file
    assert len(files) >= 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry_runs"], "did you mean --dry_run?"),
        (["--data.reddit"], "has no value"),
        ([], "--output is missing"),
        (["--output", __file__], f"--output {__file__}: {__file__} is a file; name a folder"),
        (["--output", f"{__file__}/out"], f"{__file__} is a file; name a folder"),
        (["--workers", "0", "--gpus", "-1"], "--workers 0: at least 1\n--gpus -1: at least 0"),
        (["--launcher", "slurm", "--jobs", "0"], "--jobs 0: at least 1"),
        (["--factor", "seed"], "--factor seed: write NAME=VALUES"),
        (["--factor", "seed=[1", "--factor", "count=[1"], "--factor count=[1: the values are no YAML"),
        (["--factor", "seed=[1]", "--factor", "seed=[2]"], "--factor seed is given twice"),
        (["--factor", "seeds=[1]"], "--factor seeds: the grid has no such factor; it has generator, count, seed"),
        (["--factor", "seed=1"], "--factor seed: values is 1; write a list"),
        (["--factor", "generator=[my.jsonl]"], "--factor generator: `option` says what the values are values of"),
        (["--factor", "generator={mine: {config: nope.yaml}}"], "--factor generator: no file nope.yaml"),
    ],
)
def test_options_are_checked(tmp_path: Path, words: list[str], said: str) -> None:
    ran = run("experiment", write(tmp_path, factors=FACTORS), *words)
    assert ran.status == 2
    assert said in ran.err


def test_options_that_a_factor_would_override_are_refused(tmp_path: Path) -> None:
    words = ["--data.synthetic", "my.jsonl", "--data.init_args.mix.count=30", "--seed_everything=99"]
    ran = run("experiment", write(tmp_path, factors=FACTORS), "--dry_run", *words, "--data.reddit", "r")
    assert ran.status == 2
    assert ran.err.removeprefix("error: ").splitlines() == [
        "--data.synthetic my.jsonl: the grid's factor 'generator' sets data.synthetic; give the factor other values, "
        "such as --factor 'generator={mine: {data.synthetic: my.jsonl}}'",
        "--data.init_args.mix.count 30: the grid's factor 'count' sets data.mix.count; give the factor other values, "
        "such as --factor 'count=[30]'",
        "--seed_everything 99: the grid's factor 'seed' sets seed_everything; give the factor other values, "
        "such as --factor 'seed=[99]'",
    ]
    whole = run("experiment", write(tmp_path, factors=FACTORS), "--dry_run", "--data.mix", "{count: 30}")
    assert whole.status == 2
    assert whole.err.removeprefix("error: ").splitlines() == [
        f"--data.mix {{count: 30}}: the grid's factor '{factor}' sets {name}; give the factor other values (--factor)"
        for factor, name in (("count", "data.mix.count"), ("seed", "data.mix.seed"))
    ]


@pytest.mark.parametrize(("visible", "given"), [(None, "0 1 0"), ("3,5", "3 5 3"), ("7", "7 7 7"), ("", "  ")])
def test_workers_take_turns_on_the_gpus_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, given: str
) -> None:
    started = []

    class Started:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            started.append((command[-2:], env["CUDA_VISIBLE_DEVICES"]))

        def wait(self) -> int:
            return 0

        def terminate(self) -> None:
            pass

    monkeypatch.setattr("experiments.command.subprocess.Popen", Started)
    monkeypatch.setattr("experiments.command._devices", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    succeed("experiment", write(tmp_path, factors=FACTORS), "--output", tmp_path / "out", "--workers", 3)
    assert started == [(["--workers", "1"], device) for device in given.split(" ")]


def test_help() -> None:
    assert "--retry_failed" in succeed("experiment", "--help").out
