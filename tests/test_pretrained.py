"""From a model's name to its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import pretrained
from errors import UserError

SMALL = "sentence-transformers/all-MiniLM-L6-v2"


def test_a_folder_is_loaded_in_training_mode_and_full_precision(encoder: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder, tmp_path / "half"))
    weights = load_file(folder / "model.safetensors")
    save_file({name: value.half() for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    model = pretrained.load_encoder(str(folder))
    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert getattr(model, "pooler", None) is None
    assert pretrained.load_tokenizer(str(folder)).is_fast


def test_the_verified_package_holds_the_small_encoder() -> None:
    """The package's weights have the SHA-256 that the code demands; the model answers for real text."""
    place, tried = pretrained.locate(SMALL)
    assert Path(place, "model.safetensors").is_file()
    assert tried == [f"no folder '{SMALL}'"]
    model, tokenizer = pretrained.load_encoder(SMALL).eval(), pretrained.load_tokenizer(SMALL)
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (384, 6)

    def embed(text: str) -> torch.Tensor:
        tokens = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            return torch.nn.functional.normalize(model(**tokens).last_hidden_state.mean(dim=1)[0], dim=0)

    near = embed("I feel so lonely") @ embed("Nobody is there for me")
    far = embed("I feel so lonely") @ embed("The train leaves at nine")
    assert near > far + 0.2


def test_a_tampered_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module, package, _ = pretrained.PACKAGED[SMALL]
    monkeypatch.setitem(pretrained.PACKAGED, SMALL, (module, package, "0" * 64))
    with pytest.raises(UserError, match=r"model\.safetensors is missing or its SHA-256 is not 0000"):
        pretrained.locate(SMALL)


def test_failure_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        pretrained.load_encoder("no-such/model")
    message = str(caught.value)
    assert "no folder 'no-such/model'" in message
    assert "the hub or its cache" in message
    assert "Offline: copy the model's folder here" in message
    monkeypatch.setitem(pretrained.PACKAGED, SMALL, ("no_such_module", "a-package", "0"))
    assert "the package a-package is not installed (extra 'quickstart')" in pretrained.locate(SMALL)[1]
    with pytest.raises(UserError, match=r"has no config\.json"):
        pretrained.load_encoder(str(tmp_path))


def test_an_encoder_is_rebuilt_from_its_configuration_alone(encoder: str) -> None:
    loaded = pretrained.load_encoder(encoder)
    built = pretrained.build_encoder(loaded.config.to_dict())
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in loaded.state_dict().items()}
    built.load_state_dict(loaded.state_dict())
    ids = torch.tensor([[0, 30, 31, 2]])
    assert torch.equal(built.eval()(ids).last_hidden_state, loaded.eval()(ids).last_hidden_state)
