"""The configs of the classifier and the responder run as they stand, at the size of a test."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from running import ROOT, scores, succeed
from tiny import tiny_pairs, write_epitome
from tiny_dialogues import esconv_items, strategy_config, write_esconv
from tiny_language_model import build_gpt2

CONFIGS = sorted((ROOT / "configs").glob("strategy*.yaml")) + sorted((ROOT / "configs").glob("responder*.yaml"))
CLASSIFIERS = [path for path in CONFIGS if path.name.startswith("strategy")]
RESPONDERS = [path for path in CONFIGS if path.name.startswith("responder")]
SIZE = ["--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--data.max_tokens", "64"]
STUDY_B = {
    "responder_esconv_plain": (False, ["none"], [".226"]),
    "responder_esconv_tagged": (True, ["none", "random", "model", "oracle"], [".293", ".271", ".313"]),
    "responder_merged_plain": (False, ["none"], [".229"]),
    "responder_merged_tagged": (True, ["none", "random", "model", "oracle"], [".300", ".278", ".331"]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, encoder: str) -> Path:
    """The corpora where the headers look for them, a language model, a classifier's run."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "data" / "esconv").mkdir(parents=True)
    write_esconv(folder / "data" / "esconv" / "ESConv.json", 24)
    write_epitome(folder / "data" / "epitome-reddit", tiny_pairs(30))
    texts = [turn["content"] for item in esconv_items(24) for turn in item["dialog"]]
    build_gpt2(folder / "lm", texts)
    file = strategy_config(folder / "tiny.yaml", encoder, folder / "data" / "esconv" / "ESConv.json")
    succeed("fit", "--config", file, "--trainer.max_epochs", 1, "--run_name", "classifier")
    return folder


def header(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("seed_everything")[0].replace("\n#", "")


def launch(path: Path, place: Path) -> list[str]:
    """The command of the header."""
    line = re.search(r"# Run:\s+python cli\.py (fit .*)", path.read_text(encoding="utf-8"))
    assert line, "a config says how it is launched"
    words = shlex.split(line[1])
    assert words[1:3] == ["--config", str(path.relative_to(ROOT))]
    return [words[0], "--config", str(path), *(word.replace("data/", f"{place}/data/") for word in words[3:])]


def test_none_is_missed() -> None:
    assert {path.stem for path in CONFIGS} == {*STUDY_B, "responder_small", "strategy", "strategy_small"}
    for path in CONFIGS:
        assert re.search(r"# Result: \S", path.read_text(encoding="utf-8")), "and what came of it"


@pytest.mark.parametrize("path", CLASSIFIERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("merged", [False, True], ids=["esconv", "merged"])
def test_classifiers_train_and_test(path: Path, place: Path, encoder: str, tmp_path: Path, merged: bool) -> None:
    command = [*launch(path, place), *SIZE, "--model.encoder", encoder, "--runs", tmp_path]
    command += ["--data.reddit", place / "data" / "epitome-reddit", "--data.test_on", "all"] if merged else []
    folder = succeed(*command).folder
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    found = scores(folder)
    assert settings["monitor"].replace("validation/", "test/") in found
    assert ("test/reddit/accuracy" in found) == merged
    assert settings["data"]["init_args"]["overlap"] == "each"


def test_the_published_number_of_epochs() -> None:
    epochs = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["trainer"]["max_epochs"] for path in CONFIGS}
    assert epochs["strategy"] == 3
    assert all(epochs[name] == 4 for name in (*STUDY_B, "responder_small"))


@pytest.mark.parametrize("path", RESPONDERS, ids=lambda path: path.stem)
def test_responders_train_and_test(path: Path, place: Path, tmp_path: Path) -> None:
    command = [*launch(path, place), *SIZE, "--model.max_response_tokens", "8", "--model.written_rows", "3"]
    if path.stem == "responder_small":
        measures = {"layers": 1, "width": 16, "heads": 2, "window": 64, "vocabulary": 300}
        command += ["--model.small", json.dumps(measures)]
    else:
        command += ["--model.language_model", str(place / "lm")]
    ran = succeed(*command, "--runs", tmp_path)
    found = scores(ran.folder)
    tagged, policies, published = STUDY_B.get(path.stem, (True, ["none", "random", "model", "oracle"], []))
    assert {key.split("/")[1] for key in found if key.count("/") == 2} == {*policies}
    assert ("test/perplexity_with_tag" in found) == tagged
    assert all(number in header(path) for number in published)
    assert published == [] or "not comparable" in header(path)
    trained = yaml.safe_load((ran.folder / "config.yaml").read_text(encoding="utf-8"))
    assert bool(trained["data"]["init_args"]["reddit"]) == ("merged" in path.stem)
    table = succeed("responders", ran.folder).out
    assert all(f" {number} " in table for number, policy in zip(published, ("none", "random"), strict=False))


def test_a_header_adds_the_classifier_to_the_policies(place: Path, tmp_path: Path) -> None:
    path = ROOT / "configs" / "responder_esconv_tagged.yaml"
    more = re.search(r"with a classifier: (.*)", path.read_text(encoding="utf-8"))
    assert more
    added = shlex.split(more[1].replace("RUN", str(place / "runs" / "classifier")))
    command = [*launch(path, place), *SIZE, "--model.max_response_tokens", "8", "--model.written_rows", "3"]
    ran = succeed(*command, "--model.language_model", place / "lm", "--runs", tmp_path, *added)
    assert "test/classifier/bleu" in scores(ran.folder)
    assert " .313 " in succeed("responders", ran.folder).out
