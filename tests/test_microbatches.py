"""Calls that come together are worked on together."""

from __future__ import annotations

import asyncio

import pytest

from microbatches import Batcher, in_groups


def test_items_wait_from_the_moment_that_they_are_submitted() -> None:
    """Whoever turns requests away by `waiting` must see those of the same moment."""
    batches: list[int] = []

    def work(items):
        batches.append(len(items))
        return [item * 10 for item in items]

    async def run() -> None:
        batcher = Batcher(work, 4, 0.0)
        results = [batcher.submit(number) for number in range(10)]
        assert batcher.waiting == 10
        assert await asyncio.gather(*results) == [number * 10 for number in range(10)]
        assert batcher.waiting == 0
        batcher.close()

    asyncio.run(run())
    assert batches == [4, 4, 2]


def test_a_batch_that_fails_fails_alone() -> None:
    def work(items):
        if 1 in items:
            raise ValueError("one")
        return items

    async def run() -> None:
        batcher = Batcher(work, 2, 0.0)
        results = await asyncio.gather(*map(batcher.submit, range(4)), return_exceptions=True)
        assert [str(result) for result in results] == ["one", "one", "2", "3"]
        batcher.close()

    asyncio.run(run())


def test_groups_are_worked_on_apart_and_come_back_in_order() -> None:
    seen = []

    def work(group, items):
        seen.append((group, list(items)))
        return [f"{group}{item}" for item in items]

    assert in_groups([3, 4, 5, 6], lambda item: item % 2, work) == ["13", "04", "15", "06"]
    assert seen == [(1, [3, 5]), (0, [4, 6])]
    with pytest.raises(ValueError, match="zip"):
        in_groups([1, 2], lambda item: 0, lambda group, items: [1])
