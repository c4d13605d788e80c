"""The empathy model as a Python object: pairs of texts in, levels and rationales out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch

from datamodules.records import Pair, Span
from datamodules.tokenised import TextEncoder
from errors import UserError
from lightning_modules.checkpoints import find_checkpoint, load_network, read_checkpoint
from lightning_modules.networks.bi_encoder import BiEncoder
from lightning_modules.networks.decisions import decide, describe

__all__ = ["EmpathyScore", "EmpathyScorer", "Texts", "pick_device"]

Texts = Pair | tuple[str, str]
"""A row, or a seeker post and a response post."""

Device = Literal["auto", "cpu", "cuda"]


def pick_device(name: Device) -> torch.device:
    """`auto` takes a GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no CUDA device; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class EmpathyScore:
    """What the model says of a pair.

    Args:
        levels: Mechanism -> 0, 1 or 2.
        probabilities: Mechanism -> probability of each level.
        rationales: Mechanism -> character spans of the response, end exclusive, whatever the level.
    """

    levels: dict[str, int]
    probabilities: dict[str, list[float]]
    rationales: dict[str, list[Span]]


class EmpathyScorer:
    """A trained empathy model, ready to score.

    Args:
        network: In evaluation mode.
        text_encoder: The tokenizer and window that it was trained with.
        rationale_threshold: A token is rationale from this probability on.
        device: Where to compute.
    """

    def __init__(
        self, network: BiEncoder, text_encoder: TextEncoder, rationale_threshold: float, device: torch.device
    ) -> None:
        self.network = network.to(device)
        self.text_encoder = text_encoder
        self.rationale_threshold = rationale_threshold
        self.device = device

    @property
    def mechanisms(self) -> list[str]:
        """The mechanisms that it knows."""
        return list(self.network.spec.mechanisms)

    @classmethod
    def load(cls, run_or_checkpoint: str | Path, device: Device = "auto") -> EmpathyScorer:
        """Loads a run's tested checkpoint, or a checkpoint file; needs no config and no encoder files.

        Args:
            run_or_checkpoint: The run's folder or the file.
            device: `auto`, `cpu` or `cuda`.

        Returns:
            The scorer.

        Raises:
            UserError: It can't be read.
        """
        checkpoint = read_checkpoint(find_checkpoint(run_or_checkpoint))
        return cls(
            load_network(checkpoint),
            TextEncoder(**checkpoint["text_encoder"]),
            float(checkpoint["decisions"]["rationale_threshold"]),
            pick_device(device),
        )

    @overload
    def score(self, pairs: Texts, batch_size: int = 32) -> EmpathyScore: ...

    @overload
    def score(self, pairs: Sequence[Texts], batch_size: int = 32) -> list[EmpathyScore]: ...

    def score(self, pairs: Texts | Sequence[Texts], batch_size: int = 32) -> EmpathyScore | list[EmpathyScore]:
        """Scores one pair or many.

        Args:
            pairs: A pair, or a sequence of pairs; a pair is a row or a tuple of seeker post and response post.
            batch_size: Pairs in a forward pass; rows of similar length share one.

        Returns:
            A score a pair, in the order of `pairs`.
        """
        if isinstance(pairs, Pair) or (isinstance(pairs, tuple) and len(pairs) == 2 and isinstance(pairs[0], str)):
            return self._score_all([pairs], 1)[0]
        return self._score_all(list(pairs), batch_size)

    def _score_all(self, pairs: Sequence[Texts], batch_size: int) -> list[EmpathyScore]:
        texts = [(pair.seeker_post, pair.response_post) if isinstance(pair, Pair) else pair for pair in pairs]
        seekers = [ids for ids, _, _ in self.text_encoder.encode([seeker for seeker, _ in texts])]
        encoded = self.text_encoder.encode([response for _, response in texts])
        responses = [ids for ids, _, _ in encoded]
        offsets = [bounds for _, bounds, _ in encoded]
        order = sorted(range(len(texts)), key=lambda row: (len(responses[row]), row))
        scores: list[EmpathyScore | None] = [None] * len(texts)
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            found = self._forward([seekers[r] for r in rows], [responses[r] for r in rows], [offsets[r] for r in rows])
            for row, score in zip(rows, found, strict=True):
                scores[row] = score
        return [score for score in scores if score is not None]

    @torch.inference_mode()
    def _forward(
        self, seekers: list[np.ndarray], responses: list[np.ndarray], offsets: list[np.ndarray]
    ) -> list[EmpathyScore]:
        from datamodules.batching import pad, token_mask

        network, pad_id = self.network, self.text_encoder.pad_id
        seeker_mask, response_mask = token_mask(seekers).to(self.device), token_mask(responses).to(self.device)
        states = None
        if network.attention is not None:
            states = network.encode_seeker(pad(seekers, pad_id).to(self.device), seeker_mask)
        output = network(pad(responses, pad_id).to(self.device), response_mask, states, seeker_mask)
        described = describe(decide(output, self.rationale_threshold), pad(offsets, 0), self.mechanisms)
        return [EmpathyScore(**entry) for entry in described]
