import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_language_model

from errors import UserError
from synthesis.command import build_parser, main
from synthesis.push import push
from synthesis.store import Store

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs" / "synthesis").glob("*.yaml"))


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_there_are_configs():
    assert len(CONFIGS) >= 4


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_fits_the_options_names_its_prompts_and_says_how_to_launch_it(config):
    options = build_parser().parse_args(["--config", str(config), "--output", "x"])
    assert Path(options.prompts).is_file()
    head = config.read_text().split("engine:")[0]
    assert f"# Run:   python cli.py synthesize --config configs/synthesis/{config.name} --output runs/" in head
    assert "# Needs: " in head
    assert "# Result: " in head


def test_a_thousand_dialogues_in_under_twenty_seconds(tmp_path, capsys):
    start = time.process_time()
    assert main(["--config", "configs/synthesis/scripted.yaml", "--output", str(tmp_path)]) == 0
    assert time.process_time() - start < 20
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == 1000
    assert len({row["group"] for row in rows}) == 1000
    assert len({(row["seeker_post"], row["response_post"]) for row in rows}) > 990
    for method in ("standalone", "reflexion"):
        for mechanism in ("emotional_reactions", "interpretations", "explorations"):
            for level in range(3):
                cell = [r for r in rows if r["method"] == method and r["target"]["mechanism"] == mechanism]
                assert 55 <= sum(r["target"]["level"] == level for r in cell) <= 56
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(tmp_path / "rows.jsonl")
    assert "1000/1000" in printed.err
    assert "failed 11, tokens 2," in printed.err
    card = (tmp_path / "card.md").read_text()
    for part in ("Quotas met.", "| explorations/2/reflexion | 55 | 55 |", "## Known limits", "| passed | accepted |"):
        assert part in card


def test_the_strategy_config_runs_too(tmp_path):
    assert main(["--config", "configs/synthesis/scripted_strategy.yaml", "--output", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len({(row["target"]["strategy"], row["target"]["problem"]) for row in rows}) == 96
    for row in rows:
        assert [turn["speaker"] for turn in row["turns"]] == ["seeker", "supporter"] * 3
        assert all(("strategy" in turn) == (turn["speaker"] == "supporter") for turn in row["turns"])
        assert row["turns"][-1]["strategy"] == row["target"]["strategy"]


def test_the_config_of_models_in_this_process_runs(tmp_path):
    model = str(tiny_language_model.build_babbler(tmp_path / "babbler"))
    options = ["--engine.init_args.model", model, "--output", str(tmp_path / "out"), *tiny_language_model.BABBLING]
    assert main(["--config", "configs/synthesis/hf_nf4.yaml", *options]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row["target"]["level"] for row in rows] == [0, 1, 2]


def test_unmet_quotas_are_told_and_the_exit_status_is_1(tmp_path, capsys):
    options = ["--config", "configs/synthesis/scripted.yaml", "--output", str(tmp_path), "--targets.dialogues", "18"]
    assert main([*options, "--engine.init_args.hits", "0"]) == 1
    assert "unmet: explorations/2/reflexion: 1 of 1 missing, 4 failed" in capsys.readouterr().out


def test_what_the_user_mistyped(tmp_path, capsys):
    options = ["--config", "configs/synthesis/scripted.yaml", "--output", str(tmp_path)]
    with pytest.raises(UserError, match=r"targets\.levels is \[3\]"):
        main([*options, "--targets.levels", "[3]"])
    for wrong, message in ((["--nonsense", "1"], "nonsense"), (["--engine", "no.Engine"], "no.Engine")):
        with pytest.raises(SystemExit) as stop:
            main([*options, *wrong])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_model_library_is_loaded_for_help_or_the_script(tmp_path):
    code = (
        "import sys; from synthesis.command import main\n"
        "options = ['--config', 'configs/synthesis/scripted.yaml', '--targets.dialogues', '9']\n"
        f"main([*options, '--output', {str(tmp_path)!r}])\n"
        "print({'torch', 'transformers', 'openai', 'lightning', 'pyarrow', 'huggingface_hub'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_a_hub_that_cannot_be_reached(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with Store(tmp_path) as store:
        store.append({"kind": "run", "fixed": {}})
    with pytest.raises(UserError, match=r"push to me/mine: .*Nothing is lost"):
        push(tmp_path, "me/mine", public=False)
