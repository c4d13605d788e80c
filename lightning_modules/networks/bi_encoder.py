"""The multi-task bi-encoder of EPITOME (Sharma et al. 2020), for one mechanism or several at once.

Legend: B pairs, R response tokens, S seeker tokens, D width, L levels, M mechanisms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.networks.heads import CrossAttention, LevelHead, RationaleHead
from pretrained import build_encoder

__all__ = ["BiEncoder", "BiEncoderOutput", "NetworkSpec", "SeekerEncoder"]

SeekerEncoder = Literal["frozen", "trained", "shared", "none"]
LEVEL_COUNT = 3


class BiEncoderOutput(NamedTuple):
    """What the network says of a batch.

    Args:
        level_logits: float32 [B, M, L].
        rationale_logits: float32 [B, M, R, 2].
    """

    level_logits: Tensor
    rationale_logits: Tensor


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that rebuilds the network without a file: a checkpoint holds it beside the weights.

    Args:
        mechanisms: The mechanisms, in the order of the heads.
        seeker_encoder: See `EmpathyModule`.
        pooling: What the level head reads: the first token, or the mean of the tokens.
        dropout: Of heads and cross-attention.
        mask_seeker_padding: See `CrossAttention`.
        encoder_config: `config.to_dict()` of the encoder.
    """

    mechanisms: Sequence[str]
    seeker_encoder: SeekerEncoder
    pooling: Literal["first", "mean"]
    dropout: float
    mask_seeker_padding: bool
    encoder_config: dict[str, Any] = field(default_factory=dict)

    def to_state(self) -> dict[str, Any]:
        """As plain values for a checkpoint."""
        return {**asdict(self), "mechanisms": list(self.mechanisms)}


class BiEncoder(nn.Module):
    """Response encoder, seeker encoder, cross-attention, and a level head and a rationale head for each mechanism.

    Args:
        spec: The architecture.
        response: The response encoder; None builds one from `spec.encoder_config` with random weights.
        seeker: The seeker encoder, needed for `frozen` and `trained` when `response` is given.
        init_seed: Seed of the heads' and the attention's initial weights.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        response: nn.Module | None = None,
        seeker: nn.Module | None = None,
        init_seed: int = 0,
    ) -> None:
        super().__init__()
        separate = spec.seeker_encoder in ("frozen", "trained")
        if response is None:
            response = build_encoder(spec.encoder_config)
            seeker = build_encoder(spec.encoder_config) if separate else None
        self.spec = spec
        self.response = response
        self.seeker = seeker if separate else None
        if spec.seeker_encoder == "frozen":
            assert self.seeker is not None
            self.seeker.requires_grad_(False)
        width = int(spec.encoder_config["hidden_size"])
        count = len(spec.mechanisms)
        self.attention = (
            None if spec.seeker_encoder == "none" else CrossAttention(width, spec.dropout, spec.mask_seeker_padding)
        )
        self.level_heads = nn.ModuleList(LevelHead(width, LEVEL_COUNT, spec.dropout) for _ in range(count))
        self.rationale_heads = nn.ModuleList(RationaleHead(width, spec.dropout) for _ in range(count))
        self._initialise(init_seed)

    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for part in (self.attention, self.level_heads, self.rationale_heads):
            for module in part.modules() if part is not None else ():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02, generator=generator)
                    nn.init.zeros_(module.bias)

    def encode_seeker(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Seeker token states.

        Args:
            ids: int64 [B, S].
            mask: bool [B, S].

        Returns:
            [B, S, D]; no gradient flows where the encoder is frozen.
        """
        encoder = self.seeker if self.seeker is not None else self.response
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.spec.seeker_encoder != "frozen"):
            states: Tensor = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states

    def forward(
        self, response_ids: Tensor, response_mask: Tensor, seeker_states: Tensor | None, seeker_mask: Tensor
    ) -> BiEncoderOutput:
        """Level and rationale logits.

        Args:
            response_ids: int64 [B, R].
            response_mask: bool [B, R].
            seeker_states: [B, S, D] of `encode_seeker` or a cache of it; None without a seeker encoder.
            seeker_mask: bool [B, S].

        Returns:
            The logits in float32.
        """
        states = self.response(input_ids=response_ids, attention_mask=response_mask.long()).last_hidden_state
        if self.attention is not None:
            assert seeker_states is not None
            states = self.attention(states, seeker_states.to(states.dtype), seeker_mask)
        pooled = self._pool(states, response_mask)
        return BiEncoderOutput(
            torch.stack([head(pooled) for head in self.level_heads], dim=1).float(),  # [B, M, L]
            torch.stack([head(states) for head in self.rationale_heads], dim=1).float(),  # [B, M, R, 2]
        )

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.spec.pooling == "first":
            return states[:, 0]
        weights = mask.unsqueeze(-1).to(states.dtype)  # [B, R, 1]
        return (states * weights).sum(dim=1) / weights.sum(dim=1)
