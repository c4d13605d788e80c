"""Agreement as a picture: a panel a question, a line a figure, with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import replacing_path
from datamodules.records import MECHANISMS
from errors import UserError

if TYPE_CHECKING:
    from metrics.estimates import Estimate

__all__ = ["SUFFIXES", "draw"]

SUFFIXES = (".svg", ".png", ".pdf")

_COLOURS = {"pair": "#999999", "all": "#0072B2", "human": "#009E73", "model": "#D55E00"}
"""Okabe and Ito's palette, which people with any kind of colour vision can tell apart."""


def draw(estimates: Mapping[str, Estimate], path: Path, level: float) -> None:
    """Draw kappas and alphas of every question, and people beside the model where there is one.

    Args:
        estimates: Key -> estimate, as `experiments.annotation.agreement.agreement` returns them.
        path: A file with one of `SUFFIXES`.
        level: The intervals' confidence.

    Raises:
        UserError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--figure needs matplotlib: pip install 'attune[figures]'") from None
    panels: dict[str, list[tuple[str, str, Estimate]]] = {}
    for key, estimate in estimates.items():
        question, _, measure = key.rpartition("/")
        owner = question.rpartition("/")[2]
        if (line := _line(measure, owner)) and estimate.value == estimate.value:
            panel = question.removesuffix(f"/{owner}") if "~" in owner else question
            panels.setdefault(panel, []).append((*line, estimate))
    if not panels:
        raise UserError("--figure: no kappa or alpha is defined for these answers, so there is nothing to draw")
    tallest = max(map(len, panels.values()))
    lows = [estimate.low for lines in panels.values() for _, _, estimate in lines if estimate.low == estimate.low]
    figure = Figure(figsize=(3.2 * len(panels) + 1, 0.3 * tallest + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for axis, (question, lines) in zip(axes, panels.items(), strict=True):
        _panel(axis, question, lines, min([0.0, *lows]))
    figure.supxlabel(f"agreement beyond chance, {level:.0%} interval", fontsize=9)
    with replacing_path(path) as part:
        figure.savefig(part, format=path.suffix.lower().removeprefix("."), dpi=200)


def _line(measure: str, owner: str) -> tuple[str, str] | None:
    """Label and kind of a line, by what is measured of a question or a pair; None for one that isn't drawn."""
    if "~" in owner:
        return (owner.replace("~", " and "), "pair") if measure == "kappa" else None
    if owner not in (*MECHANISMS, "strategy"):
        return None
    drawn = {
        "mean_pairwise_kappa": ("mean kappa", "all"),
        "mean_pairwise_kappa_quadratic": ("mean kappa, quadratic", "all"),
        "alpha_nominal": ("alpha, nominal", "all"),
        "alpha_ordinal": ("alpha, ordinal", "all"),
        "human_level_kappa_quadratic": ("people, quadratic", "human"),
        "model_level_kappa_quadratic": ("model, quadratic", "model"),
    }
    return drawn.get(measure)


def _panel(axis: Any, question: str, lines: list[tuple[str, str, Estimate]], lowest: float) -> None:
    for place, (_, kind, estimate) in enumerate(lines):
        colour = _COLOURS[kind]
        axis.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=1.5)
        axis.plot(estimate.value, place, "D" if kind == "model" else "o", color=colour, markersize=5)
    axis.set_yticks(range(len(lines)), [label for label, _, _ in lines], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(lowest, 1.02)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_title(question.replace("_", " "), fontsize=9)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
