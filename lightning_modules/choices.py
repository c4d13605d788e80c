"""What the responder asks of a strategy policy; the policies themselves are in `inference.policies`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from datamodules.contexts import IntArray, ResponderFormat
    from datamodules.dialogues import Turn
    from lightning_modules.networks.responder import ResponderNetwork

__all__ = ["POLICIES", "Choice", "PolicyName", "StrategyJudge", "StrategyPolicy", "TurnContext"]

PolicyName = Literal["none", "random", "random_prior", "classifier", "classifier_sampled", "model", "oracle"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
"""In the order of every table."""


@dataclass(frozen=True)
class TurnContext:
    """A supporter's turn that is to be written.

    Args:
        key: Names the turn; fixes all draws.
        turns: The turns before it; may be empty.
        tokens: Their tokens as the responder reads them.
        gold: The label of the turn that really came next (of several the one that a row of its own would have), which
            only an oracle looks at; None: not annotated.
    """

    key: str
    turns: Sequence[Turn]
    tokens: Sequence[IntArray]
    gold: str | None = None


class Choice(NamedTuple):
    """What a policy decides for a turn.

    Args:
        label: The strategy; None: none.
        probabilities: Label -> probability, where the policy has any.
    """

    label: str | None
    probabilities: dict[str, float] | None


class StrategyPolicy(ABC):
    """Where the strategy of a response comes from."""

    name: str

    def attach(self, network: ResponderNetwork, row_format: ResponderFormat) -> None:
        """Gets to know the responder before the first choice.

        Raises:
            UserError: The two don't go together.
        """
        self.network = network
        self.row_format = row_format

    @abstractmethod
    def choose(self, contexts: Sequence[TurnContext]) -> list[Choice]:
        """Decides for each turn, whichever others are asked for together with it."""


class StrategyJudge(ABC):
    """Which strategy a written response uses."""

    @abstractmethod
    def recognise(self, contexts: Sequence[TurnContext], responses: Sequence[str]) -> list[str]:
        """The strategy of each response to its context."""
