"""`python cli.py annotate export|import`: rows out to annotators, and their annotations back into rows."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodules.files import replacing_path
from datamodules.records import MECHANISMS, Pair
from datamodules.sources.epitome import read_epitome
from datamodules.sources.table import Columns, read_table
from datamodules.splits import group_rows, hash_ids
from errors import DataError, UserError
from experiments.annotation.annotations import Annotation
from experiments.annotation.consolidate import Open, Resolved, consolidate, read_decisions
from experiments.annotation.differences import Sheets
from experiments.annotation.guidelines import Questions, guidelines
from experiments.annotation.reading import read_annotations
from experiments.annotation.sampling import SamplingOptions, assign
from experiments.annotation.study import TOOLS, Study, dataset_of, read_suggestions, row_ids
from experiments.annotation.tables import write_csv

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: What follows `annotate` on the command line; None takes it from the process.

    Returns:
        Exit status 0.

    Raises:
        UserError: An option or a file can't be used.
    """
    options = _parser().parse_args(argv)
    _check_new(options.output)
    try:
        if options.action == "export":
            _export(options)
        else:
            _import(options)
    except OSError as error:
        raise UserError(f"--output {options.output}: {error.strerror}; check room and rights there") from None
    print(options.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py annotate",
        description="Rows out to annotators (Label Studio, Argilla, plain tables), and what they say back into rows.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    export = actions.add_parser("export", help="write tasks, guidelines and who annotates what", allow_abbrev=False)
    rows = export.add_argument_group("rows")
    rows.add_argument("--reddit", type=Path, metavar="DIR", help="folder with the three EPITOME files")
    rows.add_argument("--clinical", type=Path, nargs="+", default=[], metavar="FILE", help="tables of clinical pairs")
    rows.add_argument("--synthetic", type=Path, nargs="+", default=[], metavar="FILE", help="tables of synthetic pairs")
    for name in ("id", "seeker_post", "response_post"):
        rows.add_argument(
            f"--{name}", default=name, metavar="NAME", help=f"the tables' column of that meaning ({name})"
        )
    rows.add_argument(
        "--allow_clinical_text", action="store_true", help="write the text of clinical rows into the tasks"
    )
    asked = export.add_argument_group("what is asked")
    asked.add_argument("--mechanisms", nargs="+", choices=MECHANISMS, default=list(MECHANISMS), help="(all three)")
    asked.add_argument("--no_rationales", action="store_true", help="ask for levels alone")
    asked.add_argument("--strategies", action="store_true", help="ask for the response's strategy too")
    asked.add_argument("--guidelines", type=Path, metavar="FILE.md", help="guidelines of your own")
    asked.add_argument(
        "--scores", type=Path, nargs="+", default=[], metavar="FILE", help="show a model's levels: what `score` wrote"
    )
    who = export.add_argument_group("who annotates what")
    who.add_argument("--tool", choices=TOOLS, default="label_studio", help="(label_studio)")
    who.add_argument("--annotators", nargs="+", required=True, metavar="NAME", help="who annotates")
    who.add_argument("--rows", type=int, metavar="N", help="rows in all, of each dataset in proportion (all)")
    who.add_argument("--rounds", type=int, default=0, metavar="N", help="training rounds for everybody (0; study A: 9)")
    who.add_argument("--round_size", type=int, default=40, metavar="N", help="rows in a round (40)")
    who.add_argument(
        "--overlap", type=int, metavar="N", help="rows of each dataset that everybody annotates after the rounds (all)"
    )
    who.add_argument("--per_row", type=int, default=1, metavar="N", help="annotators of each other row (1)")
    who.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    export.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    back = actions.add_parser("import", help="bring annotations back into rows", allow_abbrev=False)
    back.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what the tool exported, or filled-in sheets")
    back.add_argument("--study", type=Path, required=True, metavar="DIR", help="the folder of `annotate export`")
    back.add_argument("--reference", default="", metavar="NAME", help="the annotator whose word decides, for feedback")
    back.add_argument("--adjudicated", type=Path, metavar="FILE", help="adjudication.csv with decisions filled in")
    back.add_argument(
        "--by_account",
        action="store_true",
        help="annotators are the tool's accounts, not whom tasks were assigned to; sheets have none",
    )
    back.add_argument(
        "--allow_clinical_text", action="store_true", help="show clinical text in the sheets of differences"
    )
    back.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    return parser


def _check_new(folder: Path) -> None:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"--output {folder}: there is something already; name a new folder")


def _export(options: argparse.Namespace) -> None:
    if bad := [name for name in options.annotators if not re.fullmatch(r"\w[\w.@+-]*", name)]:
        named = ", ".join(map(repr, bad))
        raise UserError(f"--annotators {named}: names become file names: use letters, digits and . @ + - _")
    pairs = _read_rows(options)
    rows = dict(zip(row_ids(pairs), pairs, strict=True))
    sampling = SamplingOptions(
        options.rows, options.rounds, options.round_size, options.overlap, options.per_row, options.seed
    )
    assignments = assign({row: dataset_of(pair) for row, pair in rows.items()}, options.annotators, sampling)
    taken = {row.id: rows[row.id] for row in assignments}
    clinical = sum(pair.source == "clinical" for pair in taken.values())
    if clinical and not options.allow_clinical_text:
        raise UserError(
            f"the tasks would hold the text of {clinical} clinical rows, readable by whoever has the files or runs the "
            "annotation server: allow it with --allow_clinical_text"
        )
    mechanisms = tuple(name for name in MECHANISMS if name in options.mechanisms)
    questions = Questions(mechanisms, rationales=not options.no_rationales, strategies=options.strategies)
    page = _own_guidelines(options.guidelines) if options.guidelines else guidelines(questions)
    suggestions = read_suggestions(options.scores, _ids_in_scores(taken)) if options.scores else {}
    if options.scores and not suggestions:
        raise UserError(
            "--scores: no id there is the id of a row of the study; score the rows that are to be annotated"
        )
    written = Study(questions, options.annotators, taken, assignments).write(
        options.output, options.tool, page, suggestions
    )
    loads = Counter(name for row in assignments for name in row.annotators)
    note = f", {len(suggestions)} with a model's levels" if options.scores else ""
    print(
        f"{len(taken)} rows{note}; {', '.join(f'{name} {loads[name]}' for name in options.annotators)}", file=sys.stderr
    )
    for path in written:
        print(f"  {path}", file=sys.stderr)


def _ids_in_scores(rows: Mapping[str, Pair]) -> dict[str, str]:
    """Id in a file of scores -> row id."""
    own = {pair.id: row for row, pair in rows.items()}
    if len(own) < len(rows):
        raise UserError("--scores: rows of several sources have the same ids; export a study for each source")
    return own


def _own_guidelines(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"--guidelines {path}: no such file, or not UTF-8 text; name a Markdown file") from None


def _read_rows(options: argparse.Namespace) -> list[Pair]:
    columns = Columns(id=options.id, seeker_post=options.seeker_post, response_post=options.response_post)
    pairs: list[Pair] = []
    if options.reddit:
        pairs += read_epitome(options.reddit)[0]
    for path in options.clinical:
        pairs += read_table(path, columns, "clinical")[0]
    for path in options.synthetic:
        pairs += read_table(path, columns, "synthetic")[0]
    if not pairs:
        raise UserError("no rows: name them with --reddit, --clinical or --synthetic")
    if twice := [uid for uid, count in Counter(pair.uid for pair in pairs).items() if count > 1]:
        raise UserError(f"{len(twice)} ids are in more than one table of the same source; give each row its own")
    return pairs


def _import(options: argparse.Namespace) -> None:
    study = Study.read(options.study)
    texts = {row: pair.response_post for row, pair in study.rows.items()}
    annotations, counts = read_annotations(options.files, texts=texts, by_account=options.by_account)
    named = [said for said in annotations if not (options.by_account and said.account)]  # accounts are nobody of it
    _check_annotators(named, study.annotators)
    if not annotations:
        raise UserError(f"no file has an annotation ({_told(counts)})")
    if options.reference and options.reference not in {said.annotator for said in annotations}:
        raise UserError(f"--reference {options.reference}: that annotator annotated nothing in these files")
    _complete(annotations, study)
    decisions = read_decisions(options.adjudicated, study.rows, study.questions) if options.adjudicated else {}
    resolved, left = consolidate(
        study.rows, annotations, study.questions, decisions=decisions, reference=options.reference
    )
    options.output.mkdir(parents=True, exist_ok=True)
    _write_lines(options.output / "annotations.jsonl", [said.to_json() for said in annotations])
    _write_lines(options.output / "rows.jsonl", [row.pair.to_json() for row in resolved])
    if study.questions.strategies:
        _write_lines(options.output / "dialogues.jsonl", [_dialogue(row) for row in resolved if row.strategy])
    write_csv(options.output / "adjudication.csv", *_adjudication(left, annotations))
    _write_sheets(options.output, annotations, study, options.reference, show_clinical=options.allow_clinical_text)
    _report(annotations, study, counts, len(resolved), len(left))


def _check_annotators(annotations: Sequence[Annotation], known: Sequence[str]) -> None:
    """Annotators are the study's, or their name has a mistake."""
    strangers: dict[str, str] = {}
    for said in annotations:
        if said.annotator not in known:
            strangers.setdefault(said.annotator, said.where)
    if strangers:
        way_out = f"is not one of the study's, {', '.join(known)}: correct the name, or add it in study.json"
        raise DataError([f"{where}: annotator '{name}' {way_out}" for name, where in strangers.items()])


def _complete(annotations: Sequence[Annotation], study: Study) -> None:
    """What the tools don't carry: stage, group and dataset, from the study."""
    stages = {row.id: row.stage for row in study.assignments}
    pairs = list(study.rows.values())
    groups = dict(zip(study.rows, group_rows(pairs), strict=True))
    for said in annotations:
        said.stage = stages[said.id]
        said.group = hash_ids([groups[said.id]])[:12]
        said.dataset = dataset_of(study.rows[said.id])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with replacing_path(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _dialogue(row: Resolved) -> str:
    """The row as a dialogue of two turns, the second with its strategy."""
    pair = row.pair
    named = {"id": pair.id, "source": pair.source, "group": pair.group, "generator": pair.generator}
    turns = [
        {"speaker": "seeker", "text": pair.seeker_post},
        {"speaker": "supporter", "text": pair.response_post, "strategy": row.strategy},
    ]
    return json.dumps({key: value for key, value in named.items() if value} | {"turns": turns}, ensure_ascii=False)


def _adjudication(left: Sequence[Open], annotations: Sequence[Annotation]) -> tuple[list[str], list[dict[str, object]]]:
    """Columns and rows of the list of what is to be decided by hand."""
    names = sorted({said.annotator for said in annotations})
    rows: list[dict[str, object]] = []
    for row in left:
        answers = {f"by {name}": row.answers.get(name) for name in names}
        rows.append({"id": row.id, "question": row.question, **answers})
    return ["id", "question", *(f"by {name}" for name in names), "decision"], rows


def _write_sheets(
    folder: Path, annotations: Sequence[Annotation], study: Study, reference: str, *, show_clinical: bool
) -> None:
    sheets = Sheets(study.rows, study.questions, show_clinical)
    for stage in dict.fromkeys(row.stage for row in study.assignments):
        given = [said for said in annotations if said.stage == stage]
        right = [said for said in given if said.annotator == reference]
        written = {stage: sheets.differences(stage, given)} if given else {}
        for name in sorted({said.annotator for said in given} - {reference}) if right else ():
            own = [said for said in given if said.annotator == name]
            written[f"{stage}-feedback-{name}"] = sheets.feedback(stage, own, right)
        for name, sheet in written.items():
            with replacing_path(folder / "differences" / f"{name}.md") as part:
                part.write_text(sheet, encoding="utf-8")


def _report(annotations: Sequence[Annotation], study: Study, counts: dict[str, int], resolved: int, left: int) -> None:
    done = Counter((said.stage, said.annotator) for said in annotations)
    asked = Counter((row.stage, name) for row in study.assignments for name in row.annotators)
    for stage, name in dict.fromkeys([*asked, *done]):
        share = f"{done[stage, name]} of {asked[stage, name]}" if asked[stage, name] else f"{done[stage, name]}"
        print(f"{stage}: {name}: {share} rows", file=sys.stderr)
    at_none = sum(
        bool(spans) and not said.levels.get(mechanism)
        for said in annotations
        for mechanism, spans in said.rationales.items()
    )
    if at_none:
        counts = {**counts, "rationales at level none": at_none}
    print(
        f"{len(annotations)} annotations of {resolved} rows; {left} answers to adjudicate; {_told(counts)}",
        file=sys.stderr,
    )


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())) or "nothing left out"
