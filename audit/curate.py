"""Writes the selected rows and says on the page what the selection gained."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.agreement import Judgement
from audit.diversity import self_bleu, spread
from audit.material import Material
from audit.report import Report, Section
from audit.rows import sample_rows
from audit.selection import Selection, eligible_rows, select_rows
from audit.words import encode_words
from datamodules.files import replacing_path
from datamodules.sources.formats import raw_rows
from metrics.estimates import Estimate
from pages import Table

__all__ = ["add_selection", "write_rows"]


def add_selection(
    report: Report,
    material: Material,
    opinions: Mapping[str, Judgement],
    suspects: NDArray[np.bool_],
    options: argparse.Namespace,
    path: Path,
) -> None:
    """Selects rows, writes them and adds what was left out and how diverse the selection is.

    Args:
        report: Gets a section.
        material: The rows.
        opinions: Who -> levels; rows whose levels they don't confirm are left out.
        suspects: [N] rows with copied text or personal data; left out.
        options: `select`, `mechanism`, `synthetic` (the files) and `seed`.
        path: Where the selected rows are written, best first, exactly as they stand in their files.
    """
    pairs = material.synthetic.pairs
    eligible, left_out = eligible_rows(pairs, material.response_groups, opinions, options.mechanism, suspects)
    if not eligible:
        material.note(f"--select {options.select}: no row may be selected; the page says why")
        write_rows([], [], path)
        report.sections.append(_section(Selection([]), left_out, 0, path, opinions))
        return
    material.note(f"selecting {options.select:,} of {len(eligible):,} rows")
    vectors = material.vectoriser([pairs[row].response_post for row in eligible])
    chosen = select_rows(pairs, eligible, vectors, options.select, options.mechanism)
    write_rows([Path(name) for name in options.synthetic], chosen.rows, path)
    place = {row: number for number, row in enumerate(eligible)}
    ours = [place[row] for row in chosen.rows]
    chance = sample_rows(len(eligible), len(ours), material.seed).tolist()
    report.sections.append(_section(chosen, left_out, len(eligible), path, opinions))
    rows: list[list[Any]] = []
    for name, numbers in (("selected rows", ours), ("as many at random", chance)):
        scores = spread(vectors[numbers])
        texts = encode_words(pairs[eligible[number]].response_post for number in numbers)
        scores["self_bleu"] = float(self_bleu(texts).mean()) if len(numbers) > 1 else float("nan")
        for key, value in scores.items():
            report.values[f"selection/{name.replace(' ', '_')}/{key}"] = Estimate(value, n=len(numbers))
        rows.append([name, scores["mean_distance"], scores["nearest_distance"], scores["vendi"], scores["self_bleu"]])
    columns = ["rows", "mean distance", "distance to the nearest", "effective number per text", "self-BLEU"]
    report.sections[-1].blocks.append(Table("Diversity of the selected responses", columns, rows))


def _section(
    chosen: Selection, left_out: Mapping[str, int], eligible: int, path: Path, opinions: Mapping[str, Judgement]
) -> Section:
    verified = (
        f"levels confirmed by {' and '.join(opinions)}" if opinions else "levels not verified: no model, no judge"
    )
    text = (
        f"{len(chosen.rows):,} of {eligible:,} rows that may be selected ({verified}) are in {path.name}, each as "
        "unlike those before it as can be; the first rows of the file are the best smaller selection."
    )
    section = Section("Selection", [text])
    if chosen.short:
        short = ", ".join(f"{count:,} {name}" for name, count in chosen.short.items())
        section.text.append(f"Missing, because no such row was left: {short}.")
    rows: list[list[Any]] = [[reason, count] for reason, count in sorted(left_out.items())]
    section.blocks.append(Table("Rows left out", ["reason", "rows"], rows or [["none", 0]]))
    return section


def write_rows(files: Sequence[Path], numbers: Sequence[int], path: Path) -> None:
    """Writes rows of some files as JSON Lines, in the order asked for, with all the fields that they have there.

    Args:
        files: The files, read in this order.
        numbers: Row numbers over all files, counted from 0.
        path: The file to write.
    """
    wanted = set(numbers)
    found: dict[int, str] = {}
    number = 0
    for file in files:
        for row in raw_rows(file):
            if number in wanted:
                found[number] = json.dumps(row.cells, ensure_ascii=False, default=str)
            number += 1
    with replacing_path(path) as part:
        part.write_text("".join(found[n] + "\n" for n in numbers), encoding="utf-8")
