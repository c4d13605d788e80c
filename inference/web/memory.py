"""Memory of a process that runs for days."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["giving_back"]

In = TypeVar("In")
Out = TypeVar("Out")

_EVERY = 1.0


def giving_back(work: Callable[[Sequence[In]], Sequence[Out]]) -> Callable[[Sequence[In]], Sequence[Out]]:
    """The same work, after which freed memory goes back to the system, once a second at most.

    Batches have ever other shapes, and glibc keeps the freed blocks of each size: a server would grow by a
    third within minutes. Elsewhere than with glibc nothing is done.

    Args:
        work: What a `Batcher` runs.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    last = time.monotonic()

    def run(batch: Sequence[In]) -> Sequence[Out]:
        nonlocal last
        results = work(batch)
        if trim is not None and time.monotonic() - last > _EVERY:
            trim(0)
            last = time.monotonic()
        return results

    return run
