"""The report's figures: readable in print, in grey, and by people with any kind of colour vision."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import UserError
from experiments.report.document import Picture
from metrics.calibration import Reliability
from metrics.estimates import Estimate

__all__ = ["Confusion", "Curve", "Trace", "confusions", "curves", "doses", "reliabilities"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette; every colour has a marker and a line style of its own beside it."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
_RULES: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e3e3e3", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.6,
    "svg.hashsalt": "attune",
}  # fmt: skip


_FEW = 4
"""Labels whose names stand side by side below a matrix; those of more are turned."""


@dataclass
class Curve:
    """A line over a dose, with its interval: `points` are (dose, score)."""

    name: str
    points: list[tuple[float, Estimate]]


@dataclass
class Trace:
    """A score over steps; traces of one name share their look."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass
class Confusion:
    """A table of counts: gold i, predicted j."""

    title: str
    counts: NDArray[np.int64]
    labels: Sequence[str]


def _looks(count: int) -> list[dict[str, Any]]:
    """Colour, marker and dashes for each of so many lines."""
    rows = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_DASHES), strict=False)
    return [{"color": c, "marker": m, "linestyle": d} for c, m, d in islice(rows, count)]


def _panels(rows: int, columns: int, width: float, height: float, *, share: bool = True) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(
        rows, columns, squeeze=False, sharex="all" if share else "none", sharey="row" if share else "none"
    )


def _picture(figure: Any, name: str, title: str, alt: str, note: str) -> Picture:
    files = {"svg": io.BytesIO(), "png": io.BytesIO()}
    for kind, file in files.items():
        figure.savefig(file, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    return Picture(name, title, alt, note, files["svg"].getvalue(), files["png"].getvalue())


def _rules() -> Any:
    """The look of a figure, for as long as it is drawn."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise UserError("the report's figures need matplotlib: pip install 'attune[figures]'") from None
    return rc_context(_RULES)


def _legend(figure: Any, axes: Any) -> None:
    """One legend for all panels, below them."""
    found: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) > 1:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(4, len(found)), frameon=False)


def _below(axes: Any, label: str) -> None:
    """Names the x axis once a column; the figure's own label would lie on the legend."""
    for axis in axes[-1]:
        axis.set_xlabel(label)


def doses(
    name: str,
    title: str,
    panels: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Sequence[Curve]]]],
    x_label: str,
    note: str,
    *,
    percent: bool = False,
) -> Picture:
    """Score against dose, a panel a mechanism, a line a generator, its interval as a band.

    Args:
        name: Files' name.
        title: Heading.
        panels: Names of the columns.
        rows: A score's name and its curves, a list for each panel.
        x_label: The dose.
        note: How to read it.
        percent: The dose is a share.
    """
    names = list(dict.fromkeys(curve.name for _, panel in rows for each in panel for curve in each))
    looks = dict(zip(names, _looks(len(names)), strict=True))
    with _rules():
        figure, axes = _panels(len(rows), len(panels), 3.0, 2.5)
        for line, (score, columns) in zip(axes, rows, strict=True):
            for axis, panel, found in zip(line, panels, columns, strict=True):
                for curve in found:
                    _band(axis, curve, looks[curve.name], percent=percent)
                axis.set_title(panel)
            line[0].set_ylabel(score)
        _below(axes, x_label + (" (%)" if percent else ""))
        _legend(figure, axes)
        return _picture(figure, name, title, _alt(rows, panels, x_label), note)


def _band(axis: Any, curve: Curve, look: dict[str, Any], *, percent: bool) -> None:
    x = [dose * (100 if percent else 1) for dose, _ in curve.points]
    value, low, high = (np.array([getattr(each, end) for _, each in curve.points]) for end in ("value", "low", "high"))
    axis.plot(x, value, label=curve.name, markersize=4, **look)
    axis.fill_between(x, low, high, color=look["color"], alpha=0.1, linewidth=0)
    for end in (low, high):
        axis.plot(x, end, color=look["color"], linestyle=look["linestyle"], linewidth=0.5, alpha=0.7)


def _alt(rows: Sequence[tuple[str, Sequence[Sequence[Curve]]]], panels: Sequence[str], x_label: str) -> str:
    """The figure in words: where each line of the last row begins and ends."""
    score, columns = rows[-1]
    told = []
    for panel, found in zip(panels, columns, strict=True):
        for curve in found:
            (first, start), (last, end) = curve.points[0], curve.points[-1]
            told.append(f"{panel}, {curve.name}: {start.value:.3f} at {first:g}, {end.value:.3f} at {last:g}")
    return f"{score} against {x_label}. " + "; ".join(told) + "."


def curves(name: str, title: str, rows: Sequence[tuple[str, Sequence[tuple[str, Sequence[Trace]]]]]) -> Picture:
    """Learning curves: a row a score, a panel a mechanism, a line a run.

    Args:
        name: Files' name.
        title: Heading.
        rows: A score's name and its panels: a panel's name and its traces.
    """
    names = list(dict.fromkeys(trace.name for _, panels in rows for _, found in panels for trace in found))
    looks = dict(zip(names, _looks(len(names)), strict=True))
    with _rules():
        figure, axes = _panels(len(rows), len(rows[0][1]), 3.0, 2.3)
        for line, (score, panels) in zip(axes, rows, strict=True):
            for axis, (panel, found) in zip(line, panels, strict=True):
                for trace in found:
                    every = max(1, len(trace.steps) // 6)
                    look = looks[trace.name]
                    marks = {"markevery": every, "markersize": 3, "alpha": 0.8}
                    axis.plot(trace.steps, trace.values, label=trace.name, **marks, **look)
                axis.set_title(panel)
            line[0].set_ylabel(score)
        _below(axes, "optimiser steps")
        _legend(figure, axes)
        ends = [
            f"{panel}, {trace.name}: {trace.values[-1]:.3f}"
            for _, panels in rows[-1:]
            for panel, found in panels
            for trace in found
        ]
        alt = f"{' and '.join(score for score, _ in rows)} over optimiser steps; at the end {'; '.join(ends)}."
        note = "A line a seed; lines of one look are one condition."
        return _picture(figure, name, title, alt, note)


def confusions(name: str, title: str, rows: Sequence[Sequence[Confusion]], note: str) -> Picture:
    """Confusion matrices, shaded by the share of the gold label."""
    every = {tuple(each.labels) for found in rows for each in found}
    size = max(map(len, every))
    longest = max(len(label) for labels in every for label in labels)
    side = 2.6 if size <= _FEW else 0.5 * size + 0.06 * longest
    with _rules():
        figure, axes = _panels(len(rows), max(map(len, rows)), side, side + 0.1, share=len(every) == 1)
        told = []
        for line, found in zip(axes, rows, strict=True):
            for axis in line[len(found) :]:
                axis.set_visible(False)
            for axis, each in zip(line, found, strict=False):
                _matrix(axis, each)
                right = np.trace(each.counts) / max(each.counts.sum(), 1)
                told.append(f"{each.title}: {100 * right:.0f} % on the diagonal")
        _below(axes, "predicted")
        for line in axes:
            line[0].set_ylabel("annotated")
        return _picture(figure, name, title, "Confusion matrices. " + "; ".join(told) + ".", note)


def _matrix(axis: Any, confusion: Confusion) -> None:
    shares = confusion.counts / np.maximum(confusion.counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.grid(visible=False)
    places = range(len(confusion.labels))
    turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if len(places) > _FEW else {}
    axis.set_xticks(places, confusion.labels, **turned)
    axis.set_yticks(places, confusion.labels)
    axis.set_title(confusion.title, fontsize=8)
    for gold in places:
        for predicted in places:
            share = float(shares[gold, predicted])
            text = f"{confusion.counts[gold, predicted]}\n{100 * share:.0f} %"
            ink = "white" if share > 0.55 else "#222222"
            axis.text(predicted, gold, text, ha="center", va="center", fontsize=7, color=ink)


def reliabilities(name: str, title: str, panels: Sequence[tuple[str, Sequence[tuple[str, Reliability]]]]) -> Picture:
    """Reliability diagrams: how often a level was right against the probability that it was given."""
    names = list(dict.fromkeys(each for _, found in panels for each, _ in found))
    looks = dict(zip(names, _looks(len(names)), strict=True))
    with _rules():
        figure, axes = _panels(1, len(panels), 3.0, 3.0)
        told = []
        for axis, (panel, found) in zip(axes[0], panels, strict=True):
            axis.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=":")
            axis.set_title(f"{panel}\n" + ", ".join(f"{one.error:.3f}" for _, one in found))
            for each, one in found:
                filled = one.rows > 0
                axis.plot(one.confidence[filled], one.right[filled], label=each, markersize=4, **looks[each])
                told.append(f"{panel}, {each}: expected calibration error {one.error:.3f}")
        axes[0][0].set_ylabel("share that was right")
        _below(axes, "probability of the likeliest label")
        _legend(figure, axes)
        note = (
            "On the dotted line probabilities mean what they say; below it the model is too sure. The numbers are "
            "expected calibration errors (15 bins of equal width), in the legend's order; seeds are pooled."
        )
        return _picture(figure, name, title, "; ".join(told) + ".", note)
