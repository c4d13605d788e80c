"""Sheets of differences to talk over after a round, as Markdown: what each annotator said where they don't agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datamodules.records import LEVEL_NAMES, Pair
from experiments.annotation.annotations import Annotation
from experiments.annotation.guidelines import TITLES, Questions

__all__ = ["differences_sheet", "feedback_sheet"]

_HIDDEN = "(text of a clinical row; --allow_clinical_text shows it)"


def differences_sheet(
    stage: str,
    rows: Mapping[str, Pair],
    annotations: Sequence[Annotation],
    questions: Questions,
    *,
    show_clinical: bool,
) -> str:
    """The rows of a stage on which annotators differ, largest difference of levels first.

    Args:
        stage: The stage.
        rows: Row id -> row.
        annotations: What was said in that stage.
        questions: What was asked.
        show_clinical: Whether texts of clinical rows may be in it.

    Returns:
        Markdown.
    """
    by_row: dict[str, list[Annotation]] = {}
    for said in annotations:
        by_row.setdefault(said.id, []).append(said)
    shared = {row: sorted(given, key=lambda said: said.annotator) for row, given in by_row.items() if len(given) > 1}
    spread = {row: _spread(given, questions) for row, given in shared.items()}
    differing = sorted((row for row in shared if spread[row]), key=lambda row: (-spread[row], row))
    lines = [f"# {stage}: {len(differing)} of {len(shared)} rows differ", ""]
    lines += [
        "Talk them over row by row: what in the text, and in the guidelines, speaks for each answer? Change the",
        "guidelines where they leave it open, and keep each answer as it was given.",
    ]
    for row in differing:
        lines += _row(row, rows[row], shared[row], questions, show_clinical=show_clinical)
    return "\n".join(lines) + "\n"


def feedback_sheet(
    stage: str,
    rows: Mapping[str, Pair],
    own: Sequence[Annotation],
    reference: Sequence[Annotation],
    questions: Questions,
    *,
    show_clinical: bool,
) -> str:
    """What one annotator said otherwise than the reference.

    Args:
        stage: The stage.
        rows: Row id -> row.
        own: The annotator's annotations of the stage.
        reference: The reference's.
        questions: What was asked.
        show_clinical: Whether texts of clinical rows may be in it.

    Returns:
        Markdown.
    """
    right = {said.id: said for said in reference}
    shared = [said for said in own if said.id in right]
    lines = [f"# {stage}: feedback for {own[0].annotator}", ""]
    for mechanism in questions.mechanisms:
        both = [
            (said.levels[mechanism], right[said.id].levels[mechanism])
            for said in shared
            if mechanism in said.levels and mechanism in right[said.id].levels
        ]
        same = sum(said == right_level for said, right_level in both)
        lower = sum(said < right_level for said, right_level in both)
        told = f"{same} as {reference[0].annotator}, {lower} lower, {len(both) - same - lower} higher"
        lines.append(f"- {TITLES[mechanism]}: of {len(both)} rows {told}")
    for said in shared:
        pair = [right[said.id], said]
        if _spread(pair, questions):
            lines += _row(said.id, rows[said.id], pair, questions, show_clinical=show_clinical)
    return "\n".join(lines) + "\n"


def _spread(given: Sequence[Annotation], questions: Questions) -> int:
    """How far apart the annotators of a row are, added up over what was asked."""
    spread = 0
    for mechanism in questions.mechanisms:
        levels = [said.levels[mechanism] for said in given if mechanism in said.levels]
        spread += max(levels) - min(levels) if levels else 0
    return spread + len({said.strategy for said in given if said.strategy} or {""}) - 1


def _row(row: str, pair: Pair, given: Sequence[Annotation], questions: Questions, *, show_clinical: bool) -> list[str]:
    shown = show_clinical or pair.source != "clinical"
    lines = ["", f"## {row}", ""]
    lines += [f"> {_one_line(pair.seeker_post)}", ">", f"> **{_one_line(pair.response_post)}**"] if shown else [_HIDDEN]
    lines += ["", f"| | {' | '.join(said.annotator for said in given)} |", f"|---|{'---|' * len(given)}"]
    for mechanism in questions.mechanisms:
        cells = [_cell(said, mechanism, shown=shown) for said in given]
        lines.append(f"| {TITLES[mechanism]} | {' | '.join(cells)} |")
    if questions.strategies:
        lines.append(f"| Strategy | {' | '.join(said.strategy for said in given)} |")
    if any(said.comment for said in given):
        lines.append(f"| Comment | {' | '.join(_one_line(said.comment) if shown else '' for said in given)} |")
    return lines


def _cell(said: Annotation, mechanism: str, *, shown: bool) -> str:
    if mechanism not in said.levels:
        return ""
    level = f"{said.levels[mechanism]} {LEVEL_NAMES[said.levels[mechanism]]}"
    spans = said.rationales.get(mechanism, ()) if shown else ()
    marked = "; ".join(f"“{_one_line(said.response_post[start:end])}”" for start, end in spans)
    return f"{level}: {marked}" if marked else level


def _one_line(text: str) -> str:
    """Text that can't break a table or a heading of the sheet."""
    escaped = " ".join(text.split())
    for sign in "\\`*_<|#":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
