"""One at a time in, many at a time through: collects concurrent calls for work that is done in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Batcher", "in_groups"]

In = TypeVar("In")
Out = TypeVar("Out")
Group = TypeVar("Group", bound=Hashable)


def in_groups(
    items: Sequence[In], group: Callable[[In], Group], work: Callable[[Group, Sequence[In]], Sequence[Out]]
) -> list[Out]:
    """Works on items of one group at a time.

    Args:
        items: The items.
        group: Item -> its group.
        work: A group and its items -> results, one an item and in order.

    Returns:
        A result an item, in the order of the items.
    """
    places: dict[Group, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(group(item), []).append(place)
    found: dict[int, Out] = {}
    for key, members in places.items():
        found |= zip(members, work(key, [items[place] for place in members]), strict=True)
    return [found[place] for place in range(len(items))]


class Batcher(Generic[In, Out]):
    """Runs a function on batches, in one thread, and hands each caller its own result.

    Args:
        work: Batch -> results, one an item and in order.
        size: Items of a batch at most.
        wait: Seconds that an item waits for company while the thread is idle.
    """

    def __init__(self, work: Callable[[Sequence[In]], Sequence[Out]], size: int, wait: float = 0.02) -> None:
        self._work = work
        self._size = size
        self._wait = wait
        self._queue: list[tuple[In, asyncio.Future[Out]]] = []
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._queue)

    def submit(self, item: In) -> asyncio.Future[Out]:
        """The item's result to come; the item counts as waiting from now on."""
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return future

    def close(self) -> None:
        """Ends the thread when its work is done."""
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        await asyncio.sleep(self._wait)
        while self._queue:
            batch, self._queue = self._queue[: self._size], self._queue[self._size :]
            try:
                items = [item for item, _ in batch]
                results = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
