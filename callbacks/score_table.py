"""The table that `fit`, `test` and `validate` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metrics.evaluation import Score

__all__ = ["score_table"]

_COLUMNS = (
    ("level_accuracy", "accuracy", "_majority"),
    ("level_f1_macro", "macro-F1", "_majority"),
    ("level_f1_weighted", "weighted F1", "_majority"),
    ("level_kappa_quadratic", "kappa", "_majority"),
    ("rationale_f1", "rationale F1", "_everything"),
    ("rationale_iou_f1", "rationale IOU-F1", "_everything"),
)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}".replace("0.", ".", 1)


def score_table(scores: Mapping[str, Score], stage: str, mechanisms: Sequence[str]) -> str:
    """Mechanism x metric: the value, its 95 % interval, and the trivial baseline.

    Args:
        scores: Keys as in `metrics.json`.
        stage: `test` or `validation`.
        mechanisms: The rows.

    Returns:
        Lines of text.
    """
    header = ["", *(title for _, title, _ in _COLUMNS)]
    body = []
    for name in mechanisms:
        cells, intervals, trivial = [name], ["  95 % interval"], ["  trivial baseline"]
        for key, _, suffix in _COLUMNS:
            score = scores[f"{stage}/{name}/{key}"]
            cells.append(_number(score.value))
            intervals.append(f"{_number(score.low)} to {_number(score.high)}")
            trivial.append(_number(scores[f"{stage}/{name}/{key}{suffix}"].value))
        body += [cells, intervals, trivial]
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]
    lines = [
        "  ".join(
            [
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
        )
        for line in [header, *body]
    ]
    first = scores[f"{stage}/{mechanisms[0]}/level_accuracy"].n
    rationales = ", ".join(str(scores[f"{stage}/{name}/rationale_f1"].n) for name in mechanisms)
    lines.append(
        f"{stage}: {first} rows of {mechanisms[0]}; rationale scores over words, on the rows of level > 0 with a "
        f"rationale ({rationales}). Baselines: the training rows' most frequent level; everything is rationale."
    )
    return "\n".join(lines)
