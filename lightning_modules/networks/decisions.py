"""From logits to decisions: the one place where probabilities become levels and rationale tokens.

Legend: B pairs, R response tokens, L levels, M mechanisms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from datamodules.spans import labels_to_spans
from lightning_modules.networks.bi_encoder import BiEncoderOutput

__all__ = ["Decisions", "decide", "describe"]


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


def decide(output: BiEncoderOutput, rationale_threshold: float) -> Decisions:
    """Takes the decisions.

    Args:
        output: The network's.
        rationale_threshold: A token is rationale from this probability on.

    Returns:
        The decisions, on the output's device.
    """
    probabilities = output.level_logits.softmax(dim=-1)
    tokens = output.rationale_logits.softmax(dim=-1)[..., 1] >= rationale_threshold
    return Decisions(probabilities, probabilities.argmax(dim=-1), tokens)


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
