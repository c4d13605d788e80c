"""The responder from config to responses: policies, streams, adapters, resume."""

import json
import signal
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import run, scores, start_apart, succeed
from tiny_dialogues import esconv_items, responder_config, strategy_config, write_esconv
from tiny_language_model import build_gpt2
from transformers import GPT2Config, GPT2LMHeadModel

from datamodules.contexts import ResponderFormat, TurnEncoder
from datamodules.dialogues import Turn
from datamodules.strategies import load_scheme
from errors import UserError
from inference.policies import ClassifierPolicy, NoPolicy, RandomPolicy, build_policy, draw
from inference.respond import main as respond
from inference.responder import Responder, TurnAsked
from inference.responder_table import Trained
from inference.responder_table import main as table
from inference.streaming import write_stream
from inference.web.talking import Talker
from lightning_modules.choices import TurnContext
from lightning_modules.networks.decoding import Decoding, generate
from lightning_modules.networks.responder import (
    ResponderNetwork,
    ResponderSpec,
    SmallModel,
    build_small,
    train_tokenizer,
)
from lightning_modules.responder_scores import token_embedder

LABELS = ["Comforting", "Exploration", "Action", "Others"]
NAMES = ("NoPolicy", "RandomPolicy", "ModelPolicy", "OraclePolicy")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("responder")


@pytest.fixture(scope="module")
def esconv(place):
    return write_esconv(place / "ESConv.json", 24)


@pytest.fixture(scope="module")
def classifier(place, esconv, encoder):
    config = strategy_config(place / "strategy.yaml", encoder, esconv, trainer={"max_epochs": 1})
    return succeed("fit", "--config", config).folder


@pytest.fixture(scope="module")
def config(place, esconv):
    policies = [{"class_path": f"inference.policies.{name}"} for name in NAMES]
    model = {"policies": policies, "written_rows": 9, "decoding": {"seed": 5}}
    return responder_config(place / "responder.yaml", esconv, model=model)


@pytest.fixture(scope="module")
def fitted(config):
    return succeed("fit", "--config", config)


@pytest.fixture(scope="module")
def plain(config):
    policy = "[{class_path: inference.policies.NoPolicy}]"
    return succeed(
        "fit", "--config", config, "--model.tagged", "false", "--model.policies", policy, "--run_name", "plain"
    )


def test_a_run_leaves_its_folder(fitted):
    found = scores(fitted.folder)
    supporters = json.loads((fitted.folder / "manifest.json").read_text())["splits"]["test"]["rows"]
    assert found["test/perplexity"]["n"] == supporters
    assert found["test/perplexity"]["protocol"]["metric_variant"].endswith("response and end token after the gold tag")
    assert found["test/perplexity_with_tag"]["value"] != found["test/perplexity"]["value"]
    for policy in ("none", "random", "model", "oracle"):
        assert found[f"test/{policy}/bleu"]["n"] == 9
        assert found[f"test/{policy}/bleu"]["protocol"]["metric_variant"].startswith("sacrebleu nrefs:1")
    assert found["test/oracle/agreement"]["value"] == 100
    assert "oracle (gold)" in fitted.out
    predictions = [json.loads(line) for line in (fitted.folder / "predictions.jsonl").read_text().splitlines()]
    assert sum(bool(line["responses"]) for line in predictions) == 9
    assert len(predictions) == supporters


def test_rows_that_evaluate_are_one_a_turn(fitted):
    manifest = json.loads((fitted.folder / "manifest.json").read_text())
    turns = sum(entry["speaker"] == "supporter" for item in esconv_items(24) for entry in item["dialog"])
    rows = {split: found["rows"] for split, found in manifest["splits"].items()}
    assert rows["train"] > turns - rows["validation"] - rows["test"]  # a row for each category trains


def respond_rows(output, *argv):
    assert respond([str(word) for word in (*argv, "--output", output)]) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.mark.parametrize("policy", ["none", "random", "random_prior", "model", "oracle"])
def test_respond_to_every_supporter_turn(fitted, esconv, tmp_path, policy):
    rows = respond_rows(tmp_path / "out.jsonl", esconv, "--checkpoint", fitted.folder, "--policy", policy)
    expected = [
        f"{number}:{turn}"
        for number, item in enumerate(esconv_items(24))
        for turn, entry in enumerate(item["dialog"])
        if entry["speaker"] == "supporter"
    ]
    assert [row["id"] for row in rows] == expected
    assert all(set(row) == {"id", "response", "strategy", "probabilities"} for row in rows)
    if policy == "none":
        assert {row["strategy"] for row in rows} == {None}
    else:
        assert {row["strategy"] for row in rows} <= set(LABELS)
    if policy == "oracle":
        scheme = load_scheme()
        shown = [Turn("supporter", "", entry["annotation"].get("strategy", "")) for item in esconv_items(24)
                 for entry in item["dialog"] if entry["speaker"] == "supporter"]  # fmt: skip
        gold = [scheme.labels(turn, "categories") for turn in shown]
        first = [min(labels, key=scheme.priority.index) if labels else None for labels in gold]
        assert [row["strategy"] for row in rows] == first
    if policy in ("random", "random_prior", "model"):
        assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5) for row in rows)


def test_an_oracle_asks_for_the_label_that_a_row_has(fitted, esconv, tmp_path):
    scheme = replace(load_scheme(), priority=("Action", "Exploration", "Comforting", "Others"))
    responder = Responder.load(fitted.folder, build_policy("oracle"))
    responder.scheme = scheme
    (found,) = responder.respond([TurnAsked("k", [], Turn("supporter", "Me too.", "Self-disclosure"))])
    assert found.strategy == "Action"


def test_draws_are_by_the_runs_seed_where_none_is_given(fitted, esconv, tmp_path):
    command = (esconv, "--checkpoint", fitted.folder, "--policy", "random")
    rows = respond_rows(tmp_path / "run.jsonl", *command)
    seeds = [respond_rows(tmp_path / f"{seed}.jsonl", *command, "--seed", seed) for seed in (5, 6)]
    assert rows == seeds[0] != seeds[1]


def test_an_oracle_needs_the_turn_that_came_next(fitted, esconv, tmp_path):
    command = (esconv, "--checkpoint", fitted.folder, "--policy", "oracle", "--turns", "next")
    ran = run("respond", *command, "--output", tmp_path / "o.jsonl")
    assert (ran.status, "--turns next has none" in ran.err) == (2, True)


def test_dialogues_of_one_name_are_told(fitted, tmp_path):
    row = json.dumps(
        {"id": "a", "turns": [{"speaker": "seeker", "text": "Hi"}, {"speaker": "supporter", "text": "Yo"}]}
    )
    (tmp_path / "twice.jsonl").write_text(f"{row}\n{row}\n")
    ran = succeed("respond", tmp_path / "twice.jsonl", "--checkpoint", fitted.folder, "--output", tmp_path / "o.jsonl")
    assert "1 turns have the id of another" in ran.err


def test_a_refused_run_leaves_its_name_free(config, tmp_path):
    options = ("--config", config, "--runs", tmp_path, "--run_name", "mine", "--trainer.max_steps", 1)
    refused = run("fit", *options, "--model.tagged", "false")
    assert (refused.status, "only policy none fits" in refused.err) == (2, True)
    assert succeed("fit", *options).folder == tmp_path / "mine"


def test_respond_does_not_depend_on_the_batch_and_can_be_continued(fitted, classifier, esconv, tmp_path, monkeypatch):
    command = (esconv, "--checkpoint", fitted.folder, "--policy", "classifier_sampled", "--classifier", classifier)
    whole = respond_rows(tmp_path / "whole.jsonl", *command)
    assert respond_rows(tmp_path / "one.jsonl", *command, "--batch_size", 1) == whole
    assert len({row["strategy"] for row in whole}) > 1
    written = []
    work = Responder.respond

    def stumbling(self, asked, batch_size=16):
        written.append(len(asked))
        if len(written) == 2:
            raise KeyboardInterrupt
        return work(self, asked, batch_size)

    monkeypatch.setattr(Responder, "respond", stumbling)
    with pytest.raises(KeyboardInterrupt):
        respond_rows(tmp_path / "again.jsonl", *command)
    assert not (tmp_path / "again.jsonl").exists()
    assert respond_rows(tmp_path / "again.jsonl", *command) == whole
    assert sum(written) == len(whole) + written[1]  # the first window was not written anew
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.jsonl", "one.jsonl", "whole.jsonl"]


def test_respond_with_what_comes_next(fitted, tmp_path):
    rows = [
        {
            "id": "x",
            "turns": [{"speaker": "seeker", "text": "I feel alone."}, {"speaker": "supporter", "text": "Why?"}],
        },
        {"id": "y", "turns": [{"speaker": "seeker", "text": " "}, {"speaker": "seeker", "text": "Hello"}]},
        {"id": "z", "turns": []},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = respond_rows(
        tmp_path / "out.jsonl", tmp_path / "in.jsonl", "--checkpoint", fitted.folder, "--turns", "next"
    )
    assert [row["id"] for row in found] == ["x:2", "y:2"]


def test_the_gold_turn_is_never_seen(fitted, tmp_path):
    outs = []
    for number, text in enumerate(("Why?", "Completely different words here.")):
        turns = [{"speaker": "seeker", "text": "I feel alone."}, {"speaker": "supporter", "text": text}]
        (tmp_path / "in.jsonl").write_text(json.dumps({"id": "x", "turns": turns}))
        outs.append(
            respond_rows(
                tmp_path / f"out{number}.jsonl",
                tmp_path / "in.jsonl",
                "--checkpoint",
                fitted.folder,
                "--policy",
                "model",
            )
        )
    assert outs[0] == outs[1]


def test_misuse_is_named(fitted, plain, classifier, esconv, tmp_path, place):
    def message(*argv):
        with pytest.raises(UserError) as caught:
            respond([str(word) for word in (*argv, "--output", tmp_path / "o.jsonl")])
        return str(caught.value)

    assert "needs classifier" in message(esconv, "--checkpoint", fitted.folder, "--policy", "classifier")
    assert "uses no classifier" in message(esconv, "--checkpoint", fitted.folder, "--classifier", classifier)
    assert "without tags" in message(esconv, "--checkpoint", plain.folder, "--policy", "random")
    assert "is no responder" in message(esconv, "--checkpoint", classifier)
    assert "is no strategy classifier" in message(
        esconv, "--checkpoint", fitted.folder, "--policy", "classifier", "--classifier", fitted.folder
    )
    spaces = run("test", "--ckpt_path", fitted.folder, "--data.label_space", "strategies", "--run_name", "wrong")
    assert spaces.status == 2
    assert "--data.label_space" in spaces.err
    multi = run("fit", "--config", place / "responder.yaml", "--data.overlap", "multi")
    assert "a response has one tag" in multi.err


def test_table_of_runs(fitted, plain, capsys):
    assert table([str(fitted.folder), str(plain.folder)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    by_run = {(line[1], line[2]): line for line in lines if line[:1] == ["esconv"]}
    assert by_run["yes", "none"][-3] == ".293"
    assert by_run["yes", "random"][-3] == ".271"
    assert by_run["no", "none"][-3] == ".226"
    assert by_run["yes", "oracle"][-3] == "-"
    with pytest.raises(UserError, match="no tested run"):
        table([str(fitted.folder.parent)])


def test_the_small_models_tokenizer_comes_with_the_checkpoint(fitted, place):
    """Tested on other dialogues, which would train another tokenizer."""
    other = write_esconv(place / "Other.json", 9, seed=5)
    ran = succeed("test", "--ckpt_path", fitted.folder, "--data.esconv", other, "--run_name", "elsewhere")
    assert scores(ran.folder)["test/perplexity"]["value"] < 300
    items, responder = esconv_items(9, 5), Responder.load(fitted.folder, NoPolicy())
    lines = [json.loads(line) for line in (ran.folder / "predictions.jsonl").read_text().splitlines()]
    written = [line for line in lines if line["responses"]]
    assert written
    for line in written:
        dialogue, turn = map(int, line["id"].split(":"))
        turns = [Turn(entry["speaker"], entry["content"]) for entry in items[dialogue]["dialog"][:turn]]
        (found,) = responder.respond([TurnAsked(f"esconv::{line['id']}", turns)])
        assert found.response == line["responses"]["none"]


@pytest.fixture(scope="module")
def base(place):
    return build_gpt2(place / "base", (entry["content"] for item in esconv_items(24) for entry in item["dialog"]))


@pytest.mark.parametrize("weights", ["full", "8bit", "4bit"])
def test_adapters_on_a_pretrained_model(place, base, esconv, weights):
    """LoRA trains, its checkpoint holds no base weights, and a loaded responder writes what the run wrote."""
    config = responder_config(
        place / f"lora-{weights}.yaml",
        esconv,
        model={
            "small": None,
            "language_model": str(base),
            "weights": weights,
            "lora": {"rank": 2, "dropout": 0.0},
            "policies": [{"class_path": "inference.policies.ModelPolicy"}],
            "written_rows": 4,
        },
        trainer={"max_epochs": 1},
    )
    ran = succeed("fit", "--config", config)
    state = torch.load(ran.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all("lora_" in name or "trainable_tokens" in name or name.startswith("network.") for name in state)
    assert not any("c_fc" in name and "lora" not in name for name in state)
    responder = Responder.load(ran.folder, build_policy("model"))
    items = esconv_items(24)
    lines = [json.loads(line) for line in (ran.folder / "predictions.jsonl").read_text().splitlines()]
    for line in (line for line in lines if line["responses"]):
        dialogue, turn = map(int, line["id"].split(":"))
        turns = [Turn(entry["speaker"], entry["content"]) for entry in items[dialogue]["dialog"][:turn]]
        (found,) = responder.respond([TurnAsked(f"esconv::{line['id']}", turns)])
        assert found.strategy == line["strategies"]["model"]
        if weights != "4bit":  # whose kernel rounds by the number of rows
            assert found.response == line["responses"]["model"]


def test_the_pretrained_model_is_scored_without_training(place, base, esconv):
    plain = {"small": None, "language_model": str(base), "tagged": False, "written_rows": 4}
    policies = [{"class_path": "inference.policies.NoPolicy"}]
    config = responder_config(place / "untrained.yaml", esconv, model={**plain, "policies": policies})
    ran = succeed("test", "--config", config)
    assert scores(ran.folder)["test/none/bleu"]["n"] == 4
    rows = [line.split() for line in succeed("responders", ran.folder).out.splitlines()]
    assert [line[0] for line in rows if ".073" in line] == ["(untrained)"]
    quantised = run("fit", "--config", config, "--model.weights", "4bit")
    assert "quantised weights of a pretrained model don't train; add --model.lora" in quantised.err


def described(sources, *, tagged=True, checkpoint="last", space="categories", others="Others"):
    """What a responder's run says of its training."""
    scheme = {name: list(parts) for name, parts in load_scheme().categories.items()}
    scheme[others] = scheme.pop("Others")
    return Trained.of(
        {"model": {"init_args": {"tagged": tagged}}},
        {"options": {"label_space": space, "scheme": scheme}, "splits": {"train": {"sources": dict.fromkeys(sources)}}},
        {"test/perplexity": {"protocol": {"checkpoint": checkpoint}}},
    )


@pytest.mark.parametrize(
    ("trained", "corpus", "published"),
    [
        (described(["esconv"]), "esconv", 0.313),
        (described(["esconv", "reddit"]), "merged", 0.331),
        (described(["reddit"]), "reddit", None),
        (described(["clinical"]), "clinical", None),
        (described(["esconv", "synthetic/gpt"]), "esconv+synthetic", None),
        (described(["esconv"], space="strategies"), "esconv", None),
        (described(["esconv"], others="Rest"), "esconv", None),
        (described(["esconv"], checkpoint=None), "(untrained)", None),
    ],
    ids=lambda value: str(value),
)
def test_study_b_stands_beside_its_own_variants_alone(trained, corpus, published):
    assert (trained.corpus, trained.published("classifier")) == (corpus, published)
    untrained = described(["esconv"], tagged=False, checkpoint=None)
    assert untrained.published("none") == 0.073
    assert described(["esconv"], tagged=False).published("none") == 0.226


def test_a_trained_responder_without_checkpoints_is_no_untrained_one(config, tmp_path):
    ran = succeed(
        "fit", "--config", config, "--runs", tmp_path, "--trainer.max_steps", 1, "--keep_checkpoints", "false"
    )
    rows = [line.split() for line in succeed("responders", ran.folder).out.splitlines()]
    assert {line[0] for line in rows if line[-1] == ran.folder.name} == {"esconv"}


def test_bert_score_by_an_encoder(config, encoder, fitted):
    embed = token_embedder(encoder)
    assert embed("What happened?").shape[1] == 16
    assert embed("").shape == (0, 16)
    ran = succeed("test", "--ckpt_path", fitted.folder, "--run_name", "bert", "--model.bert_score", encoder)
    entry = scores(ran.folder)["test/none/bert_score"]
    assert 0 < entry["value"] < 100
    assert entry["protocol"]["metric_variant"].startswith(f"bertscore f1, {encoder}, last layer, no idf")
    assert "bert_score" in ran.out
    assert "bert_score" not in fitted.out


def test_a_responder_that_learnt_no_tags_cannot_choose(config, esconv, tmp_path):
    options = ("--config", config, "--model.tag_in_loss", "false", "--trainer.max_steps", "1")
    refused = run("fit", *options, "--run_name", "cannot")
    assert (refused.status, refused.err.count("can't choose")) == (2, 1)
    policy = "[{class_path: inference.policies.RandomPolicy}]"
    folder = succeed("fit", *options, "--run_name", "untagged-loss", "--model.policies", policy).folder
    refused = run("respond", esconv, "--checkpoint", folder, "--policy", "model", "--output", tmp_path / "o.jsonl")
    assert (refused.status, refused.err.count("can't choose")) == (2, 1)
    assert Talker(folder).policies == ["none", "random", "random_prior"]  # `serve` does without the policy


def test_8_bit_adamw_trains_the_responder(config):
    succeed(
        "fit", "--config", config, "--run_name", "8bit", "--model.policies", "null",
        "--model.optimisation.optimiser", "adamw_8bit", "--trainer.max_steps", "2",
    )  # fmt: skip


def test_respond_that_is_killed_goes_on(fitted, tmp_path):
    """SIGKILL while it writes; the second call keeps what was written and ends with the same bytes."""
    many = write_esconv(tmp_path / "many.json", 150)
    command = ("respond", many, "--checkpoint", fitted.folder, "--policy", "model", "--output")
    succeed(*command, tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    output, part = tmp_path / "cut.jsonl", tmp_path / "cut.jsonl.part"
    killed = start_apart(tmp_path, *command, output)
    while not (part.is_file() and part.read_bytes().count(b"\n") >= 64) and killed.process.is_alive():
        time.sleep(0.002)
    killed.kill()
    assert killed.wait().status == -signal.SIGKILL
    assert not output.exists()
    written = part.read_bytes()
    assert whole.startswith(written[: written.rfind(b"\n") + 1])
    ran = succeed(*command, output)
    assert output.read_bytes() == whole
    first = int(ran.err.split("written ")[1].split(" of")[0])
    assert first > 64  # what was there is not written anew
    assert not part.exists()


def test_draws_follow_the_probabilities():
    probabilities = {"A": 0.5, "B": 0.2, "C": 0.0, "D": 0.3}
    drawn = Counter(draw(probabilities, 0, str(key)) for key in range(4000))
    assert drawn["C"] == 0
    for label, share in probabilities.items():
        assert drawn[label] / 4000 == pytest.approx(share, abs=4.5 * (share * (1 - share) / 4000) ** 0.5 + 1e-9)
    assert [draw(probabilities, 1, str(key)) for key in range(20)] != [
        draw(probabilities, 0, str(key)) for key in range(20)
    ]
    assert draw({"A": 0.0, "B": 1e-30}, 0, "x") == "B"


def test_random_policies_draw_uniformly_or_by_the_training_prior():
    model = build_small(SmallModel(layers=1, width=8, heads=1, window=16), 300, 0)
    network = ResponderNetwork(ResponderSpec(["A", "B"], "categories", [5, 6], ""), model)
    network.label_counts.copy_(torch.tensor([30.0, 10.0]))
    form = ResponderFormat(TurnEncoder(train_tokenizer(["a"], 300)), 0, {"A": 5, "B": 6}, 32, 8)
    contexts = [TurnContext(str(key), [], []) for key in range(4000)]
    for by_prior, share in ((False, 0.5), (True, 0.75)):
        policy = RandomPolicy(by_prior=by_prior)
        policy.attach(network, form)
        chosen = policy.choose(contexts)
        assert Counter(choice.label for choice in chosen)["A"] / 4000 == pytest.approx(share, abs=0.035)
        assert chosen[0].probabilities == {"A": share, "B": 1 - share}
        assert policy.choose(contexts[7:8]) == chosen[7:8]


def test_classifier_policies(fitted, classifier):
    responder = Responder.load(fitted.folder, ClassifierPolicy(str(classifier)))
    asked = [TurnAsked(str(key), [Turn("seeker", "I feel so alone.")]) for key in range(300)]
    contexts = [TurnContext(turn.key, turn.turns, []) for turn in asked]
    best = responder.policy.choose(contexts[:2])
    assert best[0].label == max(best[0].probabilities, key=best[0].probabilities.get)
    sampled = ClassifierPolicy(str(classifier), sampled=True)
    sampled.attach(responder.network, responder.format)
    chosen = Counter(choice.label for choice in sampled.choose(contexts))
    for label, share in best[0].probabilities.items():
        assert chosen[label] / 300 == pytest.approx(share, abs=4.5 * (share * (1 - share) / 300) ** 0.5 + 1e-9)


def test_a_classifier_of_another_label_space_is_refused(classifier):
    model = build_small(SmallModel(layers=1, width=8, heads=1, window=16), 300, 0)
    network = ResponderNetwork(ResponderSpec(["Question", "Others"], "strategies", [5, 6], ""), model)
    form = ResponderFormat(TurnEncoder(train_tokenizer(["a"], 300)), 0, {"Question": 5, "Others": 6}, 32, 8)
    with pytest.raises(UserError, match=r"the classifier knows categories .* the responder strategies"):
        ClassifierPolicy(str(classifier)).attach(network, form)


@pytest.mark.parametrize(
    "options",
    [{"no_repeat_ngram": 1}, {"no_repeat_ngram": 2}, {"repetition_penalty": 3.0}, {"no_repeat_ngram": 2, "beams": 3}],
    ids=str,
)
def test_padding_is_no_text_that_could_be_repeated(options):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=12, n_embd=16, n_layer=1, n_head=2, n_positions=64)).eval()
    prompts = [np.array(ids, dtype=np.int32) for ids in ([7], [3, 4, 0], [5, 6, 7, 8, 9, 5, 0], [2, 2, 2])]
    keys = [str(len(prompt)) for prompt in prompts]
    for sample in (False,) if "beams" in options else (False, True):
        decoding = Decoding(sample=sample, top_p=1.0, **options)
        together = generate(model, prompts, keys, decoding, end_id=0, max_new_tokens=8)
        alone = [
            generate(model, [prompt], [key], decoding, end_id=0, max_new_tokens=8)[0]
            for prompt, key in zip(prompts, keys, strict=True)
        ]
        assert together == alone


def test_decoding_options_are_checked():
    for options in ({"temperature": 0}, {"top_p": 0}, {"beams": 2}, {"top_k": -1}, {"repetition_penalty": 0}):
        with pytest.raises(UserError, match="decoding"):
            Decoding(**options)


def test_a_stream_of_another_job_begins_anew(tmp_path):
    output = tmp_path / "o.jsonl"
    (tmp_path / "o.jsonl.part").write_text('{"n": 99}\n')
    (tmp_path / "o.jsonl.part.json").write_text(json.dumps({"job": 1}))

    def work(rows):
        return [{"n": row} for row in rows]

    write_stream(iter(range(3)), work, output, total=3, window=1, same={"job": 2}, verb="done")
    assert [json.loads(line)["n"] for line in output.read_text().splitlines()] == [0, 1, 2]
