"""The responder's network: a causal language model with a token for each strategy.

Legend: B rows, T tokens, K labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datamodules.batching import pad, token_mask
from datamodules.contexts import ResponderFormat
from datamodules.dialogue_batches import ResponderBatch
from errors import UserError
from lightning_modules.networks.causal_lm import TokenLosses, add_tags, logits_at, token_losses
from lightning_modules.networks.decoding import Decoding, generate
from pretrained import build_causal_lm, load_causal_lm

__all__ = ["Lora", "ResponderNetwork", "ResponderSpec", "SmallModel", "Weights", "build_small", "train_tokenizer"]

IntArray = npt.NDArray[np.int32]
Weights = Literal["full", "8bit", "4bit"]
"""How a pretrained model's weights are loaded: as they are, or quantised by bitsandbytes (with LoRA only)."""

END = "<|endoftext|>"
_PROMPTS = 8
"""Prompts whose logits are held at once."""


@dataclass
class SmallModel:
    """A GPT-2 built from its measures, with a tokenizer trained on the training split. Its text is not good.

    Args:
        layers: Transformer layers.
        width: Width of the states.
        heads: Attention heads.
        window: Positions.
        vocabulary: Tokens of the byte-level BPE at most, at least 257.
        dropout: Of states, embeddings and attention.
    """

    layers: int = 4
    width: int = 192
    heads: int = 4
    window: int = 512
    vocabulary: int = 4000
    dropout: float = 0.1


@dataclass
class Lora:
    """Low-rank adapters (Hu et al., ICLR 2022) by peft.

    Args:
        rank: Rank.
        alpha: Scale; the update is multiplied by alpha / rank.
        dropout: On the adapters' input.
        modules: Names of the layers that are adapted; null: peft's choice for the architecture.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    modules: list[str] | None = None


@dataclass(frozen=True)
class ResponderSpec:
    """Everything that rebuilds the network: a checkpoint holds it beside the weights.

    Args:
        labels: The K labels.
        label_space: `categories` or `strategies`.
        tag_ids: A token id for each label; empty: no tags.
        language_model: Name or folder of the pretrained model; empty for a small one.
        weights: How its weights are loaded.
        lora: `Lora`'s fields, or None where all weights train.
        config: `config.to_dict()` of the language model; empty with adapters, which need its files anyway.
        tag_in_loss: Whether it has learnt to predict tags.
    """

    labels: list[str]
    label_space: str
    tag_ids: list[int]
    language_model: str
    weights: Weights = "full"
    lora: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    tag_in_loss: bool = True

    def to_state(self) -> dict[str, Any]:
        """As plain values for a checkpoint."""
        return asdict(self)

    @property
    def whole(self) -> bool:
        """Whether a checkpoint holds all weights, not only those that train."""
        return self.lora is None


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> str:
    """Trains a byte-level BPE like GPT-2's.

    Args:
        texts: The training texts.
        vocabulary: Tokens at most.

    Returns:
        JSON of a `tokenizers.Tokenizer` whose token 0 ends a turn.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    description: str = tokenizer.to_str()
    return description


def build_small(measures: SmallModel, vocabulary: int, seed: int) -> Any:
    """A GPT-2 of random weights.

    Args:
        measures: Its size.
        vocabulary: Tokens.
        seed: Seed of the weights.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=measures.window,
        n_embd=measures.width,
        n_layer=measures.layers,
        n_head=measures.heads,
        resid_pdrop=measures.dropout,
        embd_pdrop=measures.dropout,
        attn_pdrop=measures.dropout,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


class ResponderNetwork(nn.Module):
    """The language model, its tags and what it reads.

    Args:
        spec: What it is.
        model: The Hugging Face model, with the tags' rows.
    """

    tag_ids: Tensor
    label_counts: Tensor

    def __init__(self, spec: ResponderSpec, model: Any) -> None:
        super().__init__()
        self.spec = spec
        self.model = _with_adapters(model, spec) if spec.lora is not None else model
        self.register_buffer("tag_ids", torch.tensor(spec.tag_ids, dtype=torch.int64))
        self.register_buffer("label_counts", torch.zeros(len(spec.labels)))

    @classmethod
    def rebuild(cls, state: dict[str, Any], weights: dict[str, Tensor]) -> ResponderNetwork:
        """From a checkpoint; needs files only where adapters sit on a pretrained model.

        Args:
            state: `ResponderSpec.to_state()`.
            weights: Name -> values, names as in `state_dict`.
        """
        spec = ResponderSpec(**state)
        network = cls.empty(spec)
        missing = network.load_state_dict(weights, strict=False).missing_keys
        trained = {name for name, values in network.named_parameters() if values.requires_grad or spec.whole}
        if lost := sorted(trained.intersection(missing) - {"model.lm_head.weight"}):
            raise UserError(f"the checkpoint lacks weights of the responder: {', '.join(lost[:3])}")
        return network.eval()

    @classmethod
    def empty(cls, spec: ResponderSpec) -> ResponderNetwork:
        """The network without its trained weights."""
        if spec.whole:
            return cls(spec, build_causal_lm(spec.config))
        model = load_causal_lm(spec.language_model, spec.weights)
        if spec.tag_ids:
            add_tags(model, [[0]] * len(spec.tag_ids))
        return cls(spec, model)

    @property
    def body(self) -> nn.Module:
        """The language model below its output layer: what can be compiled, as `logits_at` reaches between the two."""
        whole = self.model.get_base_model() if self.spec.lora is not None else self.model
        body: nn.Module = whole.base_model
        return body

    def losses(self, batch: ResponderBatch) -> TokenLosses:
        """Negative log-likelihoods of a batch's rows."""
        packed = batch["ids"], batch["positions"], batch["members"]
        return token_losses(self.model, *packed, batch["labels"], self.tag_ids, len(batch["rows"]))

    @torch.inference_mode()
    def tag_probabilities(self, prompts: Sequence[IntArray]) -> Tensor:
        """What the model itself would do next: float64 [B, K], over the tags alone.

        Args:
            prompts: Contexts without a tag.
        """
        parts = [self._after(prompts[first : first + _PROMPTS]) for first in range(0, len(prompts), _PROMPTS)]
        return torch.cat(parts)[:, self.tag_ids.cpu()].softmax(dim=-1)

    def _after(self, prompts: Sequence[IntArray]) -> Tensor:
        """Logits of the token after each prompt: float64 [B, V] on the CPU."""
        device = self.tag_ids.device
        mask = token_mask(prompts)  # [B, T]
        places = torch.arange(mask.shape[1]).expand_as(mask)
        members = torch.where(mask, torch.arange(len(prompts))[:, None], -1)
        last = torch.arange(len(prompts)) * mask.shape[1] + mask.sum(dim=1) - 1
        packed = pad(prompts, 0).to(device), places.to(device), members.to(device)
        return logits_at(self.model, *packed, last.to(device)).double().cpu()

    def write(
        self,
        row_format: ResponderFormat,
        contexts: Sequence[Sequence[IntArray]],
        labels: Sequence[str | None],
        keys: Sequence[str],
        decoding: Decoding,
    ) -> list[str]:
        """Writes a response to each context.

        Args:
            row_format: How contexts become prompts.
            contexts: Tokens of the turns of each.
            labels: The tag of each; None: none.
            keys: A name of each that fixes its draws.
            decoding: How tokens are chosen.

        Returns:
            The texts, without white space at the ends.
        """
        prompts = [row_format.prompt(context, label)[0] for context, label in zip(contexts, labels, strict=True)]
        written = generate(
            self.model,
            prompts,
            keys,
            decoding,
            end_id=row_format.end_id,
            max_new_tokens=row_format.max_response_tokens,
            banned=self.spec.tag_ids,
        )
        texts: list[str] = row_format.encoder.tokenizer.decode_batch(written, skip_special_tokens=True)
        return [text.strip() for text in texts]


def _with_adapters(model: Any, spec: ResponderSpec) -> Any:
    """Low-rank adapters, and the tags' rows as the only trained rows of the embeddings."""
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError:
        raise UserError("--model.lora needs the package peft: install the extra 'lora'") from None
    from transformers.pytorch_utils import Conv1D

    lora = Lora(**(spec.lora or {}))
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.modules,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
            trainable_token_indices=spec.tag_ids or None,
        ),
    )
