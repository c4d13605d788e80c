"""What keeps calls within bounds: pace, retries, budget."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from errors import UserError

__all__ = ["Budget", "BudgetError", "Pace", "Retry"]


class Pace:
    """Spreads requests so that neither limit is passed in any minute.

    A request waits for its turn: turns are `60 / requests` seconds apart, and a request of n tokens moves the next
    turn by `60 * n / tokens` seconds.

    Args:
        requests: Requests a minute; None: no limit.
        tokens: Tokens a minute, prompts and answers together; None: no limit.
    """

    def __init__(self, requests: float | None = None, tokens: float | None = None) -> None:
        if (requests is not None and requests <= 0) or (tokens is not None and tokens <= 0):
            raise UserError(
                f"limits of {requests} requests and {tokens} tokens a minute: give numbers above 0, or null"
            )
        self._request_seconds = 60 / requests if requests else 0.0
        self._token_seconds = 60 / tokens if tokens else 0.0
        self._next = 0.0

    async def turn(self, tokens: int) -> None:
        """Waits until a request of about so many tokens may be sent."""
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + max(self._request_seconds, tokens * self._token_seconds)
        if start > now:
            await asyncio.sleep(start - now)

    def correct(self, difference: int) -> None:
        """Tells that a request took so many tokens more (or less) than announced."""
        self._next += difference * self._token_seconds


@dataclass(frozen=True)
class Retry:
    """When a call that failed is sent again.

    Args:
        times: How often at most; then the call is given up and its dialogue waits for the next start.
        wait: Seconds before the second try; doubled for each further one, up to `longest`, and drawn between half of
            that and all of it, so that many callers don't return at once.
        longest: Seconds between tries at most (a server may ask for more).
    """

    times: int = 6
    wait: float = 1.0
    longest: float = 60.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.times < 0 or self.wait < 0 or self.longest < 0:
            raise UserError(f"{self}: times, wait and longest are 0 or more")

    def pause(self, tried: int, asked: float | None) -> float:
        """Seconds to wait after so many tries."""
        pause = min(self.longest, self.wait * 2.0 ** min(tried - 1, 30)) * random.uniform(0.5, 1.0)
        return max(pause, asked or 0.0)


class BudgetError(Exception):
    """The next call could pass the budget, so it was not made."""


@dataclass
class Budget:
    """What an output folder may cost in all, earlier starts included.

    A call is made only if the budget holds it and every call in flight at their longest answers. Prompt lengths are
    estimates (`estimate_tokens`), so the budget is kept to within their error.

    Args:
        tokens: Prompt and completion tokens; None: no limit.
        money: In the currency of the engines' prices; None: no limit.
    """

    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        """Nothing is spent yet."""
        if (self.tokens is not None and self.tokens < 1) or (self.money is not None and self.money <= 0):
            raise UserError(f"{self}: tokens and money are above 0, or null for no limit")
        self.spent_tokens = 0
        self.spent_money = 0.0
        self._held: list[tuple[int, float]] = []
        self._released = asyncio.Event()

    async def hold(self, tokens: int, money: float) -> None:
        """Sets aside what a call may cost; waits for the calls in flight where only those stand in its way.

        Raises:
            BudgetError: There is not enough left.
        """
        while not self._has(tokens, money):
            if not self._held:
                raise BudgetError
            self._released.clear()
            await self._released.wait()
        self._held.append((tokens, money))

    def release(self, tokens: int, money: float) -> None:
        """Takes back what `hold` set aside."""
        self._held.remove((tokens, money))
        self._released.set()

    def _has(self, tokens: int, money: float) -> bool:
        held_tokens, held_money = sum(held[0] for held in self._held), sum(held[1] for held in self._held)
        return (self.tokens is None or self.spent_tokens + held_tokens + tokens <= self.tokens) and (
            self.money is None or self.spent_money + held_money + money <= self.money
        )

    def spend(self, tokens: int, money: float) -> None:
        """Counts what was spent."""
        self.spent_tokens += tokens
        self.spent_money += money
