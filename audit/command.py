"""`python cli.py audit`: judge synthetic rows, pick the best of them, and let them leave or not."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import UserError

if TYPE_CHECKING:
    from audit.agreement import Judgement, Scorer
    from audit.material import Material
    from audit.report import Report

__all__ = ["audit", "main"]

_BIAS_ROWS = 200
"""Rows that each introduction and swap is tried on: each is scored in some 30 versions, and versions are paired."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py audit",
        description="Quality, privacy and bias of synthetic rows, as Markdown, one HTML page and JSON.",
    )
    add = parser.add_argument
    add("synthetic", nargs="*", metavar="SYNTHETIC", help="files of synthetic rows: JSON Lines, CSV, Parquet")
    add("--real", nargs="+", metavar="FILE", help="real rows that they were made from or should look like, or a folder "
        "with the three EPITOME files")  # fmt: skip
    add("--test", nargs="+", metavar="FILE", help="real rows that no prompt and no generator has seen")
    add("--output", metavar="DIR", help="where to write (default: beside the first file, <its name>-audit)")
    add("--model", metavar="RUN", help="a trained empathy run: verifies levels and measures bias")
    add("--judge", nargs="+", metavar="FILE", help="rows with a judge's levels, of the same ids and generators")
    add("--encoder", metavar="NAME", help="what makes vectors: a folder, a name, or tfidf (default: the small encoder "
        "where it is installed, else tfidf)")  # fmt: skip
    add("--sample", type=int, default=2000, metavar="N", help="rows of each side that vectors and scores are made of "
        "(default: 2000); repeats, copying and personal data are looked for in all")  # fmt: skip
    add("--select", type=int, metavar="N", help="also write selected.jsonl: N verified, diverse rows")
    add("--mechanism", choices=("emotional_reactions", "interpretations", "explorations"),
        help="with --select: the mechanism whose levels are verified and balanced")  # fmt: skip
    add("--groups", metavar="FILE", help="groups of people to swap and count (default: configs/audit/groups.yaml)")
    add("--canaries", metavar="FILE", help="made-up secrets, used and unused, as --new_canaries wrote them")
    add("--new_canaries", metavar="FILE", help="write 20 secrets to use and 1,000 never to use, and stop")
    add("--names", metavar="MODEL", help="a spaCy model at hand, with which Presidio finds names and places")
    add("--export", metavar="FILE", help="copy the rows there if the gate lets them")
    add("--waiver", metavar="FILE", help="with --export: name, reason and date of who takes the responsibility")
    add("--seed", type=int, default=0, help="seed of every draw (default: 0)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments.

    Returns:
        The exit status: 0 also where checks fail; the gate refuses the export, not the audit.

    Raises:
        UserError: Something asked for can't be done.
    """
    options = _parser().parse_args(argv)
    _check(options)
    if options.new_canaries:
        from audit.canaries import make_canaries, write_canaries

        write_canaries(make_canaries(20, 1000, options.seed), Path(options.new_canaries))
        print(options.new_canaries)
        return 0
    if options.waiver:  # before the audit, not after it
        from audit.gate import read_waiver

        read_waiver(Path(options.waiver))
    first = Path(options.synthetic[0])
    output = Path(options.output) if options.output else first.with_name(f"{first.stem}-audit")
    report = audit(options, output)
    for check in report.checks:
        print(f"{check.outcome:<12} {check.name}: {check.found} (wanted: {check.wanted})", file=sys.stderr)
    if options.export:
        from audit.gate import ExportGate, export_rows

        gate = ExportGate(str(output / "audit.json"), options.waiver)
        ground = export_rows([Path(name) for name in options.synthetic], Path(options.export), gate)
        _note(f"exported to {options.export}: {ground.reason}")
    print(output / "audit.html")
    return 0


def _check(options: argparse.Namespace) -> None:
    problems = []
    if not options.synthetic and not options.new_canaries:
        problems.append("name a file of synthetic rows: python cli.py audit FILE")
    if options.sample < 10:
        problems.append(f"--sample {options.sample}: at least 10")
    if options.select is not None and options.select < 1:
        problems.append(f"--select {options.select}: at least 1")
    if options.mechanism and options.select is None:
        problems.append("--mechanism chooses what --select balances; give --select N as well")
    if options.waiver and not options.export:
        problems.append("--waiver signs for --export FILE; give that as well")
    if options.export and any(not name.endswith(".jsonl") for name in options.synthetic):
        problems.append("--export copies JSON Lines; the rows are another format")
    if options.export and Path(options.export).exists():
        problems.append(f"--export {options.export} exists; name another file or take it away")
    if importlib.util.find_spec("sklearn") is None:
        problems.append("the audit needs scikit-learn: pip install 'attune[audit]'")
    if problems:
        raise UserError("\n".join(problems))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def audit(options: argparse.Namespace, output: Path) -> Report:
    """Audits rows and writes `audit.md`, `audit.html`, `audit.json` and, if asked for, `selected.jsonl`.

    Args:
        options: The command's options.
        output: The folder to write to; made where it is missing.

    Returns:
        What was found.
    """
    from audit.agreement import add_agreement
    from audit.bias import add_bias
    from audit.coverage import add_coverage
    from audit.groups import GROUPS, read_groups
    from audit.page import render_page
    from audit.privacy import Limits, add_privacy
    from audit.quality import add_detector, add_diversity, add_duplicates
    from audit.report import Report
    from audit.summary import add_summary
    from datamodules.files import replacing, write_json

    axes = read_groups(Path(options.groups) if options.groups else GROUPS)
    canaries = _canaries(options)
    finders, searched = _finders(options)
    scorer = _scorer(options)
    material = _material(options)
    opinions = _opinions(options, material, scorer)
    report = Report("Audit of synthetic rows", _facts(options, material, searched), sha256=material.synthetic.sha256)
    report.gated = bool(material.synthetic.clinical_prompts)
    add_duplicates(report, material)
    add_diversity(report, material)
    add_coverage(report, material)
    if material.real is not None:
        add_detector(report, material)
    if opinions or material.synthetic.asked:
        add_agreement(report, material, opinions)
    suspects = add_privacy(report, material, canaries=canaries, finders=finders, limits=Limits())
    bias = add_bias(report, material, axes, scorer, rows=_BIAS_ROWS)
    add_summary(report)
    report.summary += bias
    if options.select:
        from audit.curate import add_selection

        add_selection(report, material, opinions, suspects, options, output / "selected.jsonl")
    for name, text in (("audit.md", report.to_markdown()), ("audit.html", render_page(report))):
        with replacing(output / name) as file:
            file.write(text)
    write_json(output / "audit.json", report.to_dict())
    return report


def _canaries(options: argparse.Namespace) -> Sequence[Any]:
    from audit.canaries import read_canaries

    return read_canaries(Path(options.canaries)) if options.canaries else []


def _finders(options: argparse.Namespace) -> tuple[list[Any], str]:
    from audit.personal_data import built_in_finder, presidio_finder

    presidio = presidio_finder(options.names)
    if presidio is None:
        return [built_in_finder], "built-in patterns (Presidio, extra privacy, is not installed)"
    shown = f"with {options.names}" if options.names else "by pattern, without a model for names"
    return [built_in_finder, presidio], f"built-in patterns and Presidio {shown}"


def _scorer(options: argparse.Namespace) -> Scorer | None:
    if not options.model:
        return None
    from inference.scorer import EmpathyScorer

    return EmpathyScorer.load(options.model)


def _material(options: argparse.Namespace) -> Material:
    from audit.material import prepare
    from audit.rows import read_set
    from audit.vectors import make_vectoriser

    synthetic = read_set([Path(name) for name in options.synthetic], "synthetic")
    real = read_set([Path(name) for name in options.real], None) if options.real else None
    test = read_set([Path(name) for name in options.test], None) if options.test else None
    vectoriser = make_vectoriser(options.encoder)
    return prepare(synthetic, real, test, vectoriser, sample=options.sample, seed=options.seed, note=_note)


def _opinions(options: argparse.Namespace, material: Material, scorer: Scorer | None) -> dict[str, Judgement]:
    from audit.agreement import judge_levels, score_rows
    from audit.rows import read_set

    opinions: dict[str, Judgement] = {}
    pairs = material.synthetic.pairs
    if scorer is not None:
        numbers = range(len(pairs)) if options.select else material.parts["synthetic"].numbers.tolist()
        _note(f"levels of {len(numbers):,} rows by {options.model}")
        scored = score_rows(scorer, [pairs[number] for number in numbers])
        opinions["trained model"] = {n: score.levels for n, score in zip(numbers, scored, strict=True)}
    if options.judge:
        judged = read_set([Path(name) for name in options.judge], "synthetic").pairs
        opinions["judge"] = judge_levels(pairs, judged)
        if not opinions["judge"]:
            raise UserError("--judge: none of its rows has the id and generator of a synthetic row")
    return opinions


def _facts(options: argparse.Namespace, material: Material, searched: str) -> dict[str, str]:
    facts = {}
    for side, rows in material.sides.items():
        names = ", ".join(getattr(options, side))
        clinical = f", {rows.clinical:,} of them clinical" if rows.clinical else ""
        facts[f"{side} rows"] = f"{len(rows):,}{clinical} ({names})"
    made = material.synthetic.clinical_prompts
    facts["made from clinical text"] = f"{made:,} rows: they leave only through the gate" if made else "no row says so"
    facts["generators"] = ", ".join(sorted({pair.generator for pair in material.synthetic.pairs}))
    facts["vectors"] = f"{material.vectoriser.name}, of {options.sample:,} rows a side at most"
    facts["trained model"] = options.model or "none given"
    facts["personal data"] = searched
    facts["seed"] = str(options.seed)
    facts["SHA-256 of the rows"] = material.synthetic.sha256
    return facts
