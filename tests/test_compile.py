"""Models that `torch.compile` compiled say what they say without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import config, scores, succeed
from tiny_dialogues import responder_config, strategy_config, write_esconv

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task", ["empathy", "strategy", "responder"])
def test_a_compiled_run_is_tested_the_same_without_compiling(
    task: str, encoder: str, reddit: Path, tmp_path: Path
) -> None:
    esconv = write_esconv(tmp_path / "ESConv.json", 12)
    file = tmp_path / "tiny.yaml"
    if task == "empathy":
        config(file, encoder, data={"reddit": str(reddit)})
    elif task == "strategy":
        strategy_config(file, encoder, esconv)
    else:
        responder_config(file, esconv, model={"policies": [{"class_path": "inference.policies.ModelPolicy"}]})
    compiled = succeed("fit", "--config", file, "--trainer.max_steps", "2", "--model.compile", "true")
    plain = succeed("test", "--ckpt_path", compiled.folder, "--model.compile", "false", "--run_name", "plain")
    one, other = scores(compiled.folder), scores(plain.folder)
    assert set(one) == set(other)
    exact = {key: score["value"] for key, score in one.items() if "perplexity" in key or "log_loss" in key}
    exact |= {key: score["value"] for key, score in one.items() if task == "empathy" and key.endswith("_accuracy")}
    assert exact
    for key, value in exact.items():
        assert other[key]["value"] == pytest.approx(value, rel=1e-3), key
