"""A responder under every policy that goes with it, for requests that come together."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.dialogues import Turn
from inference.policies import build_policy
from inference.responder import Responder, Response, TurnAsked
from inference.scorer import Device
from lightning_modules.choices import POLICIES, PolicyName

__all__ = ["Talk", "Talker"]

_UNAIDED = ("random", "random_prior", "model")
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
        tagged = bool(plain.network.spec.tag_ids)
        fitting: list[PolicyName] = [
            name
            for name in POLICIES
            if name == "none" or (name in _UNAIDED and tagged) or (name in _AIDED and classifier is not None)
        ]
        self.labels: list[str] = list(plain.network.spec.labels) if tagged else []
        self._responders: dict[PolicyName, Responder] = {}
        for name in fitting:
            needed = classifier if name in _AIDED else None
            self._responders[name] = plain.with_policy(build_policy(name, classifier=needed, device=device))

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
        places: dict[PolicyName, list[int]] = defaultdict(list)
        for place, talk in enumerate(talks):
            places[talk.policy].append(place)
        found: dict[int, Response] = {}
        for policy, members in places.items():
            asked = [
                TurnAsked(_key(talks[place]), talks[place].turns, strategy=talks[place].strategy) for place in members
            ]
            found |= dict(zip(members, self._responders[policy].respond(asked), strict=True))
        return [found[place] for place in range(len(talks))]


def _key(talk: Talk) -> str:
    """What fixes the draws: the seed and what was said."""
    said = json.dumps([(turn.speaker, turn.text) for turn in talk.turns])
    return f"{talk.seed}:{hashlib.sha256(said.encode()).hexdigest()}"
