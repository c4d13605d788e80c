"""Pictures as SVG text, coloured by the page's classes `s0`, `s1`, `s2`, so that they fit a dark screen as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from metrics.estimates import Estimate

__all__ = ["bars", "histogram", "intervals"]

_WIDTH, _LEFT, _RIGHT = 660, 235, 56
_ROW = 16


def histogram(series: Mapping[str, ArrayLike], axis: str, *, bins: int = 30, log: bool = False) -> str:
    """Shares of rows by value, a line of steps a series.

    Args:
        series: Name -> values; values that are not finite are left out.
        axis: Name of the values, with their unit.
        bins: Number of steps.
        log: Steps of equal ratio (values of at least 1).
    """
    values = {name: np.asarray(each, dtype=np.float64) for name, each in series.items()}
    values = {name: each[np.isfinite(each)] for name, each in values.items()}
    pooled = np.concatenate(list(values.values()))
    low, high = (float(pooled.min()), float(pooled.max())) if len(pooled) else (0.0, 1.0)
    if log:
        low, high = math.log(max(low, 1)), math.log(max(high, 1))
    if not log and high - low < bins and all((each % 1 == 0).all() for each in values.values()):
        bins, low, high = int(high - low) + 1, low - 0.5, high + 0.5  # a step for each whole number
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    height, left, bottom = 220, 46, 172
    span = _WIDTH - left - 12
    shares = {}
    for name, each in values.items():
        placed = np.log(np.maximum(each, 1)) if log else each
        shares[name] = np.histogram(placed, edges)[0] / max(len(each), 1)
    top = max((float(share.max()) for share in shares.values()), default=1.0) or 1.0
    parts = [_line(left, bottom, _WIDTH - 12, bottom, "axis")]
    for tick in range(5):
        x = left + span * tick / 4
        value = edges[0] + (edges[-1] - edges[0]) * tick / 4
        parts.append(_text(x, bottom + 18, _short(math.exp(value) if log else value), "middle"))
    for mark in (top / 2, top):
        y = bottom - 150 * mark / top
        parts += [_line(left, y, _WIDTH - 12, y, "grid"), _text(left - 6, y + 4, f"{100 * mark:.0f} %", "end")]
    for index, share in enumerate(shares.values()):
        stops = (left + span * np.arange(bins + 1) / bins).tolist()
        heights = [bottom - 150 * each / top for each in share.tolist()]
        points = " ".join(
            f"{a:.1f},{y:.1f} {b:.1f},{y:.1f}" for (a, b), y in zip(pairwise(stops), heights, strict=True)
        )
        parts.append(f'<polyline class="step s{index}" points="{left},{bottom} {points} {stops[-1]:.1f},{bottom}"/>')
    parts.append(_text(left + span / 2, bottom + 36, axis, "middle"))
    return _svg(height + 12, [*parts, *_legend(list(shares), left)], axis)


def bars(labels: Sequence[str], series: Mapping[str, Sequence[float]], axis: str) -> str:
    """Shares as horizontal bars, grouped by label.

    Args:
        labels: Names of the groups of bars.
        series: Name -> a share for each label.
        axis: What the bars measure.
    """
    top = max((value for each in series.values() for value in each if value == value), default=0.0) or 1.0
    step = _ROW * len(series) + 8
    span = _WIDTH - _LEFT - _RIGHT
    parts = []
    for row, label in enumerate(labels):
        y = 24 + row * step
        parts.append(_text(_LEFT - 8, y + step / 2, label, "end", limit=36))
        for index, each in enumerate(series.values()):
            value = each[row]
            if value != value:
                continue
            length = span * value / top
            place = y + index * _ROW
            parts.append(
                f'<rect class="fill s{index}" x="{_LEFT}" y="{place}" width="{length:.1f}" height="{_ROW - 3}" rx="2"/>'
            )
            parts.append(_text(_LEFT + length + 5, place + 11, f"{100 * value:.1f} %", "start"))
    return _svg(30 + len(labels) * step, [*parts, *_legend(list(series), _LEFT)], axis)


def intervals(labels: Sequence[str], values: Sequence[Estimate], axis: str) -> str:
    """Estimates with their intervals beside a line at zero.

    Args:
        labels: Names of the estimates.
        values: The estimates.
        axis: What is measured.
    """
    ends = [abs(end) for value in values for end in (value.low, value.high, value.value) if end == end]
    reach = max(ends, default=1.0) or 1.0
    middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
    scale = (_WIDTH - _LEFT - _RIGHT) / 2 / reach
    bottom = 20 + 18 * len(labels)
    parts = [_line(middle, 10, middle, bottom, "axis")]
    for row, (label, value) in enumerate(zip(labels, values, strict=True)):
        y = 22 + 18 * row
        parts.append(_text(_LEFT - 8, y + 4, label, "end", limit=36))
        sure = value.low > 0 or value.high < 0
        style = "s1" if sure else "s0"
        if value.low == value.low:
            parts.append(_line(middle + scale * value.low, y, middle + scale * value.high, y, f"whisker {style}"))
        if value.value == value.value:
            parts.append(f'<circle class="fill {style}" cx="{middle + scale * value.value:.1f}" cy="{y}" r="4"/>')
    ticks = [(middle + scale * end, f"{end:+.2f}" if end else "0") for end in (-reach, 0.0, reach)]
    parts += [_text(x, bottom + 14, shown, "middle") for x, shown in ticks]
    parts.append(_text(middle, bottom + 30, axis, "middle"))
    return _svg(bottom + 38, parts, axis)


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, limit: int = 90) -> str:
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(shown)}</text>'


def _legend(names: Sequence[str], x: float) -> list[str]:
    parts = []
    for index, name in enumerate(names):
        parts.append(f'<rect class="fill s{index}" x="{x:.0f}" y="4" width="11" height="11" rx="2"/>')
        parts.append(_text(x + 16, 14, name, "start"))
        x += 36 + 7 * len(name)
    return parts


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
