"""Names and numbers as a reader meets them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from metrics.comparison import Difference
from metrics.estimates import Estimate

__all__ = ["CLOSED_FORM", "apart", "gain", "mechanism", "metric", "number", "p_value", "seeds", "signed"]

_METRICS = {
    "level_accuracy": "accuracy",
    "level_f1_macro": "macro-F1",
    "level_f1_weighted": "weighted F1",
    "level_kappa_quadratic": "kappa (quadratic)",
    "rationale_f1": "rationale F1",
    "rationale_iou_f1": "rationale IOU-F1",
    "f1_macro": "macro-F1",
    "f1_weighted": "weighted F1",
    "accuracy_any": "accuracy (any label)",
    "top3_accuracy": "top-3 accuracy",
    "bleu": "BLEU",
    "bleu_2_esc": "BLEU-2 (ESConv)",
    "rouge_l": "ROUGE-L",
    "distinct_2": "distinct-2",
}


CLOSED_FORM = (
    "A score that predictions.jsonl can't give again has its run's own interval with one seed; with several a normal "
    "one, whose squared standard error is the mean of the runs' variances over test rows plus the variance between "
    "seeds over their number; and none where its runs have none."
)
"""How intervals are made that aren't drawn."""


def metric(key: str) -> str:
    """A metric's name in words."""
    return _METRICS.get(key, key.replace("_", " "))


def mechanism(name: str) -> str:
    """A mechanism's name in words."""
    return name.replace("_", " ")


def number(value: float, digits: int = 3) -> str:
    """A score; a dash where it isn't defined."""
    return "–" if isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign."""
    return "–" if isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def gain(found: Difference | Estimate, scale: float = 1.0) -> str:
    """A difference with its interval, signed."""
    if isnan(found.value):
        return "–"
    ends = "" if isnan(found.low) else f" ({signed(scale * found.low)} to {signed(scale * found.high)})"
    return signed(scale * found.value) + ends


def p_value(p: float) -> str:
    """A p-value."""
    if isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def apart(differing: Sequence[str]) -> str:
    """Says that numbers don't compare, and why."""
    told = "; ".join(differing)
    return f"Numbers of unlike protocol stand in separate tables and panels and don't compare. What differs: {told}."


def seeds(count: int) -> str:
    """How many seeds."""
    return f"{count} seed{'s' if count != 1 else ''}"
