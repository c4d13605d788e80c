"""Sheets of differences to talk over after a round, as Markdown: what each annotator said where they don't agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datamodules.records import LEVEL_NAMES, Pair
from experiments.annotation.annotations import Annotation
from experiments.annotation.guidelines import TITLES, Questions

__all__ = ["Sheets"]

_HIDDEN = "(text of a clinical row; --allow_clinical_text shows it)"


@dataclass(frozen=True)
class Sheets:
    """The sheets of a study.

    Args:
        rows: Row id -> row.
        questions: What was asked.
        show_clinical: Whether texts of clinical rows may be in them.
    """

    rows: Mapping[str, Pair]
    questions: Questions
    show_clinical: bool

    def differences(self, stage: str, annotations: Sequence[Annotation]) -> str:
        """The rows of a stage on which annotators differ, largest difference of levels first.

        Args:
            stage: The stage.
            annotations: What was said in that stage.

        Returns:
            Markdown.
        """
        by_row: dict[str, list[Annotation]] = {}
        for said in annotations:
            by_row.setdefault(said.id, []).append(said)
        shared = {
            row: sorted(given, key=lambda said: said.annotator) for row, given in by_row.items() if len(given) > 1
        }
        spread = {row: self._spread(given) for row, given in shared.items()}
        differing = sorted((row for row in shared if spread[row]), key=lambda row: (-spread[row], row))
        lines = [f"# {stage}: {len(differing)} of {len(shared)} rows differ", ""]
        lines += [
            "Talk them over row by row: what in the text, and in the guidelines, speaks for each answer? Change the",
            "guidelines where they leave it open, and keep each answer as it was given.",
        ]
        for row in differing:
            lines += self._row(row, shared[row])
        return "\n".join(lines) + "\n"

    def feedback(self, stage: str, own: Sequence[Annotation], reference: Sequence[Annotation]) -> str:
        """What one annotator said otherwise than the reference.

        Args:
            stage: The stage.
            own: The annotator's annotations of the stage.
            reference: The reference's.

        Returns:
            Markdown.
        """
        right = {said.id: said for said in reference}
        shared = [said for said in own if said.id in right]
        lines = [f"# {stage}: feedback for {own[0].annotator}", ""]
        for mechanism in self.questions.mechanisms:
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
            if self._spread(pair):
                lines += self._row(said.id, pair)
        return "\n".join(lines) + "\n"

    def _spread(self, given: Sequence[Annotation]) -> int:
        """How far apart the annotators of a row are, added up over what was asked."""
        spread = 0
        for mechanism in self.questions.mechanisms:
            levels = [said.levels[mechanism] for said in given if mechanism in said.levels]
            spread += max(levels) - min(levels) if levels else 0
        return spread + len({said.strategy for said in given if said.strategy} or {""}) - 1

    def _row(self, row: str, given: Sequence[Annotation]) -> list[str]:
        pair = self.rows[row]
        shown = self.show_clinical or pair.source != "clinical"
        posts = [f"> {_one_line(pair.seeker_post)}", ">", f"> **{_one_line(pair.response_post)}**"]
        lines = ["", f"## {row}", "", *(posts if shown else [_HIDDEN])]
        lines += ["", f"| | {' | '.join(said.annotator for said in given)} |", f"|---|{'---|' * len(given)}"]
        for mechanism in self.questions.mechanisms:
            cells = [_cell(said, mechanism, shown=shown) for said in given]
            lines.append(f"| {TITLES[mechanism]} | {' | '.join(cells)} |")
        if self.questions.strategies:
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
