"""Agreement as a picture: a panel a question, a line a figure, with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import replacing_path
from errors import UserError

if TYPE_CHECKING:
    from metrics.agreement import Estimate

__all__ = ["SUFFIXES", "draw"]

SUFFIXES = (".svg", ".png", ".pdf")

_COLOURS = {"pair": "#999999", "all": "#0072B2", "human": "#009E73", "model": "#D55E00"}
"""Okabe and Ito's palette, which people with any kind of colour vision can tell apart."""


def draw(estimates: Mapping[str, Estimate], path: Path, level: float) -> None:
    """Draw kappas and alphas of every question, and people beside the model where there is one.

    Args:
        estimates: Key -> estimate, as `experiments.agreement.agreement` returns them.
        path: A file with one of `SUFFIXES`.
        level: The intervals' confidence.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--figure needs matplotlib: pip install 'attune[report]'") from None
    panels: dict[str, list[tuple[str, str, Estimate]]] = {}
    for key, estimate in estimates.items():
        parts = key.split("/")
        if (line := _line(parts[-1], parts[-2] if len(parts) > 1 else "")) and estimate.value == estimate.value:
            question = "/".join(parts[:-1])
            question = question.rpartition("/")[0] if "~" in question.rpartition("/")[2] else question
            panels.setdefault(question, []).append((*line, estimate))
    tallest = max(map(len, panels.values()))
    figure = Figure(figsize=(3.2 * len(panels) + 1, 0.3 * tallest + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for axis, (question, lines) in zip(axes, panels.items(), strict=True):
        _panel(axis, question, lines)
    figure.supxlabel(f"agreement beyond chance, {level:.0%} interval", fontsize=9)
    with replacing_path(path) as part:
        figure.savefig(part, format=path.suffix.lower().removeprefix("."), dpi=200)


def _line(figure: str, owner: str) -> tuple[str, str] | None:
    """Label and kind of a figure's line; None for one that isn't drawn."""
    if "~" in owner:
        return (owner.replace("~", " and "), "pair") if figure == "kappa" else None
    if owner in ("none", "weak", "strong"):
        return None
    drawn = {
        "mean_pairwise_kappa": ("mean kappa", "all"),
        "mean_pairwise_kappa_quadratic": ("mean kappa, quadratic", "all"),
        "alpha_nominal": ("alpha, nominal", "all"),
        "alpha_ordinal": ("alpha, ordinal", "all"),
        "human_level_kappa_quadratic": ("people, quadratic", "human"),
        "model_level_kappa_quadratic": ("model, quadratic", "model"),
    }
    return drawn.get(figure)


def _panel(axis: Any, question: str, lines: list[tuple[str, str, Estimate]]) -> None:
    for place, (_, kind, estimate) in enumerate(lines):
        colour = _COLOURS[kind]
        axis.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=1.5)
        axis.plot(estimate.value, place, "D" if kind == "model" else "o", color=colour, markersize=5)
    axis.set_yticks(range(len(lines)), [label for label, _, _ in lines], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(right=1)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_title((question or "all mechanisms").replace("_", " "), fontsize=9)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
