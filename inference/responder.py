"""The responder as a Python object: dialogues in, responses out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from datamodules.contexts import ResponderFormat
from datamodules.dialogues import Turn, merge_turns
from datamodules.strategies import LabelSpace, Scheme, resolve_overlap
from errors import UserError
from inference.scorer import Device, length_batches, pick_device
from lightning_modules.checkpoints import find_checkpoint, network_weights, read_checkpoint
from lightning_modules.choices import StrategyPolicy, TurnContext
from lightning_modules.networks.decoding import Decoding
from lightning_modules.networks.responder import ResponderNetwork

__all__ = ["Responder", "Response", "TurnAsked"]


@dataclass(frozen=True)
class TurnAsked:
    """A supporter's turn that is to be written.

    Args:
        key: Its name; fixes all draws.
        turns: The turns before it; may be empty.
        gold: The turn that really came next, for an oracle alone.
        strategy: What the response is to use whatever the policy decides; None: the policy decides.
    """

    key: str
    turns: Sequence[Turn]
    gold: Turn | None = None
    strategy: str | None = None


@dataclass(frozen=True)
class Response:
    """What was written.

    Args:
        response: The text.
        strategy: The strategy it was to use; None: none.
        probabilities: Label -> probability, where the policy has any.
    """

    response: str
    strategy: str | None
    probabilities: dict[str, float] | None


class Responder:
    """A trained responder with a policy.

    Args:
        network: In evaluation mode.
        row_format: How it reads a dialogue.
        decoding: How it writes.
        scheme: The scheme that it was trained under.
        policy: Where the strategy comes from.
        device: Where to compute.
    """

    def __init__(
        self,
        network: ResponderNetwork,
        row_format: ResponderFormat,
        decoding: Decoding,
        scheme: Scheme,
        policy: StrategyPolicy,
        device: torch.device,
    ) -> None:
        # bitsandbytes places quantised weights itself
        self.network = network.to(device) if network.spec.weights == "full" else network
        self.network.eval()
        self.format = row_format
        self.decoding = decoding
        self.scheme = scheme
        self.device = device
        self.policy = policy
        self.cut = 0
        """Contexts of which the window left something out, counted over all calls."""
        policy.attach(self.network, self.format)

    @classmethod
    def load(
        cls, run_or_checkpoint: str | Path, policy: StrategyPolicy, *, seed: int | None = None, device: Device = "auto"
    ) -> Responder:
        """Loads a run's tested checkpoint, or a checkpoint file.

        Args:
            run_or_checkpoint: The run's folder or the file.
            policy: Where the strategy comes from.
            seed: Seed of the draws; None: the run's.
            device: `auto`, `cpu` or `cuda`.

        Raises:
            UserError: It can't be read, is no responder, or doesn't go with the policy.
        """
        checkpoint = read_checkpoint(find_checkpoint(run_or_checkpoint))
        if checkpoint.get("task") != "responder":
            raise UserError(f"'{run_or_checkpoint}' is no responder; name the run of one")
        decoding = Decoding(**checkpoint["decoding"])
        return cls(
            ResponderNetwork.rebuild(checkpoint["network"], network_weights(checkpoint)),
            ResponderFormat.from_state(checkpoint["reader"]),
            decoding if seed is None else replace(decoding, seed=seed),
            Scheme.from_state(checkpoint["scheme"]),
            policy,
            pick_device(device),
        )

    def with_policy(self, policy: StrategyPolicy) -> Responder:
        """The same model with another policy; it is not loaded again.

        Raises:
            UserError: It doesn't go with the policy.
        """
        return Responder(self.network, self.format, self.decoding, self.scheme, policy, self.device)

    def respond(self, asked: Sequence[TurnAsked], batch_size: int = 16) -> list[Response]:
        """Writes responses; each depends on its own dialogue, key and seed alone.

        Args:
            asked: The turns to write.
            batch_size: Turns written together; those with contexts of similar length share a batch.

        Returns:
            A response each.
        """
        contexts = [self._context(turn) for turn in asked]
        windows = [self.format.prompt(context.tokens, None)[1] for context in contexts]
        self.cut += sum(window.first > 0 or window.cut > 0 for window in windows)
        choices = [
            choice._replace(label=turn.strategy) if turn.strategy else choice
            for turn, choice in zip(asked, self.policy.choose(contexts), strict=True)
        ]
        found: dict[int, Response] = {}
        lengths = [sum(map(len, context.tokens)) for context in contexts]
        for members in length_batches(lengths, batch_size):
            texts = self.network.write(
                self.format,
                [contexts[row].tokens for row in members],
                [choices[row].label for row in members],
                [f"{self.policy.name}:{contexts[row].key}" for row in members],
                self.decoding,
            )
            found |= {row: Response(text, *choices[row]) for row, text in zip(members, texts, strict=True)}
        return [found[row] for row in range(len(asked))]

    def _context(self, turn: TurnAsked) -> TurnContext:
        turns = merge_turns(list(turn.turns)) if self.format.merged else turn.turns
        tokens = self.format.encoder.encode([part.text for part in turns])
        if turn.gold is None:
            return TurnContext(turn.key, turns, tokens)
        space: LabelSpace = self.network.spec.label_space  # type: ignore[assignment]
        labels = self.scheme.labels(turn.gold, space)
        found = resolve_overlap(labels, "priority", priority=self.scheme.priority, seed=0, uid=turn.key)
        return TurnContext(turn.key, turns, tokens, found[0][0] if found else None)
