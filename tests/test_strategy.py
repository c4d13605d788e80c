"""The strategy classifier from config to predictions, on a tiny encoder."""

import json

import pytest
import torch
import torch.nn.functional as F
from running import run, scores, succeed
from tiny_dialogues import esconv_items, strategy_config, write_esconv

from datamodules.dialogues import Turn
from errors import UserError
from experiments.report.runs import read_all
from inference.policies import ClassifierJudge
from inference.scorer import EmpathyScorer
from inference.strategist import Strategist
from lightning_modules.choices import TurnContext
from lightning_modules.networks.strategy_encoder import StrategyEncoder, StrategySpec
from lightning_modules.strategy import StrategyClassifier

LABELS = ["Comforting", "Exploration", "Action", "Others"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("strategy")


@pytest.fixture(scope="module")
def esconv(place):
    return write_esconv(place / "ESConv.json", 30)


@pytest.fixture(scope="module")
def fitted(place, esconv, encoder):
    embeddings = {"speaker_embeddings": True, "turn_embeddings": True}
    config = strategy_config(place / "strategy.yaml", encoder, esconv, model=embeddings)
    return succeed("fit", "--config", config)


def test_a_run_leaves_its_folder(fitted):
    folder = fitted.folder
    found = scores(folder)
    for key in ("accuracy", "f1_macro", "f1_weighted", "top3_accuracy", "preference_bias", "accuracy_any"):
        assert found[f"test/{key}"]["n"] > 10
        assert f"test/{key}_majority" in found
    entry = found["test/accuracy"]
    assert entry["low"] <= entry["value"] <= entry["high"]
    assert entry["protocol"]["metric_variant"] == "next turn, categories, overlap each, rows as the overlap makes them"
    assert len(entry["protocol"]["split_hash"]) == 12
    assert (folder / "confusion_test.svg").read_text().startswith("<svg")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["splits"]["test"]["rows"] == entry["n"]
    assert "majority" in fitted.out
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert len(predictions) == entry["n"]
    right = sum(line["strategy"] in line["gold"] for line in predictions) / len(predictions)
    assert right == pytest.approx(found["test/accuracy_any"]["value"])
    asked = sum([line["strategy"]] == line["target"] for line in predictions) / len(predictions)
    assert asked == pytest.approx(entry["value"])
    assert all(sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5) for line in predictions)


def test_test_gives_the_same_scores_again(fitted):
    again = succeed("test", "--ckpt_path", fitted.folder, "--run_name", "again")
    values = [{key: entry["value"] for key, entry in scores(ran.folder).items()} for ran in (again, fitted)]
    assert values[0] == values[1]


@pytest.mark.parametrize("overlap", ["each", "random", "priority", "multi"])
def test_a_report_counts_the_scores_anew(place, esconv, encoder, overlap, tmp_path):
    config = strategy_config(place / f"{overlap}.yaml", encoder, esconv, data={"overlap": overlap})
    folder = succeed("fit", "--config", config).folder
    [experiment] = read_all([folder])
    [made] = experiment.runs
    drawn = made.predicted("strategy").draw(100)
    assert set(drawn) == {"accuracy", "accuracy_any", "f1_macro", "f1_weighted"}
    for key, samples in drawn.items():
        assert samples[0] == pytest.approx(made.value(f"test/{key}"), abs=1e-12)
    if overlap == "multi":
        succeed("score", esconv, "--checkpoint", folder, "--output", tmp_path / "o.jsonl")
        scored = {row["id"]: row for row in map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())}
        rows = list(made.predictions())
        assert all(scored[row["id"]]["strategies"] == row["strategies"] for row in rows)
        succeed("report", folder, "--output", tmp_path / "report")


def test_probabilities_are_calibrated_on_validation(fitted):
    checkpoint = torch.load(fitted.folder / "checkpoints" / "best.ckpt", weights_only=True)
    temperature = float(checkpoint["state_dict"]["network.temperature"])
    assert 0.05 <= temperature <= 20
    assert temperature != 1


def test_strategist_agrees_with_the_run(fitted, esconv):
    """Loading needs nothing but the checkpoint, and gives what the run's own test gave."""
    strategist = Strategist.load(fitted.folder)
    items = esconv_items(30)
    for line in (json.loads(text) for text in (fitted.folder / "predictions.jsonl").read_text().splitlines()[:8]):
        dialogue, turn = map(int, line["id"].split(":")[:2])
        turns = [Turn(entry["speaker"], entry["content"]) for entry in items[dialogue]["dialog"]]
        (found,) = strategist.next_turns([turns[:turn]])
        assert found.strategy == line["strategy"]
        assert found.probabilities == pytest.approx(line["probabilities"], abs=1e-5)
    assert strategist.next_turns([[]])[0].strategy in LABELS  # an empty context is defined


def test_the_coming_turn_is_not_looked_at(fitted):
    strategist = Strategist.load(fitted.folder)
    turns = [Turn("seeker", "I feel alone."), Turn("supporter", "Why?"), Turn("seeker", "Because.")]
    assert strategist.turns([(turns, 1)]) == strategist.turns([(turns[:1], 1)])


def test_score_takes_dialogues(fitted, esconv, tmp_path):
    output = tmp_path / "scored.jsonl"
    succeed("score", esconv, "--checkpoint", fitted.folder, "--output", output)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    expected = [
        f"{number}:{turn}"
        for number, item in enumerate(esconv_items(30))
        for turn, entry in enumerate(item["dialog"])
        if entry["speaker"] == "supporter"
    ]
    assert [line["id"] for line in lines] == expected
    assert all(set(line) == {"id", "strategy", "probabilities"} for line in lines)
    predicted = [json.loads(line) for line in (fitted.folder / "predictions.jsonl").read_text().splitlines()]
    by_id = {line["id"]: line["strategy"] for line in lines}
    assert all(by_id[":".join(line["id"].split(":")[:2])] == line["strategy"] for line in predicted)


def test_wrong_runs_are_named(fitted, tmp_path, place, esconv, encoder):
    with pytest.raises(UserError, match="task 'strategy'"):
        EmpathyScorer.load(fitted.folder)
    other = run("test", "--ckpt_path", fitted.folder, "--data.label_space", "strategies", "--run_name", "other")
    assert other.status == 2
    assert "--data.label_space" in other.err


def test_given_target_and_eight_strategies(fitted, place, esconv, encoder):
    config = strategy_config(
        place / "given.yaml",
        encoder,
        esconv,
        model={"target": "given", "loss": "class_weighted"},
        data={"label_space": "strategies"},
        trainer={"max_epochs": 1},
    )
    ran = succeed("fit", "--config", config)
    assert scores(ran.folder)["test/accuracy"]["protocol"]["metric_variant"].startswith("given turn, strategies")
    score = Strategist.load(ran.folder).turns([([Turn("supporter", "What happened then?")], 0)])[0]
    assert len(score.probabilities) == 8
    judge = ClassifierJudge(ran.folder)
    assert judge.recognise([TurnContext("x", [], [])], ["What happened then?"]) == [score.strategy]
    with pytest.raises(UserError, match="target given is needed"):
        ClassifierJudge(fitted.folder)


def classifier(loss, multi, counts, adjustment=1.0):
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config |= {"intermediate_size": 8, "vocab_size": 20, "max_position_embeddings": 16}
    module = StrategyClassifier(loss=loss, adjustment=adjustment)
    module.network = StrategyEncoder(
        StrategySpec(["a", "b", "c"], "categories", multi, "mean", 0.0, True, True, config)
    )
    module.register_buffer("label_counts", torch.tensor(counts))
    return module


LOGITS = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]])
ONE = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
SEVERAL = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
COUNTS = [6.0, 3.0, 1.0]


def test_losses_of_one_label():
    prior = torch.tensor(COUNTS) / 10
    gold = torch.tensor([1, 0])

    def loss(kind):
        total, weight = classifier(kind, False, COUNTS)._loss_terms(LOGITS, ONE)
        return total / weight

    torch.testing.assert_close(loss("plain"), F.cross_entropy(LOGITS, gold))
    torch.testing.assert_close(loss("class_weighted"), F.cross_entropy(LOGITS, gold, weight=1 / prior))
    torch.testing.assert_close(loss("logit_adjusted"), F.cross_entropy(LOGITS + prior.log(), gold))


def test_losses_of_several_labels():
    prior = torch.tensor(COUNTS) / 10

    def loss(kind):
        module = classifier(kind, True, COUNTS)
        module.network.log_prior.copy_(module._taken_out(rows=8))
        total, weight = module._loss_terms(LOGITS, SEVERAL)
        return total / weight

    each = F.binary_cross_entropy_with_logits(LOGITS, SEVERAL, reduction="none")
    torch.testing.assert_close(loss("plain"), each.mean())
    weights = 1 / prior
    torch.testing.assert_close(loss("class_weighted"), (each * weights).sum() / (2 * weights.sum()))
    odds = torch.tensor([6.5 / 2.5, 3.5 / 5.5, 1.5 / 7.5])  # rows with the label to rows without, half a row more each
    torch.testing.assert_close(loss("logit_adjusted"), F.binary_cross_entropy_with_logits(LOGITS + odds.log(), SEVERAL))
    assert not classifier("class_weighted", True, COUNTS)._taken_out(rows=8).any()


def test_probabilities():
    network = classifier("plain", False, COUNTS).network
    network.temperature.fill_(2.0)
    torch.testing.assert_close(network.probabilities(LOGITS), (LOGITS / 2).softmax(dim=1))
    network.log_prior.copy_(torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(
        network.probabilities(LOGITS), ((LOGITS + torch.tensor([0.0, 1.0, 0.0])) / 2).softmax(dim=1)
    )
    several = classifier("plain", True, COUNTS).network
    each = LOGITS.sigmoid()
    torch.testing.assert_close(several.probabilities(LOGITS), each / each.sum(dim=1, keepdim=True))


def test_embeddings_change_nothing_at_first_and_padding_never_does():
    network = classifier("plain", False, COUNTS).network.eval()
    ids, mask = torch.tensor([[3, 4, 5, 0], [3, 4, 5, 0]]), torch.tensor([[True, True, True, False]] * 2)
    zero, some = torch.zeros_like(ids), torch.tensor([[0, 1, 2, 0]] * 2)
    torch.testing.assert_close(network(ids, mask, some, some), network(ids, mask, zero, zero))
    torch.nn.init.normal_(network.speakers.weight)
    torch.nn.init.normal_(network.distances.weight)
    assert not torch.allclose(network(ids, mask, some, some), network(ids, mask, zero, zero))
    torch.testing.assert_close(
        network(ids, mask, some, some * 100), network(ids[:, :3], mask[:, :3], some[:, :3], some[:, :3] * 100)
    )
