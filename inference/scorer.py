"""The empathy model as a Python object: pairs of texts in, levels and rationales out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor

from datamodules.batching import pad, token_mask
from datamodules.records import Pair, Span
from datamodules.spans import token_clauses
from datamodules.tokenised import TextEncoder
from errors import UserError
from lightning_modules.checkpoints import find_checkpoint, load_network, read_checkpoint
from lightning_modules.networks.bi_encoder import BiEncoder
from lightning_modules.networks.decisions import Decoding, decide, describe

__all__ = ["Device", "EmpathyScore", "EmpathyScorer", "Texts", "length_batches", "pick_device"]

Texts = Pair | tuple[str, str]
"""A row, or a seeker post and a response post."""

Device = Literal["auto", "cpu", "cuda"]


def pick_device(name: Device) -> torch.device:
    """`auto` takes a GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no CUDA device; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def length_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches of similar length.

    Args:
        lengths: Length of each row.
        batch_size: Rows in a batch at most.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


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
        decoding: How it decides.
        level_counts: float32 [M, L], the rows of each level that it was trained on.
        device: Where to compute.
    """

    def __init__(
        self,
        network: BiEncoder,
        text_encoder: TextEncoder,
        decoding: Decoding,
        level_counts: Tensor,
        device: torch.device,
    ) -> None:
        self.network = network.to(device)
        self.text_encoder = text_encoder
        self.decoding = decoding
        self.level_counts = level_counts.to(device)
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
        return cls.from_checkpoint(read_checkpoint(find_checkpoint(run_or_checkpoint)), device)

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any], device: Device = "auto") -> EmpathyScorer:
        """`load`, for a checkpoint that was read.

        Args:
            checkpoint: What `read_checkpoint` gave.
            device: `auto`, `cpu` or `cuda`.

        Raises:
            UserError: It is of another task.
        """
        return cls(
            load_network(checkpoint),
            TextEncoder(**checkpoint["text_encoder"]),
            Decoding(**checkpoint["decoding"]),
            checkpoint["state_dict"]["level_counts"],
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

    @torch.inference_mode()
    def _score_all(self, pairs: Sequence[Texts], batch_size: int) -> list[EmpathyScore]:
        texts = [(pair.seeker_post, pair.response_post) if isinstance(pair, Pair) else pair for pair in pairs]
        seekers = self._seeker_states([seeker for seeker, _ in texts], batch_size)
        encoded = self.text_encoder.encode([response for _, response in texts])
        scores: dict[int, EmpathyScore] = {}
        for rows in length_batches([len(ids) for ids, _, _ in encoded], batch_size):
            ids = [encoded[row][0] for row in rows]
            offsets = [encoded[row][1] for row in rows]
            clauses = [token_clauses(texts[row][1], encoded[row][1]) for row in rows]
            states, mask = self._pad_states([seekers[texts[row][0]] for row in rows])
            output = self.network(
                pad(ids, self.text_encoder.pad_id).to(self.device), token_mask(ids).to(self.device), states, mask
            )
            decisions = decide(output, pad(clauses, -1).to(self.device), self.level_counts, self.decoding)
            described = describe(decisions, pad(offsets, 0), self.mechanisms)
            scores |= {row: EmpathyScore(**entry) for row, entry in zip(rows, described, strict=True)}
        return [scores[row] for row in range(len(texts))]

    def _seeker_states(self, posts: Sequence[str], batch_size: int) -> dict[str, Tensor]:
        """States [S, D] of each distinct seeker post, encoded beside others of its length.

        Where the attention doesn't mask padding, the window is filled up, as the published recipe does: what the model
        says must not depend on the posts beside.
        """
        distinct = list(dict.fromkeys(posts))
        if self.network.attention is None:
            return dict.fromkeys(distinct, torch.zeros(1, 0))
        encoded = [ids for ids, _, _ in self.text_encoder.encode(distinct)]
        window = None if self.network.spec.mask_seeker_padding else self.text_encoder.max_tokens
        states: dict[str, Tensor] = {}
        for rows in length_batches([len(ids) for ids in encoded], batch_size):
            ids = [encoded[row] for row in rows]
            found = self.network.encode_seeker(
                pad(ids, self.text_encoder.pad_id, window).to(self.device), token_mask(ids, window).to(self.device)
            )
            states |= {distinct[row]: found[place, : window or len(encoded[row])] for place, row in enumerate(rows)}
        return states

    def _pad_states(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """[B, S, D] and bool [B, S]."""
        lengths = torch.tensor([len(post) for post in states], device=self.device)
        padded = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True).to(self.device)
        return padded, torch.arange(padded.shape[1], device=self.device) < lengths[:, None]
