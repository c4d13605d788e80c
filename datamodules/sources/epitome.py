"""The EPITOME Reddit corpus (Sharma et al., EMNLP 2020) as it is published: a CSV file for each mechanism."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from datamodules.records import MECHANISMS, Mechanism, Pair, Span, normalise, pair_problems
from datamodules.sources.cells import parse_level
from datamodules.sources.formats import column_names, raw_rows
from datamodules.sources.placing import merge_spans, place_all
from datamodules.sources.report import SourceReport, sha256_of
from errors import DataError

__all__ = ["FILES", "read_epitome"]

FILES: dict[Mechanism, str] = {
    "emotional_reactions": "emotional-reactions-reddit.csv",
    "interpretations": "interpretations-reddit.csv",
    "explorations": "explorations-reddit.csv",
}
_HEADER = ("sp_id", "rp_id", "seeker_post", "response_post", "level", "rationales")

_Ids = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Annotation:
    """What one row of one file says of a pair."""

    seeker_post: str
    response_post: str
    level: int
    rationales: str

    @property
    def judgement(self) -> tuple[int, str]:
        return self.level, self.rationales


_Annotations = dict[Mechanism, list[_Annotation]]


def read_epitome(folder: Path) -> tuple[list[Pair], SourceReport]:
    """Read the three files as one row a pair.

    The files are matched by `sp_id` and `rp_id`, so they may be sorted anew or cut to a part. Their texts differ,
    mostly in white space: the pair has those of the emotional-reactions file (where it isn't in that one, of the next
    that has it), and each rationale is placed in them (see `placing`).

    **Pairs annotated more than once.** Of each mechanism the level that most annotations give is kept; where two are
    equally frequent the higher one, because who gave it pointed to words in the response and who gave the lower one
    passed them over. The rationales are those of all annotations that gave the kept level, overlapping ones joined.
    So the outcome doesn't depend on the order of the rows.

    Args:
        folder: Holds the three CSV files, whole or any part of them; no checksum is asked for.

    Returns:
        The pairs, named `<sp_id>_<rp_id>`, in the order of the files, and a report. Its `rows` are the k-th rows of a
        pair in the three files taken together; `dropped` counts those after a pair's first: `duplicate` where one
        before says the same, `annotated_twice` where not. Its `counts`, all of pairs: `disagreeing_<mechanism>`
        (annotated with several levels), `missing_<mechanism>` (not in its file), `without_rationale_<mechanism>`
        (level > 0 and no rationale), `differing_texts` (more than case, punctuation and white space differs between
        its rows).

    Raises:
        DataError: With all that is wrong in any of the files.
    """
    if not folder.is_dir():
        raise DataError([f"{folder}: no such folder; `python cli.py prepare epitome` makes one with the three files"])
    problems: list[str] = []
    pairs: dict[_Ids, _Annotations] = defaultdict(lambda: defaultdict(list))
    for mechanism, name in FILES.items():
        try:
            for ids, annotation in _read_file(folder / name, mechanism, problems):
                pairs[ids][mechanism].append(annotation)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    report = SourceReport(str(folder), sha256_of(*(folder / name for name in FILES.values())))
    return [_resolve(ids, annotations, report) for ids, annotations in pairs.items()], report


def _read_file(path: Path, mechanism: Mechanism, problems: list[str]) -> Iterator[tuple[_Ids, _Annotation]]:
    names = column_names(path) or []
    if missing := [name for name in _HEADER if name not in names]:
        raise DataError([f"{path}: no column {', '.join(missing)}; the header must be {','.join(_HEADER)}"])
    number = 0
    for row in raw_rows(path):
        number = row.number
        found = [row.problem] if row.problem else _row_problems(row.cells, mechanism)
        problems += [f"{row.where(path)}: {problem}" for problem in found]
        if not found:
            sp_id, rp_id, seeker_post, response_post, level, rationales = (row.cells[name] for name in _HEADER)
            yield (sp_id, rp_id), _Annotation(seeker_post, response_post, parse_level(level), rationales)
    if not number:
        raise DataError([f"{path}: the file has no rows"])


def _row_problems(cells: Mapping[str, str], mechanism: Mechanism) -> list[str]:
    problems = [f"column '{name}' is empty" for name in ("sp_id", "rp_id") if not cells[name].strip()]
    level = parse_level(cells["level"])
    if level is None:
        problems.append("column 'level' is empty; give 0 (none), 1 (weak) or 2 (strong)")
    pair = Pair("", "reddit", cells["seeker_post"], cells["response_post"])
    pair.levels = {} if level is None else {mechanism: level}
    found = pair_problems(pair, quote=True)
    return problems + [problem.replace(f"column '{mechanism}'", "column 'level'", 1) for problem in found]


def _resolve(ids: _Ids, annotations: _Annotations, report: SourceReport) -> Pair:
    """One row from all that the files say of a pair."""
    rows = [row for mechanism in FILES for row in annotations.get(mechanism, [])]
    pair = Pair("_".join(ids), "reddit", rows[0].seeker_post, rows[0].response_post)
    _count_rows(annotations, report)
    if len({(normalise(row.seeker_post), normalise(row.response_post)) for row in rows}) > 1:
        report.count("differing_texts")
    for mechanism in MECHANISMS:
        if mechanism not in annotations:
            report.count(f"missing_{mechanism}")
            continue
        votes = Counter(row.level for row in annotations[mechanism])
        level = max(votes, key=lambda level: (votes[level], level))
        if len(votes) > 1:
            report.count(f"disagreeing_{mechanism}")
        pair.levels[mechanism] = level
        spans: list[Span] = []
        for row in dict.fromkeys(row for row in annotations[mechanism] if row.level == level):
            placed, outcomes = place_all(row.rationales.split("|"), pair.response_post, origin=row.response_post)
            report.add_rationales(mechanism, outcomes)
            spans += placed
        if spans:
            pair.rationales[mechanism] = merge_spans(spans)
        elif level > 0:
            report.count(f"without_rationale_{mechanism}")
    return pair


def _count_rows(annotations: Mapping[Mechanism, Iterable[_Annotation]], report: SourceReport) -> None:
    """Count the rows of a pair, and why those after the first are not rows of their own."""
    seen: set[tuple[object, ...]] = set()
    for row in zip_longest(*annotations.values()):
        judgements = tuple(annotation and annotation.judgement for annotation in row)
        report.rows += 1
        if seen:
            report.drop("duplicate" if judgements in seen else "annotated_twice")
        seen.add(judgements)
