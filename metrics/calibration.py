"""Whether probabilities mean what they say: reliability by bins, and the expected calibration error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reliability", "reliability"]

FloatArray = NDArray[np.float64]


class Reliability(NamedTuple):
    """What a reliability diagram shows (Guo et al., ICML 2017). K bins of equal width from 0 to 1.

    Args:
        rows: float64[K], rows in each bin.
        confidence: float64[K], their mean probability; nan in an empty bin.
        right: float64[K], the share of them that was right; nan in an empty bin.
        error: Expected calibration error: the mean gap between the two, weighted by rows; nan without rows.
    """

    rows: FloatArray
    confidence: FloatArray
    right: FloatArray
    error: float


def reliability(confidence: FloatArray, right: FloatArray, bins: int = 15) -> Reliability:
    """Compares the probability that a model gives its choice with how often that is right.

    Args:
        confidence: float64[N], from 0 to 1; 1 falls into the last bin.
        right: float64[N], 1 where the choice was right, else 0.
        bins: K.
    """
    number = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    rows = np.bincount(number, minlength=bins).astype(np.float64)
    said, was = (np.bincount(number, weights=each, minlength=bins) for each in (confidence, right))
    with np.errstate(invalid="ignore"):
        means = said / rows, was / rows
    error = float(np.abs(said - was).sum() / len(right)) if len(right) else float("nan")
    return Reliability(rows, *means, error)
