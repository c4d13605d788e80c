"""Not a byte of a clinical text leaves in logs, trackers, messages, caches or predictions, unless it is asked for."""

import json
from pathlib import Path

import pytest
from private import MARK, assert_clinical_rows_in_every_split, assert_private, make_place
from running import Ran, config, lines, run, succeed
from tiny import tiny_pairs, write_epitome, write_jsonl
from tracked import tracked_fit, wandb_records

from datamodules.records import Pair


def marked(count: int) -> list[Pair]:
    """Clinical rows, marked in both texts and in the rationales."""
    pairs = tiny_pairs(count, "clinical")
    for number, pair in enumerate(pairs):
        pair.seeker_post = f"{MARK} I can't sleep, {MARK}{number // 2} said. {pair.seeker_post} {MARK.upper()}"
        pair.response_post = f"{pair.response_post} {MARK} {MARK}{number}!"
        end = len(pair.response_post)
        pair.rationales["explorations"] = [(end - len(MARK) - 2, end)]
        pair.levels["explorations"] = 1 + number % 2
    return pairs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory)


@pytest.fixture(scope="module")
def clinical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("table") / "clinical.jsonl", marked(40))


@pytest.fixture(scope="module")
def reddit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_epitome(tmp_path_factory.mktemp("public"), tiny_pairs(40))


@pytest.fixture(scope="module")
def file(place: Path, encoder: str, reddit: Path, clinical: Path) -> Path:
    data = {"reddit": str(reddit), "clinical": str(clinical), "cache": str(place / "cache")}
    return config(place / "tiny.yaml", encoder, data=data, trainer={"max_epochs": 1, "log_every_n_steps": 1})


@pytest.fixture(scope="module")
def tracked(place: Path, file: Path) -> Ran:
    """Clinical rows train and test."""
    options = ["--data.mix.mode", "ratio", "--data.mix.weights", '{"reddit": 0.5, "clinical": 0.5}']
    return tracked_fit(place, "--config", file, *options, "--data.test_on", "clinical")


def test_the_search_would_find_it(place: Path, clinical: Path) -> None:
    with pytest.raises(AssertionError):
        assert_private(clinical.parent)


def test_training_with_a_tracker_leaks_nothing(place: Path, tracked: Ran) -> None:
    assert wandb_records(tracked.folder)
    assert_private(place, tracked)
    assert_clinical_rows_in_every_split(tracked.folder)
    rows = lines(tracked.folder / "predictions.jsonl")
    assert rows
    assert all(row["source"] == "clinical" and "response_post" not in row and "seeker_post" not in row for row in rows)


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_testing_on_clinical_rows_leaks_nothing(place: Path, file: Path, logger: str) -> None:
    ran = succeed("fit", "--config", file, "--data.test_on", "clinical", "--logger", logger, "--data.num_workers", 1)
    assert_private(place, ran)
    assert len(lines(ran.folder / "predictions.jsonl")) == 40


def test_test_predict_and_score_leak_nothing(place: Path, clinical: Path, tracked: Ran) -> None:
    assert_private(place, succeed("test", "--ckpt_path", tracked.folder))
    predicted = succeed("predict", "--ckpt_path", tracked.folder)
    assert_private(place, predicted)
    texts = {row["source"]: "response_post" in row for row in lines(tracked.folder / "predictions.jsonl")}
    assert texts == {"clinical": False, "reddit": True}
    for name in ("scores.jsonl", "scores.parquet"):
        output = place / name
        assert_private(place, succeed("score", clinical, "--checkpoint", tracked.folder, "--output", output))
        assert output.is_file()


def test_texts_are_written_where_they_are_asked_for(tracked: Ran, tmp_path: Path, clinical: Path) -> None:
    ran = succeed("test", "--ckpt_path", tracked.folder, "--runs", tmp_path, "--allow_clinical_text")
    rows = {row["id"]: row for row in lines(ran.folder / "predictions.jsonl")}
    originals = {row["id"]: row for row in lines(clinical)}
    assert rows
    for name, row in rows.items():
        assert (row["seeker_post"], row["response_post"]) == tuple(
            originals[name][field] for field in ("seeker_post", "response_post")
        )
    assert MARK in (ran.folder / "predictions.html").read_text().lower()
    others = [path for path in ran.folder.rglob("*") if path.is_file() and path.stem != "predictions"]
    assert not [path for path in others if MARK.encode() in path.read_bytes().lower()]


def test_a_grid_leaks_nothing(place: Path, file: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    wrong = tmp_path / "broken.jsonl"
    wrong.write_text(broken("rationale") + "{", encoding="utf-8")
    tables = {"right": {}, "wrong": {"data.clinical": str(wrong)}}
    fixed = {"data.test_on": "clinical", "trainer.max_steps": 1}
    grid.write_text(json.dumps({"base": str(file), "set": fixed, "factors": {"table": {"values": tables}}}))
    ran = run("experiment", grid, "--output", place / "grid")
    assert "1 of 2 points done, 1 failed" in ran.out
    assert_private(place, ran)


def broken(name: str) -> str:
    """A clinical table with something wrong in it that a message could quote."""
    rows = [json.loads(pair.to_json()) for pair in marked(4)]
    if name == "level":
        rows[1]["levels"]["explorations"] = f"{MARK} strong"
    elif name == "mechanism":
        rows[1]["levels"][f"{MARK} mechanism"] = 1
    elif name == "span":
        rows[2]["rationales"]["explorations"] = [[0, 10_000]]
    elif name == "rationale":
        rows[2]["rationales"]["explorations"] = f"{MARK} nowhere in the response"
    elif name == "empty":
        rows[3]["response_post"] = " "
    elif name == "ids":
        rows[1]["id"] = rows[2]["id"] = f"{MARK} id"
    elif name == "leak":
        rows[0]["seeker_post"] = rows[1]["seeker_post"] = f"{tiny_pairs(1)[0].seeker_post}"
        rows[0]["id"] = "first"
    return "".join(json.dumps(row) + "\n" for row in rows) + (f'{{"{MARK}' if name == "json" else "")


@pytest.mark.parametrize("problem", ["level", "mechanism", "span", "empty", "ids", "json", "leak"])
def test_messages_about_clinical_rows_quote_nothing(place: Path, file: Path, tmp_path: Path, problem: str) -> None:
    table = tmp_path / "broken.jsonl"
    table.write_text(broken(problem), encoding="utf-8")
    ran = run("fit", "--config", file, "--data.clinical", table, "--data.test_on", "clinical")
    assert ran.status == 2
    assert ran.err.startswith("error: ")
    assert_private(place, ran)


@pytest.mark.parametrize("problem", ["empty", "json"])
def test_messages_about_scored_rows_quote_nothing(place: Path, tracked: Ran, tmp_path: Path, problem: str) -> None:
    table = tmp_path / "broken.jsonl"
    table.write_text(broken(problem), encoding="utf-8")
    ran = run("score", table, "--checkpoint", tracked.folder, "--output", place / "not.jsonl")
    assert ran.status == 2
    assert_private(place, ran)
    assert not (place / "not.jsonl").exists()
