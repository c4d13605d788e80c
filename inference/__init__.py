"""Using what was learned: `EmpathyScorer.load("runs/x").score(pairs)`."""

from inference.scorer import EmpathyScore, EmpathyScorer

__all__ = ["EmpathyScore", "EmpathyScorer"]
