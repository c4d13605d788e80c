"""All pairs of a run, from the files of all sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.records import Pair
from datamodules.sources.epitome import read_epitome
from datamodules.sources.report import SourceReport, sha256_of
from datamodules.sources.table import Columns, read_table
from errors import DataError
from sharing import shared

__all__ = ["PairSources", "SourceColumns", "read_sources"]

_Read = tuple[list[Pair], SourceReport]


@dataclass
class SourceColumns:
    """The names of the columns in the tables.

    Args:
        clinical: In the clinical tables.
        synthetic: In the synthetic tables.
    """

    clinical: Columns = field(default_factory=Columns)
    synthetic: Columns = field(default_factory=Columns)


class PairSources(NamedTuple):
    """What was read.

    Args:
        pairs: In order of their names, each once.
        reports: Each reader's report.
        repeated: How many rows are in another file too.
        contents: The same where the same rows were read: names the files and their bytes.
    """

    pairs: list[Pair]
    reports: list[dict[str, Any]]
    repeated: int
    contents: tuple[str, ...]


def read_sources(reddit: str | None, tables: Mapping[str, Sequence[str]], columns: SourceColumns) -> PairSources:
    """Reads all files; a file whose bytes another run of the process has read is taken from memory.

    Args:
        reddit: Folder with the three EPITOME files.
        tables: `clinical` and `synthetic` -> files.
        columns: Names of their columns.

    Raises:
        DataError: With the problems of all files; or files of one source have unlike rows of one id.
    """
    found: list[tuple[Pair, Path]] = []
    reports: list[dict[str, Any]] = []
    problems: list[str] = []
    for read in _readers(reddit, tables, columns):
        try:
            rows, report = _read_once(read)
        except DataError as error:
            problems += error.problems
        else:
            found += [(pair, read.args[0]) for pair in rows]
            reports.append(asdict(report))
    if problems:
        raise DataError(problems)
    pairs, repeated = _without_repeats(found)
    contents = (repr((reddit, tables, columns)), *(report["sha256"] for report in reports))
    return PairSources(pairs, reports, repeated, contents)


def _readers(
    reddit: str | None, tables: Mapping[str, Sequence[str]], columns: SourceColumns
) -> Iterator[partial[_Read]]:
    """A reader for each file or folder, which is its first argument."""
    if reddit:
        yield partial(read_epitome, Path(reddit))
    for file in tables["clinical"]:
        yield partial(read_table, Path(file), columns.clinical, "clinical")
    for file in tables["synthetic"]:
        yield partial(read_table, Path(file), columns.synthetic, "synthetic")


def _read_once(read: partial[_Read]) -> _Read:
    """What a reader gives, from memory where runs share it and the bytes are the same."""
    path: Path = read.args[0]
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not all(file.is_file() for file in files):
        return read()  # it says what is wrong
    return shared("rows", lambda: (repr(read.args), sha256_of(*files)), read)


def _without_repeats(found: Sequence[tuple[Pair, Path]]) -> tuple[list[Pair], int]:
    """The rows in order of their names, each once, and how many were in another file too.

    Raises:
        DataError: Files of one source have unlike rows of one id.
    """
    kept: dict[str, tuple[Pair, Path]] = {}
    repeated = 0
    clashes: dict[tuple[Path, Path], list[Pair]] = {}
    for pair, path in found:
        if pair.uid not in kept:
            kept[pair.uid] = pair, path
            continue
        first, place = kept[pair.uid]
        if first == pair:
            repeated += 1
        else:
            clashes.setdefault((path, place), []).append(pair)
    if clashes:
        raise DataError(
            f"{path}: {len(pairs)} of its ids{'' if pairs[0].source == 'clinical' else f' (as {pairs[0].id!r:.40})'} "
            f"stand for other rows in {place}; give each row of a source its own id"
            for (path, place), pairs in clashes.items()
        )
    return [pair for _, (pair, _) in sorted(kept.items())], repeated
