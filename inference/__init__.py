"""Using what was learned: `EmpathyScorer.load("runs/x").score(pairs)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.scorer import EmpathyScore, EmpathyScorer

__all__ = ["EmpathyScore", "EmpathyScorer"]


def __getattr__(name: str) -> Any:
    """Imports the scorer when it is asked for: it takes seconds, which `score --help` should not."""
    if name not in __all__:
        raise AttributeError(name)
    from inference import scorer

    return getattr(scorer, name)
