"""What every engine is: messages in, text and usage out.

An engine is called once a message list and many calls run at the same time (`Engine.concurrency`); one that computes
in batches collects the calls in flight. Waiting, retrying, counting and logging are not its business: see `limits` and
`calls`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from errors import UserError
from synthesis.limits import Retry
from synthesis.loose_json import clean

__all__ = [
    "BusyError",
    "Engine",
    "Message",
    "RejectedError",
    "Reply",
    "Request",
    "Role",
    "Sampling",
    "Usage",
    "estimate_tokens",
]

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""

Role = Literal["actor", "evaluator", "reflection", "labels", "rationales", "scorer", "responder", "judge"]
"""What a call is for."""


class BusyError(Exception):
    """The request may be answered when it is sent again: rate limit, time-out, server error, no connection.

    Args:
        message: What happened.
        retry_after: Seconds to wait that the server asked for.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RejectedError(Exception):
    """This request will never be answered (too long, filtered); others may be."""


@dataclass(frozen=True)
class Sampling:
    """How an engine draws its tokens.

    Args:
        temperature: 0 takes the most probable token.
        top_p: Share of the probability mass that is drawn from.
        max_tokens: Tokens of an answer at most.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 600

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_tokens < 1:
            raise UserError(f"{self}: temperature is 0 or more, top_p in (0, 1], max_tokens 1 or more")


@dataclass(frozen=True, slots=True)
class Request:
    """One call.

    Args:
        messages: The conversation so far.
        sampling: How to draw.
        seed: Seed of the draw, for engines that take one.
        role: What the call is for.
        target: What is asked for, such as `{"mechanism": "explorations", "level": 2}`; the scripted engine plays by it,
            a language model sees only the messages.
        sources: Sources of the real rows that the messages hold.
    """

    messages: Sequence[Message]
    sampling: Sampling
    seed: int
    role: Role
    target: Mapping[str, Any] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost.

    Args:
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        estimated: Whether the engine gave no counts and these are guessed from the texts' lengths.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Args:
        text: What the model wrote; empty for a refusal without text.
        usage: What it cost.
        finish: Why it ended: `stop`, `length` (cut at `max_tokens`), `refusal`, or the server's own word.
        model: The model that answered, as the engine names it.
        revision: Its version (commit, fingerprint), empty where the engine knows none.
    """

    text: str
    usage: Usage
    finish: str = "stop"
    model: str = ""
    revision: str = ""


class Engine(ABC):
    """Something that answers messages.

    Attributes:
        name: Names the generator in rows: `<name>-<method>`.
        concurrency: How many calls it takes at the same time.
        prices: Money for a million prompt tokens and a million completion tokens.
    """

    name: str
    concurrency: int = 1
    prices: tuple[float, float] = (0.0, 0.0)

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What the log and the data card say of it (engine, model, revision ...), known before the first call.

        A run is resumed only with an engine of the same identity; addresses and secrets don't belong here.
        """

    @abstractmethod
    async def complete(self, request: Request) -> Reply:
        """Answers one request.

        Raises:
            BusyError: Trying again may help.
            RejectedError: It never will, for this request.
            UserError: It never will, for any request.
        """

    async def ask(
        self,
        messages: Sequence[Message],
        sampling: Mapping[str, Any],
        seed: int = 0,
        *,
        role: Role,
        target: Mapping[str, Any] | None = None,
        sources: frozenset[str] = frozenset(),
    ) -> Reply | None:
        """Answers messages outside a run of `synthesize`, with pauses and further tries while the engine is busy.

        Args:
            messages: The conversation so far.
            sampling: The fields of `Sampling`.
            seed: See `Request`, as the rest.
            role: See `Request`.
            target: See `Request`.
            sources: See `Request`.

        Returns:
            The answer; None where this request will never be answered.

        Raises:
            UserError: No request will be, the engine stays busy, or the sources may not be sent there.
        """
        self.check_sources(sources)
        request = Request(messages, Sampling(**sampling), seed, role, target or {}, sources)
        retry, tries = Retry(), 0
        while True:
            tries += 1
            try:
                reply = await self.complete(request)
            except RejectedError:
                return None
            except BusyError as error:
                if tries > retry.times:
                    kept = "what was answered so far is kept; the same command goes on"
                    raise UserError(f"the engine doesn't answer: {error}; {kept}") from None
                await asyncio.sleep(retry.pause(tries, error.retry_after))
            else:
                return replace(reply, text=clean(reply.text))

    @abstractmethod
    def outside(self) -> list[str]:
        """Addresses outside this machine, and not allowed for clinical text, that prompts are sent to.

        Every engine has to say: none is taken for local because its author forgot.
        """

    def check_sources(self, sources: frozenset[str]) -> None:
        """Refuses prompts that hold rows of a source which must not leave this machine; called before every call.

        Raises:
            UserError: The source is `clinical` and the engine is elsewhere.
        """
        if "clinical" in sources and (addresses := self.outside()):
            raise UserError(
                f"the prompts hold rows of a clinical source, and {', '.join(addresses)} is not on this machine: "
                "nothing was sent. Use an engine on this machine, or, if you may send clinical text there, name the "
                "address in the engine's option allow_clinical"
            )

    async def close(self) -> None:
        """Lets go of connections and threads."""
        return

    def cost(self, usage: Usage) -> float:
        """Money for an answer."""
        return (usage.prompt_tokens * self.prices[0] + usage.completion_tokens * self.prices[1]) / 1e6


def estimate_tokens(messages: Sequence[Message]) -> int:
    """A guess at a prompt's tokens, rarely too low for English: a token for three bytes and four a message."""
    return sum(4 + len(message["content"].encode()) // 3 for message in messages)
