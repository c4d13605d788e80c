"""Not a byte of a clinical dialogue leaves a strategy run, a responder run, `score` or a message unless asked for.

What `respond` writes is asked for; everything else it leaves is searched too.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from private import MARK, assert_clinical_rows_in_every_split, assert_private, make_place
from running import Ran, lines, run, succeed
from tiny_dialogues import SEEKER, SUPPORTER, responder_config, strategy_config, write_esconv
from tracked import tracked_fit, wandb_records


def marked(count: int) -> list[dict[str, object]]:
    """Clinical dialogues, marked in every turn."""
    rows = []
    for number in range(count):
        turns = []
        for place, (name, texts) in enumerate(sorted(SUPPORTER.items())[number % 3 :: 2]):
            asked = f"{MARK} {SEEKER[(number + place) % len(SEEKER)]} {MARK}{number} and {place}"
            turns += [
                {"speaker": "seeker", "text": asked},
                {"speaker": "supporter", "text": f"{texts[0]} {MARK.upper()}{place}", "strategy": name},
            ]
        rows.append({"id": f"session{number}", "turns": turns})
    return rows


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory)


@pytest.fixture(scope="module")
def clinical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "clinical.jsonl", marked(24))


@pytest.fixture(scope="module")
def file(place: Path, encoder: str, clinical: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    esconv = write_esconv(tmp_path_factory.mktemp("public") / "ESConv.json", 20)
    data = {"clinical": str(clinical), "leakage": "report"}
    trainer = {"max_epochs": 1, "log_every_n_steps": 1}
    return strategy_config(place / "strategy.yaml", encoder, esconv, data=data, trainer=trainer)


@pytest.fixture(scope="module")
def responder(place: Path, file: Path, clinical: Path) -> Path:
    esconv = clinical.parent / "ESConv.json"
    write_esconv(esconv, 20)
    policies = [{"class_path": f"inference.policies.{name}"} for name in ("NoPolicy", "ModelPolicy")]
    data = {"clinical": str(clinical), "leakage": "report", "test_on": "clinical"}
    return responder_config(
        place / "responder.yaml", esconv, model={"policies": policies}, data=data, trainer={"max_epochs": 1}
    )


@pytest.fixture(scope="module")
def tracked(place: Path, file: Path) -> Ran:
    """Clinical dialogues train, validate and test."""
    options = ["--data.mix.mode", "ratio", "--data.mix.weights", '{"esconv": 0.5, "clinical": 0.5}']
    return tracked_fit(place, "--config", file, *options, "--data.test_on", "clinical")


def test_the_search_would_find_it(clinical: Path) -> None:
    with pytest.raises(AssertionError):
        assert_private(clinical.parent)


def test_a_classifier_with_a_tracker_leaks_nothing(place: Path, tracked: Ran) -> None:
    assert wandb_records(tracked.folder)
    assert_private(place, tracked)
    assert_clinical_rows_in_every_split(tracked.folder)
    rows = lines(tracked.folder / "predictions.jsonl")
    assert rows
    assert all("gold_response" not in row for row in rows)


def test_predict_and_score_leak_nothing(place: Path, clinical: Path, tracked: Ran) -> None:
    assert_private(place, succeed("predict", "--ckpt_path", tracked.folder))
    sources = {row["source"]: "gold_response" in row for row in lines(tracked.folder / "predictions.jsonl")}
    assert sources == {"clinical": False, "esconv": True}
    output = place / "scores.jsonl"
    assert_private(place, succeed("score", clinical, "--checkpoint", tracked.folder, "--output", output))
    assert len(lines(output)) == sum(len(row["turns"]) // 2 for row in marked(24))  # type: ignore[arg-type]


def test_a_responder_leaks_nothing(place: Path, responder: Path, clinical: Path) -> None:
    """Clinical dialogues only test: neither weights nor tokenizer, nor what is kept of responses, hold their words."""
    ran = succeed("fit", "--config", responder, "--logger", "tensorboard")
    assert_private(place, ran)
    rows = lines(ran.folder / "predictions.jsonl")
    assert rows
    assert all("responses" not in row and "gold_response" not in row for row in rows)
    written = succeed("respond", clinical, "--checkpoint", ran.folder, "--output", place / "written.jsonl")
    assert_private(place, written, but=("written.jsonl",))


def test_a_responder_that_learns_from_clinical_dialogues_has_none_of_their_words(place: Path, responder: Path) -> None:
    """Its tokenizer, which anyone could read, is trained without them."""
    mix = ["--data.mix.mode", "ratio", "--data.mix.weights", '{"esconv": 0.5, "clinical": 0.5}']
    ran = succeed("fit", "--config", responder, *mix)
    assert_private(place, ran, but=("written.jsonl",))


def test_texts_are_written_where_they_are_asked_for(tracked: Ran, tmp_path: Path) -> None:
    ran = succeed("test", "--ckpt_path", tracked.folder, "--runs", tmp_path, "--allow_clinical_text")
    rows = lines(ran.folder / "predictions.jsonl")
    assert all(MARK in row["gold_response"].lower() for row in rows)
    assert_private(ran.folder, but=("predictions.jsonl",))


def broken(problem: str) -> str:
    """A clinical table with something wrong in it that a message could quote."""
    rows = marked(4)
    turn = rows[1]["turns"][1]  # type: ignore[index]
    changes = {
        "strategy": {"strategy": f"{MARK} strategy"},
        "speaker": {"speaker": MARK},
        "level": {"levels": {"explorations": MARK}},
        "mechanism": {"levels": {MARK: 1}},
        "text": {"text": [MARK]},
    }
    turn |= changes.get(problem, {})
    if problem == "ids":
        rows[1]["id"] = rows[2]["id"] = f"{MARK} id"
    if problem == "turns":
        rows[1]["turns"] = MARK
    return "".join(json.dumps(row) + "\n" for row in rows) + (f'{{"{MARK}' if problem == "json" else "")


@pytest.mark.parametrize("problem", ["strategy", "speaker", "level", "mechanism", "text", "turns", "ids", "json"])
def test_messages_quote_nothing(place: Path, file: Path, tracked: Ran, tmp_path: Path, problem: str) -> None:
    table = tmp_path / "broken.jsonl"
    table.write_text(broken(problem), encoding="utf-8")
    ran = run("fit", "--config", file, "--data.clinical", table, "--data.test_on", "clinical")
    assert ran.status == 2
    assert ran.err.startswith("error: ")
    assert_private(place, ran, but=("written.jsonl",))
    if problem != "ids":  # which may repeat there
        ran = run("score", table, "--checkpoint", tracked.folder, "--output", place / "not.jsonl")
        assert ran.status == 2
        assert_private(place, ran, but=("written.jsonl",))
        assert not (place / "not.jsonl").exists()
