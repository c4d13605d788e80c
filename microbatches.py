"""One at a time in, many at a time through: collects concurrent calls for work that is done in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Batcher"]

In = TypeVar("In")
Out = TypeVar("Out")


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

    async def submit(self, item: In) -> Out:
        """The item's result."""
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

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
