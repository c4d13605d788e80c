"""`cli.py score` and the Python API: any table through a finished run."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from running import config, lines, run, succeed
from tiny import save_tiny_encoder, tiny_pairs, write_epitome, write_jsonl

import inference.score
from datamodules.records import Pair
from errors import UserError
from inference import EmpathyScorer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose encoder's files are gone."""
    place = tmp_path_factory.mktemp("score")
    encoder = save_tiny_encoder(place / "encoder")
    reddit = write_epitome(place / "reddit", tiny_pairs(40))
    file = config(place / "tiny.yaml", encoder, data={"reddit": str(reddit)}, trainer={"max_epochs": 1})
    folder = succeed("fit", "--config", file).folder
    shutil.rmtree(encoder)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "table.jsonl", tiny_pairs(70, "clinical", seed=3))


def test_rows_come_out_in_order_with_their_ids(trained: Path, table: Path, tmp_path: Path) -> None:
    ran = succeed("score", table, "--checkpoint", trained, "--output", tmp_path / "out.jsonl")
    assert ran.out.splitlines()[-1] == str(tmp_path / "out.jsonl")
    rows = lines(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [f"{number:04d}" for number in range(70)]
    for row, pair in zip(rows, tiny_pairs(70, "clinical", seed=3), strict=True):
        assert set(row) == {"id", "levels", "probabilities", "rationales"}
        for mechanism, level in row["levels"].items():
            shares = row["probabilities"][mechanism]
            assert level == shares.index(max(shares))
            assert sum(shares) == pytest.approx(1, abs=1e-5)
            assert all(0 <= start < end <= len(pair.response_post) for start, end in row["rationales"][mechanism])
    assert list(tmp_path.glob("out*")) == [tmp_path / "out.jsonl"]


def test_scores_are_those_of_the_test(trained: Path, tmp_path: Path) -> None:
    """The same decisions as in the run's own predictions, which were made in other batches and with cached states."""
    predicted = {row["id"]: row for row in lines(trained / "predictions.jsonl")}
    pairs = [Pair(row["id"], "reddit", row["seeker_post"], row["response_post"]) for row in predicted.values()]
    table = write_jsonl(tmp_path / "test.jsonl", pairs)
    succeed("score", table, "--checkpoint", trained, "--output", tmp_path / "out.jsonl", "--batch_size", 3)
    for row in lines(tmp_path / "out.jsonl"):
        own = predicted[row["id"]]
        assert (row["levels"], row["rationales"]) == (own["levels"], own["rationales"])
        for mechanism, shares in row["probabilities"].items():
            assert shares == pytest.approx(own["probabilities"][mechanism], abs=2e-6)


def test_the_published_recipe_is_scored_as_it_was_tested(encoder: str, reddit: Path, tmp_path: Path) -> None:
    """Its attention sees padding, so what fills up a post must be the same here and there."""
    model = {"mask_seeker_padding": False, "seeker_dropout": True, "mechanisms": ["explorations"]}
    data = {"reddit": str(reddit), "pad_to_window": True, "bucketed": False}
    file = config(tmp_path / "tiny.yaml", encoder, model=model, data=data, trainer={"max_epochs": 1})
    folder = succeed("fit", "--config", file).folder
    predicted = lines(folder / "predictions.jsonl")
    scorer = EmpathyScorer.load(folder)
    for row, score in zip(
        predicted, scorer.score([(row["seeker_post"], row["response_post"]) for row in predicted], 3), strict=True
    ):
        assert score.probabilities["explorations"] == pytest.approx(row["probabilities"]["explorations"], abs=2e-6)


def test_predictions_depend_on_neither_padding_nor_order(trained: Path) -> None:
    scorer = EmpathyScorer.load(trained)
    pairs = tiny_pairs(25, seed=8)
    together = scorer.score(pairs, batch_size=25)
    apart = [scorer.score((pair.seeker_post, pair.response_post)) for pair in pairs]
    backwards = scorer.score(pairs[::-1], batch_size=4)[::-1]
    for one, two, three in zip(together, apart, backwards, strict=True):
        assert one.levels == two.levels == three.levels
        assert one.rationales == two.rationales == three.rationales
        for mechanism, shares in one.probabilities.items():
            assert shares == pytest.approx(two.probabilities[mechanism], abs=2e-6)
            assert shares == pytest.approx(three.probabilities[mechanism], abs=2e-6)


def test_parquet_holds_the_same_rows(trained: Path, table: Path, tmp_path: Path) -> None:
    for name in ("out.jsonl", "out.parquet"):
        succeed("score", table, "--checkpoint", trained, "--output", tmp_path / name)
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == lines(tmp_path / "out.jsonl")


def test_only_expressed_mechanisms_keep_their_rationales(trained: Path, table: Path, tmp_path: Path) -> None:
    succeed("score", table, "--checkpoint", trained, "--output", tmp_path / "all.jsonl")
    succeed("score", table, "--checkpoint", trained, "--output", tmp_path / "some.jsonl", "--only_expressed")
    gated = 0
    for whole, some in zip(lines(tmp_path / "all.jsonl"), lines(tmp_path / "some.jsonl"), strict=True):
        for mechanism, level in whole["levels"].items():
            assert some["rationales"][mechanism] == (whole["rationales"][mechanism] if level else [])
            gated += not level and bool(whole["rationales"][mechanism])
    assert gated


def test_an_interrupted_call_goes_on(
    trained: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference.score, "_WINDOW", 16)
    succeed("score", table, "--checkpoint", trained, "--output", tmp_path / "whole.jsonl")
    scored = []
    score = EmpathyScorer.score

    def broken(self, pairs, batch_size=32):
        scored.append(len(pairs))
        if len(scored) == 3:
            raise OSError(28, "No space left on device")
        return score(self, pairs, batch_size)

    monkeypatch.setattr(EmpathyScorer, "score", broken)
    output = tmp_path / "out.jsonl"
    ran = run("score", table, "--checkpoint", trained, "--output", output)
    assert ran.status == 2
    assert "No space left on device" in ran.err
    assert not output.exists()
    with (tmp_path / "out.jsonl.part").open("a", encoding="utf-8") as file:
        file.write('{"id": "half')
    succeed("score", table, "--checkpoint", trained, "--output", output)
    assert scored == [16, 16, 16, 16, 16, 6]
    assert output.read_text() == (tmp_path / "whole.jsonl").read_text()


def test_the_checkpoint_is_read_once(
    trained: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *given, **options: (read.append(given), load(*given, **options))[1])
    succeed("score", table, "--checkpoint", trained, "--output", tmp_path / "out.jsonl")
    assert len(read) == 1


def test_options_of_pairs_are_refused_for_dialogues(talkers: dict[str, Path], table: Path, tmp_path: Path) -> None:
    options = ("--only_expressed", "--id", "key", "--output", tmp_path / "out.jsonl")
    ran = run("score", table, "--checkpoint", talkers["classifier"], *options)
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)
    assert "--only_expressed, --id: for pairs alone; " in ran.err


def test_another_job_does_not_go_on_with_it(trained: Path, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.part").write_text("{}\n" * 512)
    (tmp_path / "out.jsonl.part.json").write_text(json.dumps({"table": "another"}))
    succeed("score", table, "--checkpoint", trained, "--output", output)
    assert len(lines(output)) == 70


def test_other_column_names_and_useless_annotations(trained: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        'key,client,therapist,explorations\n7,"I lost my job.","I am so sorry.",strong\n', encoding="utf-8"
    )
    names = ("--id", "key", "--seeker_post", "client", "--response_post", "therapist")
    succeed("score", table, "--checkpoint", trained, "--output", tmp_path / "out.jsonl", *names)
    assert [row["id"] for row in lines(tmp_path / "out.jsonl")] == ["7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds|can't be read"),
        (b"no checkpoint at all", "can't be read"),
        (pickle.dumps({"network": print}), "can't be read"),
    ],
    ids=["empty", "text", "pickled function"],
)
def test_an_unreadable_checkpoint_is_refused(content: bytes, message: str, table: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(content)
    ran = run("score", table, "--checkpoint", tmp_path / "bad.ckpt", "--output", tmp_path / "out.jsonl")
    assert ran.status == 2
    assert len(ran.err.splitlines()) == 1
    with pytest.raises(UserError, match=message):
        EmpathyScorer.load(tmp_path / "bad.ckpt")
    assert not list(tmp_path.glob("out*"))


class Bomb:
    def __reduce__(self):
        return (Path.write_text, (Path("exploded"), "!"))


def test_nothing_is_unpickled_but_plain_values(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, "extra": Bomb()}, "bomb.ckpt")
    with pytest.raises(UserError, match=r"bomb\.ckpt' can't be read"):
        EmpathyScorer.load("bomb.ckpt")
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.jsonl", "--checkpoint", "{run}", "--output", "out.jsonl"), "nowhere.jsonl"),
        (("{table}", "--checkpoint", "nowhere", "--output", "out.jsonl"), "checkpoint 'nowhere'"),
        (("{table}", "--checkpoint", "{run}", "--output", "out.txt"), "name a .jsonl or a .parquet file"),
        (("{table}", "--checkpoint", "{run}", "--output", "no/folder/out.jsonl"), "a folder that exists"),
        (("{table}", "--checkpoint", "{run}", "--output", "{table}"), "is the file that is read; name another"),
        (("{table}", "--checkpoint", "{run}", "--output", "out.jsonl", "--batch_size", "0"), "--batch_size 0"),
        (("{table}", "--output", "out.jsonl"), "--checkpoint"),
    ],
)
def test_what_can_not_be_done_is_said(
    words: tuple[str, ...], message: str, trained: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("score", *(word.format(run=trained, table=table) for word in words))
    assert ran.status == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert not list(tmp_path.glob("out*"))
