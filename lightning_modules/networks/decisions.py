"""From logits to decisions: the one place where probabilities become levels and rationale tokens.

Legend: B pairs, R response tokens, L levels, M mechanisms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from datamodules.spans import labels_to_spans
from errors import UserError
from lightning_modules.networks.bi_encoder import BiEncoderOutput

__all__ = ["Decisions", "Decoding", "decide", "describe"]


@dataclass
class Decoding:
    """How probabilities become decisions.

    Args:
        unit: What is rationale or not as a whole: a `clause` (by the mean probability of its tokens), or a `token`.
        threshold: A unit is rationale from this probability on.
        floor: So is one from this share of the response's most probable unit on, since what expresses a mechanism
            weakly still has its place. At 1 the best unit is always marked; above 1 none is for being the best alone.
        level_adjustment: How much of the training rows' level frequencies is taken out of the level probabilities (tau
            of Menon et al., ICLR 2021, section 4.1): 0 nothing, 1 all. It lifts rare levels and costs accuracy.
    """

    unit: Literal["clause", "token"] = "clause"
    threshold: float = 0.45
    floor: float = 0.6
    level_adjustment: float = 0.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("threshold", "floor", "level_adjustment"):
            if getattr(self, name) < 0:
                raise UserError(f"--model.decoding.{name} is {getattr(self, name)}; it is 0 or more")


class Decisions(NamedTuple):
    """What the model decides for a batch.

    Args:
        probabilities: float32 [B, M, L].
        levels: int64 [B, M], the most probable level.
        tokens: bool [B, M, R], tokens called rationale; meaningless on padding.
    """

    probabilities: Tensor
    levels: Tensor
    tokens: Tensor


def decide(output: BiEncoderOutput, clauses: Tensor, level_counts: Tensor, decoding: Decoding) -> Decisions:
    """Takes the decisions.

    Args:
        output: The network's.
        clauses: int64 [B, R], the tokens' clauses, -1 on special tokens and padding.
        level_counts: float32 [M, L], training rows of each level.
        decoding: How.

    Returns:
        The decisions, on the output's device.
    """
    prior = level_counts.clamp(min=1) / level_counts.clamp(min=1).sum(dim=1, keepdim=True)  # [M, L]
    logits = output.level_logits - decoding.level_adjustment * prior.log().to(output.level_logits)
    probabilities = logits.softmax(dim=-1)
    rationale = output.rationale_logits.softmax(dim=-1)[..., 1]  # [B, M, R]
    if decoding.unit == "clause":
        rationale = _mean_by_clause(rationale, clauses)
    text = (clauses >= 0)[:, None, :]
    best = rationale.masked_fill(~text, 0).amax(dim=-1, keepdim=True)  # [B, M, 1]
    cut = (best * decoding.floor).clamp(max=decoding.threshold)
    tokens = torch.where(text, rationale >= cut, rationale >= decoding.threshold)
    return Decisions(probabilities, probabilities.argmax(dim=-1), tokens)


def _mean_by_clause(rationale: Tensor, clauses: Tensor) -> Tensor:
    """Each token's probability becomes the mean over its clause; special tokens and padding keep their own."""
    text = clauses >= 0
    place = clauses.clamp(min=0)[:, None, :].expand_as(rationale)  # [B, M, R]
    weights = text[:, None, :].to(rationale.dtype).expand_as(rationale)
    count = int(clauses.max().clamp(min=0)) + 1
    sums = rationale.new_zeros(*rationale.shape[:2], count).scatter_add(2, place, rationale * weights)
    sizes = rationale.new_zeros(*rationale.shape[:2], count).scatter_add(2, place, weights)
    means = (sums / sizes.clamp(min=1)).gather(2, place)
    return torch.where(text[:, None, :], means, rationale)


def describe(decisions: Decisions, offsets: Tensor, mechanisms: Sequence[str]) -> list[dict[str, Any]]:
    """Decisions as plain values, a dictionary a row.

    Args:
        decisions: Of a batch of B rows.
        offsets: int64 [B, R, 2], trimmed character offsets.
        mechanisms: The M mechanisms.

    Returns:
        `levels {mechanism: int}`, `probabilities {mechanism: [3]}`, `rationales {mechanism: [[start, end], ...]}`,
        rationales whatever the level.
    """
    levels = decisions.levels.tolist()
    probabilities = decisions.probabilities.cpu().double().round(decimals=6).tolist()
    tokens = decisions.tokens.cpu().numpy()
    bounds = offsets.cpu().numpy()
    return [
        {
            "levels": dict(zip(mechanisms, levels[row], strict=True)),
            "probabilities": dict(zip(mechanisms, probabilities[row], strict=True)),
            "rationales": {
                name: [list(span) for span in labels_to_spans(tokens[row, place], bounds[row])]
                for place, name in enumerate(mechanisms)
            },
        }
        for row in range(len(levels))
    ]
