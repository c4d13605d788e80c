import asyncio
import random
import time

import pytest

from errors import UserError
from synthesis.limits import Budget, BudgetError, Pace, Retry


def test_the_budget_holds_the_longest_answers_and_counts_what_was_spent():
    async def run():
        budget = Budget(tokens=100, money=1.0)
        await budget.hold(60, 0.1)
        waiting = asyncio.create_task(budget.hold(60, 0.1))
        await asyncio.sleep(0)
        assert not waiting.done()
        budget.spend(30, 0.1)
        budget.release(60, 0.1)
        await waiting
        budget.spend(60, 0.1)
        budget.release(60, 0.1)
        with pytest.raises(BudgetError):
            await budget.hold(11, 0.0)
        await budget.hold(10, 0.0)
        budget.release(10, 0.0)
        with pytest.raises(BudgetError):
            await budget.hold(0, 0.81)

    asyncio.run(run())


def test_pauses_double_with_jitter_up_to_the_longest_and_heed_the_server():
    retry = Retry(wait=1.0, longest=5.0)
    random.seed(0)
    for tried, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (9, 5.0)):
        pauses = [retry.pause(tried, None) for _ in range(50)]
        assert most / 2 <= min(pauses) < max(pauses) <= most
    assert retry.pause(1, 30.0) == 30.0


def test_requests_and_tokens_are_spread_over_the_minute():
    async def run(pace, tokens):
        start = time.monotonic()
        for _ in range(4):
            await pace.turn(tokens)
        return time.monotonic() - start

    assert 0.28 < asyncio.run(run(Pace(requests=600), 1)) < 0.6
    assert 0.28 < asyncio.run(run(Pace(tokens=60_000), 100)) < 0.6
    assert asyncio.run(run(Pace(), 10**9)) < 0.1


def test_a_request_that_took_fewer_tokens_lets_the_next_go_sooner():
    async def run():
        pace = Pace(tokens=600)
        await pace.turn(1000)
        pace.correct(-999)
        start = time.monotonic()
        await pace.turn(1)
        return time.monotonic() - start

    assert asyncio.run(run()) < 0.3


@pytest.mark.parametrize(
    "make", [lambda: Pace(0), lambda: Budget(tokens=0), lambda: Budget(money=-1), lambda: Retry(-1)]
)
def test_bad_values(make):
    with pytest.raises(UserError):
        make()
