"""The strategy classifier as a Python object: dialogues in, strategies out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from datamodules.batching import pad, token_mask
from datamodules.contexts import ClassifierFormat, ClassifierRow
from datamodules.dialogues import Turn, merge_turns
from datamodules.strategies import Scheme
from errors import UserError
from inference.scorer import Device, length_batches, pick_device
from lightning_modules.checkpoints import find_checkpoint, network_weights, read_checkpoint
from lightning_modules.networks.strategy_encoder import StrategyEncoder, StrategySpec, describe_choices

__all__ = ["Strategist", "StrategyScore"]


@dataclass(frozen=True)
class StrategyScore:
    """What the classifier says of a supporter's turn.

    Args:
        strategy: The label it decides for.
        probabilities: Label -> calibrated probability; of a classifier of several labels, shares that add up to 1.
        strategies: All labels that a classifier of several labels decides for; None: it decides for one.
    """

    strategy: str
    probabilities: dict[str, float]
    strategies: list[str] | None = None


class Strategist:
    """A trained strategy classifier.

    Args:
        network: In evaluation mode.
        row_format: How it reads a dialogue.
        scheme: The scheme that it was trained under.
        device: Where to compute.
    """

    def __init__(
        self, network: StrategyEncoder, row_format: ClassifierFormat, scheme: Scheme, device: torch.device
    ) -> None:
        self.network = network.to(device).eval()
        self.format = row_format
        self.scheme = scheme
        self.device = device
        self.cut = 0
        """Contexts of which the window left something out, counted over all calls."""

    @classmethod
    def load(cls, run_or_checkpoint: str | Path, device: Device = "auto") -> Strategist:
        """Loads a run's tested checkpoint, or a checkpoint file; needs no config and no encoder files.

        Raises:
            UserError: It can't be read, or is no strategy classifier.
        """
        checkpoint = read_checkpoint(find_checkpoint(run_or_checkpoint))
        if checkpoint.get("task") != "strategy":
            raise UserError(f"'{run_or_checkpoint}' is no strategy classifier; name the run of one")
        return cls.from_checkpoint(checkpoint, device)

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any], device: Device = "auto") -> Strategist:
        """`load`, for a strategy classifier's checkpoint that was read.

        Args:
            checkpoint: What `read_checkpoint` gave.
            device: `auto`, `cpu` or `cuda`.
        """
        network = StrategyEncoder(StrategySpec(**checkpoint["network"]))
        network.load_state_dict(network_weights(checkpoint))
        scheme = Scheme.from_state(checkpoint["scheme"])
        return cls(network, ClassifierFormat.from_state(checkpoint["reader"]), scheme, pick_device(device))

    @classmethod
    def load_next(cls, run_or_checkpoint: str | Path, device: Device = "auto") -> Strategist:
        """`load`, for one that says what comes next.

        Raises:
            UserError: It can't be read, or names the strategy of a given turn.
        """
        strategist = cls.load(run_or_checkpoint, device)
        if strategist.format.target != "next":
            raise UserError(
                f"'{run_or_checkpoint}' was trained to name the strategy of a given turn; "
                "one trained with --model.target next is needed"
            )
        return strategist

    def next_turns(self, contexts: Sequence[Sequence[Turn]], batch_size: int = 32) -> list[StrategyScore]:
        """What comes after each context, which may be empty; needs a classifier with target `next`."""
        return self.turns([(turns, len(turns)) for turns in contexts], batch_size)

    def turns(self, asked: Sequence[tuple[Sequence[Turn], int]], batch_size: int = 32) -> list[StrategyScore]:
        """What the classifier says of supporter turns.

        Args:
            asked: The dialogue's turns and the number of the turn that is asked about. With target `next` neither it
                nor what follows is looked at.
            batch_size: Rows in a forward pass.

        Returns:
            A score each.
        """
        rows = []
        for turns, turn in asked:
            seen = merge_turns(list(turns[:turn])) if self.format.merged else list(turns[:turn])
            place = len(seen)
            seen += turns[turn : turn + 1] if self.format.target == "given" else []
            rows.append(self.format.row(seen, self.format.encoder.encode([part.text for part in seen]), place))
        self.cut += sum(row.dropped_turns > 0 or row.cut_tokens > 0 for row in rows)
        scores: dict[int, StrategyScore] = {}
        for members in length_batches([len(row.ids) for row in rows], batch_size):
            scores |= zip(members, self._forward([rows[row] for row in members]), strict=True)
        return [scores[row] for row in range(len(rows))]

    @torch.inference_mode()
    def _forward(self, rows: Sequence[ClassifierRow]) -> list[StrategyScore]:
        def stacked(values: list[NDArray[Any]], filler: int = 0) -> torch.Tensor:
            return pad(values, filler).to(self.device)

        logits = self.network(
            stacked([row.ids for row in rows], self.format.pad_id),
            token_mask([row.ids for row in rows]).to(self.device),
            stacked([row.speakers for row in rows]),
            stacked([row.distances for row in rows]),
        )
        described = describe_choices(self.network, logits)
        return [StrategyScore(**entry) for entry in described]
