"""What runs in one process share: made once while `sharing()` is on, anew for every run otherwise."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["shared", "sharing"]

T = TypeVar("T")
_KEPT_OF_A_KIND = 8

_kept: dict[str, OrderedDict[Hashable, Any]] | None = None


@contextmanager
def sharing() -> Iterator[None]:
    """Keeps what `shared` makes until the block ends; a block within another shares with it."""
    global _kept
    before = _kept
    _kept = {} if before is None else before
    try:
        yield
    finally:
        _kept = before


def shared(kind: str, key: Callable[[], Hashable], make: Callable[[], T], *, changes: bool = False) -> T:
    """What `make` gives; within `sharing()`, made once a key.

    The least recently used are forgotten, so that a long series of runs needs no more memory than a short one.

    Args:
        kind: What it is; a few of each kind are kept.
        key: Gives everything that the result depends on, by content; not called where nothing is shared.
        make: Makes it.
        changes: Whether the taker changes it and so needs a copy; otherwise it must not be changed.
    """
    if _kept is None:
        return make()
    of_kind = _kept.setdefault(kind, OrderedDict())
    name = key()
    if name not in of_kind:
        of_kind[name] = make()
    of_kind.move_to_end(name)
    while len(of_kind) > _KEPT_OF_A_KIND:
        of_kind.popitem(last=False)
    found: T = of_kind[name]
    return copy.deepcopy(found) if changes else found
