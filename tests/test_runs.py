"""A run leaves one folder with everything in it, and whatever is asked of the run later is answered from there."""

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from running import ROOT, Ran, config, curve, lines, run, same_weights, scores, succeed
from tiny import save_tiny_encoder
from tracked import wandb_records
from transformers import AutoConfig, AutoModel

from datamodules.records import MECHANISMS
from lightning_modules.checkpoints import load_network, read_checkpoint
from lightning_modules.empathy import EmpathyModule
from training.run_folder import claim_folder

RECORD = {
    "config.yaml", "manifest.json", "metrics.json", "metrics.csv", "predictions.jsonl", "environment.json",
    "predictions.html", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
}  # fmt: skip


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files(folder)}


def test_a_fit_leaves_one_folder_with_everything(trained: Ran) -> None:
    folder = trained.folder
    assert folder.name == "tiny-1"
    assert files(folder) == RECORD
    base = folder.parent.parent
    assert files(base) == {"tiny.yaml", *(f"runs/tiny-1/{name}" for name in RECORD)}


def test_scores_name_their_protocol(trained: Ran) -> None:
    found = scores(trained.folder)
    split = json.loads((trained.folder / "manifest.json").read_text())["split_hash"]
    for key, score in found.items():
        assert key.startswith("test/")
        assert set(score) == {"value", "low", "high", "n", "protocol"}
        assert score["protocol"] == {
            "split_hash": split,
            "metric_variant": "levels over the whole split; rationales over words of the whole response",
            "seed": 12,
            "checkpoint": "best",
        }
    for mechanism in MECHANISMS:
        for what in ("level_accuracy", "level_f1_macro", "level_f1_weighted", "level_kappa_quadratic"):
            assert found[f"test/{mechanism}/{what}"]["n"] == 16
            assert f"test/{mechanism}/{what}_majority" in found
        for what in ("rationale_f1", "rationale_iou_f1", "rationale_f1_published", "rationale_iou_f1_published"):
            assert f"test/{mechanism}/{what}_everything" in found
    assert len(split) == 12


def test_scores_are_those_of_the_predictions(trained: Ran) -> None:
    rows = lines(trained.folder / "predictions.jsonl")
    assert {row["split"] for row in rows} == {"test"}
    for mechanism in MECHANISMS:
        right = [row["levels"][mechanism] == row["gold"]["levels"][mechanism] for row in rows]
        assert scores(trained.folder)[f"test/{mechanism}/level_accuracy"]["value"] == pytest.approx(sum(right) / 16)
        for row in rows:
            assert sum(row["probabilities"][mechanism]) == pytest.approx(1, abs=3e-6)
            assert all(0 <= start < end <= len(row["response_post"]) for start, end in row["rationales"][mechanism])


def test_the_table_shows_scores_intervals_and_baselines_and_the_folder_stands_last(trained: Ran) -> None:
    *table, _, folder = trained.out.splitlines()
    assert Path(folder).is_dir()
    found = scores(trained.folder)
    for place, mechanism in enumerate(MECHANISMS):
        values, intervals, trivial = (line.split() for line in table[1 + 3 * place : 4 + 3 * place])
        key = f"test/{mechanism}/level_accuracy"
        assert values[:2] == [mechanism, f"{found[key]['value']:.3f}".removeprefix("0")]
        assert intervals[:6] == [
            "95", "%", "interval",
            f"{found[key]['low']:.3f}".removeprefix("0"), "to", f"{found[key]['high']:.3f}".removeprefix("0"),
        ]  # fmt: skip
        assert trivial[2] == f"{found[f'{key}_majority']['value']:.3f}".removeprefix("0")
        assert trivial[-1] == f"{found[f'test/{mechanism}/rationale_iou_f1_everything']['value']:.3f}".removeprefix("0")
    assert "Traceback" not in trained.err
    assert "Warning" not in trained.err


def test_the_curve_has_the_training_loss_and_every_validation(trained: Ran) -> None:
    rows = curve(trained.folder)
    assert [(row["step"], row["epoch"]) for row in rows if row["train/loss"]] == [("9", "1")]
    assert [row["step"] for row in rows if row["validation/loss"]] == ["7", "15"]
    best = max(float(row["validation/level_f1_macro"]) for row in rows if row["validation/level_f1_macro"])
    state = torch.load(trained.folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    kept = [value["best_model_score"] for name, value in state.items() if "validation/level_f1_macro" in name]
    assert [float(score) for score in kept] == pytest.approx([best])


def test_names_count_up_and_a_run_is_never_overwritten(trained: Ran, tmp_path: Path) -> None:
    file = shutil.copy(trained.folder.parent.parent / "tiny.yaml", tmp_path / "other.yaml")
    options = ["--config", file, "--runs", tmp_path / "runs", "--trainer.max_steps", 1]
    assert [succeed("fit", *options).folder.name for _ in range(2)] == ["other-1", "other-2"]
    named = succeed("fit", *options, "--run_name", "mine").folder
    before = digests(named)
    again = run("fit", *options, "--run_name", "mine")
    assert again.status == 2
    assert again.err.startswith(f"error: --run_name mine: {named} exists and is not overwritten")
    assert digests(named) == before


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: claim_folder(tmp_path, None, "grid"), range(40)))
    assert sorted(path.name for path in found) == sorted(f"grid-{number}" for number in range(1, 41))


def test_a_command_that_fails_at_once_leaves_no_folder(tmp_path: Path, reddit: Path) -> None:
    file = config(tmp_path / "bad.yaml", "no-such-encoder", data={"reddit": str(reddit)})
    ran = run("fit", "--config", file)
    assert ran.status == 2
    assert ran.err.startswith("error: model 'no-such-encoder' can't be loaded. Tried: no folder 'no-such-encoder'; ")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_runs_configuration_runs_again_to_the_same_numbers(trained: Ran, tmp_path: Path) -> None:
    again = succeed("fit", "--config", trained.folder / "config.yaml", "--runs", tmp_path).folder
    assert again.name == "tiny-1"
    assert again.parent == tmp_path
    for name in ("best.ckpt", "last.ckpt"):
        assert same_weights(again / "checkpoints" / name, trained.folder / "checkpoints" / name)
    assert scores(again) == scores(trained.folder)
    assert curve(again) == curve(trained.folder)
    assert lines(again / "predictions.jsonl") == lines(trained.folder / "predictions.jsonl")


def test_a_named_runs_configuration_runs_again_under_another_name(trained: Ran, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--trainer.max_steps", 1]
    first = succeed("fit", "--config", trained.folder / "config.yaml", *options, "--run_name", "named").folder
    again = succeed("fit", "--config", first / "config.yaml").folder
    assert (first.name, again.name) == ("named", "named-1")
    assert same_weights(first / "checkpoints" / "last.ckpt", again / "checkpoints" / "last.ckpt")


def test_other_test_rows_than_those_held_out_are_told(trained: Ran, tmp_path: Path) -> None:
    command = ["test", "--ckpt_path", trained.folder, "--runs", tmp_path]
    assert "trained it" not in succeed(*command).err
    told = succeed(*command, "--data.split.seed", 99).err
    assert f"note: these test rows aren't those that {trained.folder} held out, and reddit rows trained it" in told


def test_test_and_validate_need_the_run_alone(trained: Ran, tmp_path: Path) -> None:
    before = digests(trained.folder)
    tested = succeed("test", "--ckpt_path", trained.folder, "--runs", tmp_path)
    kept = str(trained.folder / "checkpoints" / "best.ckpt")
    expected = scores(trained.folder)
    for score in expected.values():
        score["protocol"]["checkpoint"] = kept
    assert scores(tested.folder) == expected
    assert tested.out.splitlines()[:-1] == trained.out.splitlines()[:-1]
    assert lines(tested.folder / "predictions.jsonl") == lines(trained.folder / "predictions.jsonl")
    validated = succeed("validate", f"--ckpt_path={trained.folder}", "--runs", tmp_path)
    best = max(float(row["validation/level_f1_macro"] or 0) for row in curve(trained.folder))
    assert scores(validated.folder)["validation/level_f1_macro"]["value"] == pytest.approx(best)
    assert scores(validated.folder)["validation/explorations/level_accuracy"]["n"] == 4
    assert digests(trained.folder) == before
    assert [tested.folder.name, validated.folder.name] == ["tiny-1", "tiny-2"]


def test_predict_adds_every_split_to_the_run_and_changes_nothing_else(trained: Ran, tmp_path: Path) -> None:
    own = shutil.copytree(trained.folder, tmp_path / "runs" / "own")
    before = digests(own)
    ran = succeed("predict", "--ckpt_path", own)
    assert ran.folder == own
    after = digests(own)
    assert {name for name in after if after[name] != before.get(name)} == {"predictions.jsonl", "predictions.html"}
    assert after.keys() == before.keys()
    rows = lines(own / "predictions.jsonl")
    assert [row["id"] for row in rows] == [f"s{number:04d}_r{number:04d}" for number in range(80)]
    tested = [row for row in rows if row["split"] == "test"]
    assert tested == lines(trained.folder / "predictions.jsonl")
    assert sum(row["split"] == "validation" for row in rows) == 4


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_an_untrained_model_is_not_scored(trained: Ran, command: str) -> None:
    ran = run(command, "--config", trained.folder / "config.yaml")
    assert (ran.status, ran.err) == (2, f"error: {command} is for a trained model; name its run: --ckpt_path RUN\n")


def test_a_checkpoint_of_another_network_is_refused(trained: Ran, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--ckpt_path", trained.folder]
    ran = run("test", "--config", trained.folder / "config.yaml", *options, "--model.seeker_encoder", "none")
    assert ran.status == 2
    assert "error: --ckpt_path: the checkpoint is of another network than the configured one" in ran.err


def test_without_test_rows_the_last_line_is_the_folder_all_the_same(trained: Ran, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--trainer.max_steps", 1, "--data.split.test", 0, "--data.split.validation", 0]
    ran = succeed("fit", "--config", trained.folder / "config.yaml", *options)
    assert ran.out == f"{tmp_path / 'tiny-1'}\n"
    assert files(ran.folder) == {"config.yaml", "manifest.json", "environment.json", "checkpoints/last.ckpt"}


def test_without_validation_rows_the_last_checkpoint_is_tested(trained: Ran, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--trainer.max_steps", 1, "--data.split.validation", 0]
    folder = succeed("fit", "--config", trained.folder / "config.yaml", *options).folder
    assert not (folder / "checkpoints" / "best.ckpt").exists()
    assert {score["protocol"]["checkpoint"] for score in scores(folder).values()} == {"last"}


def test_the_last_checkpoint_is_tested_where_the_protocol_says_so(trained: Ran, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--test_checkpoint", "last"]
    folder = succeed("fit", "--config", trained.folder / "config.yaml", *options).folder
    assert files(folder) == RECORD - {"checkpoints/best.ckpt"}
    assert same_weights(folder / "checkpoints" / "last.ckpt", trained.folder / "checkpoints" / "last.ckpt")
    assert scores(folder)["test/level_accuracy"]["protocol"]["checkpoint"] == "last"


def test_a_run_starts_from_the_weights_of_another(trained: Ran, encoder: str) -> None:
    source = load_network(read_checkpoint(trained.folder / "checkpoints" / "best.ckpt"))
    module = EmpathyModule(encoder, ["explorations", "emotional_reactions"], init_from=str(trained.folder))
    mine = module.network
    for name in ("response", "seeker", "attention"):
        theirs = getattr(source, name).state_dict()
        assert all(torch.equal(values, theirs[key]) for key, values in getattr(mine, name).state_dict().items())
    for heads in ("level_heads", "rationale_heads"):
        for place, there in ((0, 2), (1, 0)):
            theirs = getattr(source, heads)[there].state_dict()
            ours = getattr(mine, heads)[place].state_dict()
            assert all(torch.equal(values, theirs[key]) for key, values in ours.items())
    fresh = EmpathyModule(encoder).network.response.state_dict()
    assert any(not torch.equal(values, fresh[key]) for key, values in mine.response.state_dict().items())


def test_a_warm_start_is_a_run_of_its_own(trained: Ran, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--model.init_from", trained.folder, "--trainer.max_steps", 1]
    options = (*options, "--model.optimisation.warmup", 0.5)
    folder = succeed("fit", "--config", trained.folder / "config.yaml", *options).folder
    # the first step of a warm-up has the rate 0
    assert same_weights(folder / "checkpoints" / "last.ckpt", trained.folder / "checkpoints" / "best.ckpt")
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 1


def test_a_warm_start_from_another_encoder_is_refused(trained: Ran, tmp_path: Path) -> None:
    deeper = AutoConfig.from_pretrained(save_tiny_encoder(tmp_path / "deep"))
    deeper.num_hidden_layers += 1
    AutoModel.from_config(deeper).save_pretrained(tmp_path / "deep")
    options = ["--runs", tmp_path / "runs", "--model.init_from", trained.folder, "--model.encoder", tmp_path / "deep"]
    ran = run("fit", "--config", trained.folder / "config.yaml", *options)
    assert ran.status == 2
    start = f"error: --model.init_from {trained.folder}/checkpoints/best.ckpt"
    assert ran.err.startswith(f"{start}: its encoder is another")


def test_tensorboard_has_the_curve(trained: Ran, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ["--runs", tmp_path, "--logger", "tensorboard"]
    folder = succeed("fit", "--config", trained.folder / "config.yaml", *options).folder
    assert curve(folder) == curve(trained.folder)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("validation/loss")]
    expected = [(int(row["step"]), float(row["validation/loss"])) for row in curve(folder) if row["validation/loss"]]
    assert logged == [(step, pytest.approx(value)) for step, value in expected]
    assert len(logged) == 2


def test_wandb_gets_the_configuration_under_one_key_and_nothing_of_the_machine(trained: Ran, tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--logger", "wandb", "--project", "mine"]
    folder = succeed("fit", "--config", trained.folder / "config.yaml", *options).folder
    assert curve(folder) == curve(trained.folder)
    records = wandb_records(folder)
    settings = {}
    for record in records:
        for update in [*record.run.config.update, *record.config.update]:
            settings[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
    ours = {key: value for key, value in settings.items() if key != "_wandb"}
    assert ours.keys() == {"attune"}
    assert ours["attune"]["config"]["data"]["init_args"]["max_tokens"] == 48
    assert ours["attune"]["config"]["seed_everything"] == 12
    assert "torch" in ours["attune"]["environment"]["packages"]
    assert ours["attune"]["manifest"] == json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (started,) = [record.run for record in records if record.HasField("run")]
    assert (started.project, started.display_name, started.host) == ("mine", "tiny-1", "")
    assert not started.git.commit
    kinds = {record.WhichOneof("record_type") for record in records}
    assert "output_raw" not in kinds
    assert "output" not in kinds
    logged = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    values = [row["validation/loss"] for row in logged if "validation/loss" in row]
    assert values == pytest.approx([float(row["validation/loss"]) for row in curve(folder) if row["validation/loss"]])
    names = {path.name for path in (folder / "wandb").rglob("*") if path.is_file()}
    assert not names & {"requirements.txt", "wandb-metadata.json", "output.log", "conda-environment.yaml", "diff.patch"}


def test_a_second_run_with_a_tracker_has_its_own_files(trained: Ran, tmp_path: Path) -> None:
    options = ["--config", trained.folder / "config.yaml", "--runs", tmp_path, "--logger", "tensorboard"]
    first = succeed("fit", *options, "--trainer.max_steps", 1).folder
    before = digests(first)
    second = succeed("fit", *options, "--trainer.max_steps", 1).folder
    assert digests(first) == before
    assert list(second.glob("tensorboard/events*"))


def test_nothing_of_a_run_lands_in_the_project(trained: Ran) -> None:
    assert not (ROOT / "runs" / trained.folder.name).exists()
    assert not list(ROOT.glob("lightning_logs"))


def test_a_failed_run_is_closed_for_the_tracker_too(trained: Ran, tmp_path: Path) -> None:
    options = ["--config", trained.folder / "config.yaml", "--runs", tmp_path, "--logger", "wandb"]
    failed = run("fit", *options, "--monitor", "validation/nothing")
    assert failed.status == 2
    assert "could not find the monitored key" in failed.err
    good = succeed("fit", *options, "--trainer.max_steps", 1)
    exits = [
        [record.exit.exit_code for record in wandb_records(folder) if record.HasField("exit")]
        for folder in (tmp_path / "tiny-1", good.folder)
    ]
    assert exits == [[1], [0]]
