"""A responder under every policy that goes with it, for requests that come together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.dialogues import Turn
from inference.policies import ClassifierPolicy, build_policy
from inference.responder import Responder, Response, TurnAsked
from inference.scorer import Device
from inference.strategist import Strategist
from lightning_modules.choices import POLICIES, PolicyName
from microbatches import in_groups

__all__ = ["Talk", "Talker"]

_TAGGED = ("random", "random_prior")
_AIDED = ("classifier", "classifier_sampled")


class Talk(NamedTuple):
    """A turn that is asked for.

    Args:
        turns: What was said so far.
        policy: Where the strategy comes from.
        strategy: What to use whatever the policy says; None: the policy decides.
        seed: Fixes the draws.
    """

    turns: Sequence[Turn]
    policy: PolicyName
    strategy: str | None
    seed: int


class Talker:
    """A responder, loaded once.

    Args:
        run: The responder's run or checkpoint.
        classifier: A classifier's; None: its policies aren't there.
        device: Where to compute.

    Raises:
        UserError: One can't be read, or the two don't go together.
    """

    def __init__(self, run: str | Path, classifier: str | Path | None = None, device: Device = "auto") -> None:
        plain = Responder.load(run, build_policy("none"), device=device)
        spec = plain.network.spec
        tagged = bool(spec.tag_ids)
        fits = {"none": True, "model": tagged and spec.tag_in_loss}
        fits |= dict.fromkeys(_TAGGED, tagged) | dict.fromkeys(_AIDED, classifier is not None)
        self.labels: list[str] = list(spec.labels) if tagged else []
        strategist = Strategist.load_next(classifier, device) if classifier is not None else None
        self._responders: dict[PolicyName, Responder] = {}
        for name in (name for name in POLICIES if fits.get(name)):
            policy = build_policy(name, classifier=classifier if name in _AIDED else None)
            if isinstance(policy, ClassifierPolicy):
                policy.strategist = strategist
            self._responders[name] = plain.with_policy(policy)

    @property
    def policies(self) -> list[PolicyName]:
        """Those that go with the responder."""
        return list(self._responders)

    @property
    def default(self) -> PolicyName:
        """The best informed of them."""
        return next(name for name in ("classifier", "model", "none") if name in self._responders)

    def respond(self, talks: Sequence[Talk]) -> list[Response]:
        """A response each, whatever else is asked for at the same time."""
        return in_groups(talks, lambda talk: talk.policy, self._respond)

    def _respond(self, policy: PolicyName, talks: Sequence[Talk]) -> list[Response]:
        asked = [TurnAsked(_key(talk), talk.turns, strategy=talk.strategy) for talk in talks]
        return self._responders[policy].respond(asked)


def _key(talk: Talk) -> str:
    """What fixes the draws: the seed and what was said."""
    said = json.dumps([(turn.speaker, turn.text) for turn in talk.turns])
    return f"{talk.seed}:{hashlib.sha256(said.encode()).hexdigest()}"
