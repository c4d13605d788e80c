"""A confusion matrix as an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

__all__ = ["confusion_svg"]

_CELL = 64
_LEFT = 220
_TOP = 64


def confusion_svg(table: NDArray[np.float64], labels: Sequence[str], title: str) -> str:
    """Draws the matrix, shaded by the share of each gold label.

    Args:
        table: float64 [K, K], gold i, predicted j.
        labels: The K labels.
        title: Above the picture.
    """
    size = len(labels)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    slanted = 150
    width, height = _LEFT + size * _CELL + slanted, _TOP + size * _CELL + slanted
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
        '<text x="12" y="44" fill="#555">rows: gold; columns: predicted; count, and per cent of the gold label</text>',
    ]
    for row, label in enumerate(labels):
        middle = _TOP + row * _CELL + _CELL // 2
        parts.append(f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(label)}</text>')
        for column in range(size):
            share = float(shares[row, column])
            left = _LEFT + column * _CELL
            ink = "white" if share > 0.55 else "#222"
            centre = f'x="{left + _CELL // 2}" text-anchor="middle" fill="{ink}"'
            parts.append(
                f'<rect x="{left}" y="{middle - _CELL // 2}" width="{_CELL}" height="{_CELL}" '
                f'fill="#1f5fa8" fill-opacity="{share:.3f}" stroke="#ccc"/>'
                f'<text y="{middle}" {centre}>{table[row, column]:.0f}</text>'
                f'<text y="{middle + 16}" {centre} font-size="10">{100 * share:.0f} %</text>'
            )
    bottom = _TOP + size * _CELL + 16
    for column, label in enumerate(labels):
        left = _LEFT + column * _CELL + _CELL // 2
        parts.append(f'<text x="{left}" y="{bottom}" transform="rotate(35 {left} {bottom})">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>\n"])
