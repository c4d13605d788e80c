"""The losses of the bi-encoder, as sums and what to divide them by, so that several devices can share the division.

Legend: B pairs, R response tokens, L levels, M mechanisms.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LevelLoss", "level_terms", "published_token_labels", "rationale_terms"]

LevelLoss = Literal["plain", "class_weighted", "logit_adjusted"]


def level_terms(
    logits: Tensor, levels: Tensor, counts: Tensor, kind: LevelLoss, adjustment: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the levels.

    Args:
        logits: float32 [B, M, L].
        levels: int64 [B, M], -1 where not annotated.
        counts: float32 [M, L], training rows of each level.
        kind: `plain`; `class_weighted`, each level by the inverse of its frequency; `logit_adjusted`, the log frequency
            added to the logits in training only (Menon et al., ICLR 2021, equation 10).
        adjustment: Strength of the logit adjustment (their tau).

    Returns:
        Sum of the losses and sum of the weights, float32 [M] each.
    """
    prior = (counts.clamp(min=1) / counts.clamp(min=1).sum(dim=1, keepdim=True)).to(logits)  # [M, L]
    if kind == "logit_adjusted":
        logits = logits + adjustment * prior.log()
    known = levels >= 0
    losses = F.cross_entropy(logits.transpose(1, 2), levels, ignore_index=-1, reduction="none")  # [B, M]
    weights = known.to(logits.dtype)
    if kind == "class_weighted":
        by_level = 1 / (prior.shape[1] * prior)  # [M, L]
        weights = weights * by_level.expand(len(levels), -1, -1).gather(2, levels.clamp(min=0)[..., None])[..., 0]
    return (losses * weights).sum(dim=0), weights.sum(dim=0)


def rationale_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the token labels, a mean over tokens.

    Args:
        logits: float32 [B, M, R, 2].
        labels: int64 [B, M, R], -100 where a token has no label.

    Returns:
        Sum of the losses and number of labelled tokens, float32 [M] each.
    """
    losses = F.cross_entropy(logits.movedim(3, 1), labels, ignore_index=-100, reduction="none")  # [B, M, R]
    return losses.sum(dim=(0, 2)), (labels != -100).to(losses.dtype).sum(dim=(0, 2))


def published_token_labels(labels: Tensor, levels: Tensor, mask: Tensor) -> Tensor:
    """Token labels under the published convention (SPEC, section 4, defect 1).

    Args:
        labels: int64 [B, M, R], as in `EmpathyBatch.token_labels`.
        levels: int64 [B, M], -1 where not annotated.
        mask: bool [B, R].

    Returns:
        int64 [B, M, R]: rows without a rationale get 1 on every token after the first, special tokens are labelled too,
        padding and mechanisms that are not annotated keep -100.
    """
    has_rationale = (labels != -100).any(dim=2, keepdim=True)  # [B, M, 1]
    everything = torch.ones_like(labels)
    everything[..., 0] = 0
    filled = torch.where(has_rationale, labels.clamp(min=0), everything)
    known = (levels >= 0)[..., None] & mask[:, None, :]  # [B, M, R]
    return torch.where(known, filled, -100)
