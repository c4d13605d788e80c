"""What a test of the empathy model says: scores of each mechanism beside the trivial baselines, by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_modules.evaluation_record import EvaluationRecord, text_table
from metrics.evaluation import VARIANT, Score, evaluate_mechanism, mean_over_mechanisms
from metrics.levels import LevelRows
from metrics.rationales import RationaleRows

__all__ = ["MechanismRows", "empathy_record"]

_COLUMNS = (
    ("level_accuracy", "accuracy", "_majority"),
    ("level_f1_macro", "macro-F1", "_majority"),
    ("level_f1_weighted", "weighted F1", "_majority"),
    ("level_kappa_quadratic", "kappa", "_majority"),
    ("rationale_f1", "rationale F1", "_everything"),
    ("rationale_iou_f1", "rationale IOU-F1", "_everything"),
)


class MechanismRows(NamedTuple):
    """The evaluated rows of one mechanism, on every process alike."""

    levels: LevelRows
    rationales: RationaleRows


def empathy_record(
    stage: str,
    rows: Mapping[str, MechanismRows],
    majority_levels: Mapping[str, int],
    parts: Mapping[str, Sequence[int] | None],
) -> EvaluationRecord:
    """Puts the record together.

    Args:
        stage: `test` or `validation`.
        rows: Mechanism -> its evaluated rows.
        majority_levels: Mechanism -> the most frequent level of its training rows.
        parts: What `by_source` gave.
    """
    scores: dict[str, Score] = {}
    for part, members in parts.items():
        found = {
            name: evaluate_mechanism(*of_mechanism, majority_levels[name], members)
            for name, of_mechanism in rows.items()
        }
        for name, of_mechanism in found.items():
            scores |= {f"{stage}/{part}{name}/{key}": score for key, score in of_mechanism.items()}
        scores |= {f"{stage}/{part}{key}": score for key, score in mean_over_mechanisms(list(found.values())).items()}
    return EvaluationRecord(scores, _table(scores, stage, list(rows)), VARIANT)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}".replace("0.", ".", 1)


def _table(scores: Mapping[str, Score], stage: str, mechanisms: Sequence[str]) -> str:
    """Mechanism x metric: the value, its 95 % interval, and the trivial baseline."""
    lines = [["", *(title for _, title, _ in _COLUMNS)]]
    for name in mechanisms:
        cells, intervals, trivial = [name], ["  95 % interval"], ["  trivial baseline"]
        for key, _, suffix in _COLUMNS:
            score = scores[f"{stage}/{name}/{key}"]
            cells.append(_number(score.value))
            intervals.append(f"{_number(score.low)} to {_number(score.high)}")
            trivial.append(_number(scores[f"{stage}/{name}/{key}{suffix}"].value))
        lines += [cells, intervals, trivial]
    first = scores[f"{stage}/{mechanisms[0]}/level_accuracy"].n
    rationales = ", ".join(str(scores[f"{stage}/{name}/rationale_f1"].n) for name in mechanisms)
    return (
        f"{text_table(lines)}\n"
        f"{stage}: {first} rows of {mechanisms[0]}; rationale scores over words, on the rows of level > 0 with a "
        f"rationale ({rationales}). Baselines: the training rows' most frequent level; everything is rationale."
    )
