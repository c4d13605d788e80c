"""What sits on top of an encoder: the level head, the rationale head, the attention to the seeker post.

Legend: B pairs, R response tokens, S seeker tokens, D width, L levels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["CrossAttention", "LevelHead", "RationaleHead"]


class LevelHead(nn.Module):
    """Dropout, dense, ReLU, dropout, linear on the first token (Sharma et al. 2020, section 5).

    Args:
        width: D.
        levels: L.
        dropout: Probability of a unit to be dropped.
    """

    def __init__(self, width: int, levels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, levels)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled states [B, D] to level logits [B, L]."""
        hidden = torch.relu(self.dense(self.dropout(pooled)))
        logits: Tensor = self.out(self.dropout(hidden))
        return logits


class RationaleHead(nn.Module):
    """Dropout and a linear layer on every response token: no rationale, rationale.

    Args:
        width: D.
        dropout: Probability of a unit to be dropped.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 2)

    def forward(self, states: Tensor) -> Tensor:
        """Token states [B, R, D] to logits [B, R, 2]."""
        logits: Tensor = self.out(self.dropout(states))
        return logits


class CrossAttention(nn.Module):
    """Single-head attention from response to seeker tokens, added to the response states.

    Query, key, value and output projections with biases, scale 1 / sqrt(D), dropout on the weights and on what is
    added, no layer norm after it (Sharma et al. 2020, equation 1 and their code).

    Args:
        width: D.
        dropout: Probability for both dropouts.
        masked: Whether seeker padding is masked. The published code doesn't, so that its results depend on the padding
            length (SPEC, section 4, defect 2).
    """

    def __init__(self, width: int, dropout: float, masked: bool) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.scale = 1 / math.sqrt(width)
        self.probability = dropout
        self.masked = masked

    def forward(self, response: Tensor, seeker: Tensor, seeker_mask: Tensor) -> Tensor:
        """Response states with what the seeker post adds to them.

        Args:
            response: [B, R, D].
            seeker: [B, S, D].
            seeker_mask: bool [B, S], True at tokens, False at padding.

        Returns:
            [B, R, D].
        """
        attended = nn.functional.scaled_dot_product_attention(
            self.query(response),
            self.key(seeker),
            self.value(seeker),
            attn_mask=seeker_mask[:, None, :] if self.masked else None,  # [B, 1, S]
            dropout_p=self.probability if self.training else 0.0,
            scale=self.scale,
        )
        added: Tensor = response + self.dropout(self.out(attended))
        return added
