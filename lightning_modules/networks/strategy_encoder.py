"""The strategy classifier's network: an encoder over a context and one linear head.

Legend: B rows, T tokens, D width, K labels.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrained import build_encoder

__all__ = ["StrategyEncoder", "StrategySpec", "describe_choices", "fit_temperature"]

FARTHEST = 15
"""Turns farther from the last one than this share its embedding."""


@dataclass(frozen=True)
class StrategySpec:
    """Everything that rebuilds the network without a file: a checkpoint holds it beside the weights.

    Args:
        labels: The K labels, in the order of the outputs.
        label_space: `categories` or `strategies`.
        multi_label: Whether a row may have several labels: a sigmoid each instead of one softmax.
        pooling: What the head reads: the first token, or the mean of the tokens.
        dropout: Before the head.
        speaker_embeddings: Tell the encoder who speaks.
        turn_embeddings: Tell the encoder how many turns ago a token was said.
        encoder_config: `config.to_dict()` of the encoder.
    """

    labels: list[str]
    label_space: str
    multi_label: bool
    pooling: Literal["first", "mean"]
    dropout: float
    speaker_embeddings: bool
    turn_embeddings: bool
    encoder_config: dict[str, Any] = field(default_factory=dict)

    def to_state(self) -> dict[str, Any]:
        """As plain values for a checkpoint."""
        return asdict(self)


class StrategyEncoder(nn.Module):
    """Context -> logits of the labels.

    Speaker and turn embeddings are added to the word embeddings. They begin at zero, so that a pretrained encoder first
    reads what it is used to.

    Args:
        spec: The architecture.
        encoder: The encoder; None builds one from `spec.encoder_config` with random weights.
        init_seed: Seed of the head's initial weights.
    """

    temperature: Tensor
    log_prior: Tensor

    def __init__(self, spec: StrategySpec, encoder: nn.Module | None = None, init_seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.encoder: Any = build_encoder(spec.encoder_config) if encoder is None else encoder
        width = int(spec.encoder_config["hidden_size"])
        self.speakers = nn.Embedding(3, width) if spec.speaker_embeddings else None
        self.distances = nn.Embedding(FARTHEST + 1, width) if spec.turn_embeddings else None
        for table in (self.speakers, self.distances):
            if table is not None:
                nn.init.zeros_(table.weight)
        self.dropout = nn.Dropout(spec.dropout)
        self.head = nn.Linear(width, len(spec.labels))
        nn.init.normal_(self.head.weight, std=0.02, generator=torch.Generator().manual_seed(init_seed))
        nn.init.zeros_(self.head.bias)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("log_prior", torch.zeros(len(spec.labels)))

    def forward(self, ids: Tensor, mask: Tensor, speakers: Tensor, distances: Tensor) -> Tensor:
        """Logits, not yet divided by the temperature.

        Args:
            ids: int64 [B, T].
            mask: bool [B, T].
            speakers: int64 [B, T], 0 to 2.
            distances: int64 [B, T], turns from the last one.

        Returns:
            float32 [B, K].
        """
        states = self.encoder.get_input_embeddings()(ids)  # [B, T, D]
        if self.speakers is not None:
            states = states + self.speakers(speakers)
        if self.distances is not None:
            states = states + self.distances(distances.clamp(max=FARTHEST))
        states = self.encoder(inputs_embeds=states, attention_mask=mask.long()).last_hidden_state
        if self.spec.pooling == "first":
            pooled = states[:, 0]
        else:
            weights = mask.unsqueeze(-1).to(states.dtype)  # [B, T, 1]
            pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits.float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities of what comes next, which add up to 1.

        Where the loss took the labels' frequencies out of the logits, `log_prior` puts them in again.

        Args:
            logits: float32 [B, K].

        Returns:
            float32 [B, K]: softmax at the fitted temperature; of several labels, the calibrated sigmoids divided by
            their sum, which are shares to draw by and no label's own probability.
        """
        scaled = (logits + self.log_prior) / self.temperature
        if not self.spec.multi_label:
            return scaled.softmax(dim=-1)
        each = scaled.sigmoid()
        return each / each.sum(dim=-1, keepdim=True)


def describe_choices(network: StrategyEncoder, logits: Tensor) -> list[dict[str, Any]]:
    """Decisions as plain values, a dictionary a row.

    Args:
        network: What gave the logits.
        logits: float32 [B, K].

    Returns:
        `strategy` (the likeliest label by logits), `probabilities {label: float}`, and with several labels a row
        `strategies` (those of logit 0 and more: of probability 0.5 and more where the loss takes no frequencies out,
        more probable than they are frequent where it does).
    """
    labels = network.spec.labels
    best = logits.argmax(dim=1).tolist()
    rounded = network.probabilities(logits).cpu().double().round(decimals=6).tolist()
    described: list[dict[str, Any]] = [
        {"strategy": labels[place], "probabilities": dict(zip(labels, values, strict=True))}
        for place, values in zip(best, rounded, strict=True)
    ]
    if network.spec.multi_label:
        for entry, chosen in zip(described, (logits >= 0).tolist(), strict=True):
            entry["strategies"] = [label for label, inside in zip(labels, chosen, strict=True) if inside]
    return described


def fit_temperature(logits: Tensor, targets: Tensor, *, multi_label: bool) -> float:
    """The temperature under which rows are most likely (Guo et al., ICML 2017, section 4.2).

    Args:
        logits: float [N, K], the prior included.
        targets: float [N, K], 1 at the labels.
        multi_label: Whether labels are independent of one another.

    Returns:
        From 0.05 to 20; 1 where there are no rows.
    """
    if not len(logits):
        return 1.0
    logits, targets = logits.double(), targets.double()

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        if multi_label:
            return float(F.binary_cross_entropy_with_logits(scaled, targets))
        return float(-(scaled.log_softmax(dim=-1) * targets).sum(dim=-1).mean())

    low, high = math.log(0.05), math.log(20.0)
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:  # golden section: the loss falls, then rises
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
