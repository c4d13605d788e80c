"""One door to the engines: every call is paced, retried, paid for and logged, and none is made twice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import NoReturn

from errors import UserError
from synthesis.engines import BusyError, Engine, RejectedError, Reply, Request, Usage, estimate_tokens
from synthesis.limits import Budget, BudgetError, Retry
from synthesis.loose_json import clean
from synthesis.prompts import short_hash
from synthesis.store import Store

__all__ = ["Answer", "Caller", "Stopped"]

_LOST = 10
"""Calls given up in a row, none answered between them, after which the server counts as lost."""


class Stopped(Exception):  # noqa: N818 - it is no error
    """No further call is made in this run; the dialogue stays open for the next start."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call brought.

    Args:
        text: The answer.
        finish: See `Reply`.
        rejected: Why the request will never be answered; empty where it was.
    """

    text: str
    finish: str = "stop"
    rejected: str = ""


@dataclass
class Caller:
    """Makes calls, or takes their answers from the log.

    Args:
        store: The log.
        budget: What may be spent.
        retry: When a failed call is sent again.
    """

    store: Store
    budget: Budget
    retry: Retry

    def __post_init__(self) -> None:
        """Nothing has been asked yet."""
        self.stop_reason = ""
        self._stopping = asyncio.Event()
        self._gates: dict[int, asyncio.Semaphore] = {}
        self._given_up = 0

    def stop(self, reason: str) -> None:
        """Lets no new call begin; those in flight are waited for and logged."""
        self.stop_reason = self.stop_reason or reason
        self._stopping.set()

    async def call(self, engine: Engine, request: Request, *, dialogue: str, step: str, prompt_hash: str) -> Answer:
        """The answer to a request, asked for once in the life of the output folder.

        Args:
            engine: Who is asked.
            request: What.
            dialogue: The dialogue it belongs to.
            step: What distinguishes it from the dialogue's other calls, such as `2.actor.0` (trial, role, repetition).
            prompt_hash: Version of the template.

        Raises:
            Stopped: It was not answered and won't be in this run.
            UserError: No request will be, or the log holds an answer to another request under this name.
        """
        call_id = f"{dialogue}/{step}"
        asked = short_hash([engine.identity(), list(request.messages), vars(request.sampling), request.seed])
        if record := self.store.answer(dialogue, call_id):
            if record["request_hash"] != asked:
                raise UserError(
                    f"{self.store.log}: call '{call_id}' was made with another prompt or engine than now; go on with "
                    "the settings and the version that began this folder, or use another --output"
                )
            return Answer(record["answer"], record["finish"], record["rejected"])
        start = time.monotonic()
        reply, tries, rejected = await self._paid(engine, request)
        identity, text = engine.identity(), clean(reply.text)
        self.store.append(
            {
                "kind": "call",
                "call_id": call_id,
                "dialogue": dialogue,
                "role": request.role,
                "prompt_hash": prompt_hash,
                "request_hash": asked,
                "messages": None if "clinical" in request.sources else list(request.messages),
                "sources": sorted(request.sources),
                "seed": request.seed,
                "sampling": vars(request.sampling),
                **identity,
                "model": reply.model or identity.get("model", ""),
                "revision": reply.revision or identity.get("revision", ""),
                "answer": text,
                "finish": reply.finish,
                "rejected": rejected,
                "prompt_tokens": reply.usage.prompt_tokens,
                "completion_tokens": reply.usage.completion_tokens,
                "tokens_estimated": reply.usage.estimated,
                "cost": engine.cost(reply.usage),
                "tries": tries,
                "seconds": round(time.monotonic() - start, 3),
            }
        )
        return Answer(text, reply.finish, rejected)

    async def _paid(self, engine: Engine, request: Request) -> tuple[Reply, int, str]:
        """Asks when the engine has room and the budget holds the longest answer."""
        async with self._gates.setdefault(id(engine), asyncio.Semaphore(engine.concurrency)):
            prompt = estimate_tokens(request.messages)
            tokens = prompt + request.sampling.max_tokens
            money = engine.cost(Usage(prompt, request.sampling.max_tokens))
            try:
                await self.budget.hold(tokens, money)
            except BudgetError:
                self.stop("the budget is spent")
                raise Stopped(self.stop_reason) from None
            try:
                if self.stop_reason:
                    raise Stopped(self.stop_reason)
                return await self._tried(engine, request)
            finally:
                self.budget.release(tokens, money)

    async def _tried(self, engine: Engine, request: Request) -> tuple[Reply, int, str]:
        """Asks until there is an answer: the reply, the tries it took, and why it was rejected."""
        tries = 0
        while True:
            tries += 1
            try:
                reply = await engine.complete(request)
            except RejectedError as error:
                return Reply("", Usage(), "rejected"), tries, str(error) or "rejected"
            except BusyError as error:
                if tries > self.retry.times:
                    self._give_up(error)
                await self._pause(self.retry.pause(tries, error.retry_after))
            else:
                self._given_up = 0
                self.budget.spend(reply.usage.prompt_tokens + reply.usage.completion_tokens, engine.cost(reply.usage))
                return reply, tries, ""

    def _give_up(self, error: BusyError) -> NoReturn:
        self._given_up += 1
        if self._given_up >= _LOST:
            self.stop(f"the engine doesn't answer: {error}")
        raise Stopped(str(error)) from None

    async def _pause(self, seconds: float) -> None:
        """Waits, but not beyond a stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        if self.stop_reason:
            raise Stopped(self.stop_reason)
