"""All dialogues of a run, from the files of all sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.dialogue_splits import DialogueSplit, published_parts
from datamodules.dialogues import Dialogue, from_pair, merge_turns
from datamodules.records import Source
from datamodules.sources.dialogue_rows import read_dialogues
from datamodules.sources.epitome import read_epitome
from datamodules.sources.esconv import read_esconv
from datamodules.sources.report import SourceReport
from datamodules.splits import SplitName
from errors import DataError

__all__ = ["DialogueSources", "read_sources"]

_Read = tuple[list[Dialogue], SourceReport]


class DialogueSources(NamedTuple):
    """What was read.

    Args:
        dialogues: In order of their names.
        reports: Each reader's report.
        placed: Name of a dialogue -> its split, where files or the published script say so.
    """

    dialogues: list[Dialogue]
    reports: list[dict[str, Any]]
    placed: dict[str, SplitName]


def read_sources(
    files: Mapping[Source, Sequence[str]], split: DialogueSplit, *, merge: bool, categories: Collection[str]
) -> DialogueSources:
    """Reads all files.

    Args:
        files: Source -> files, or folders of Reddit.
        split: Names further ESConv files, and may place ESConv's dialogues.
        merge: Join consecutive turns of one speaker; see `merge_turns`. Reports then have the count `merged_turns`.
        categories: The categories of the scheme in use.

    Raises:
        DataError: With the problems of all files.
    """
    found: list[Dialogue] = []
    reports: list[dict[str, Any]] = []
    placed: dict[str, SplitName] = {}
    problems: list[str] = []
    for part, read in _readers(files, split, categories):
        try:
            dialogues, report = read()
        except DataError as error:
            problems += error.problems
            continue
        if merge:
            report.counts["merged_turns"] = sum(map(_merge, dialogues))
        found += dialogues
        reports.append(asdict(report))
        if part is not None and split.by_files:
            placed |= {dialogue.uid: part for dialogue in dialogues}
        elif part is not None and split.by == "published":
            parts = published_parts(report.rows)
            placed = {dialogue.uid: parts[int(dialogue.id)] for dialogue in dialogues}
    for (source, generator, name), count in Counter((row.source, row.generator, row.id) for row in found).items():
        if count > 1:
            shown = "(not shown)" if source == "clinical" else f"'{name}'"
            problems.append(f"id {shown} of {source} {generator} is in {count} rows of its files; make ids unique")
    if problems:
        raise DataError(problems)
    return DialogueSources(sorted(found, key=lambda dialogue: dialogue.uid), reports, placed)


def _merge(dialogue: Dialogue) -> int:
    before = len(dialogue.turns)
    dialogue.turns = merge_turns(dialogue.turns)
    return before - len(dialogue.turns)


def _readers(
    files: Mapping[Source, Sequence[str]], split: DialogueSplit, categories: Collection[str]
) -> Iterator[tuple[SplitName | None, Callable[[], _Read]]]:
    parts: dict[SplitName, Sequence[str]] = {
        "train": files["esconv"],
        "validation": split.validation_files,
        "test": split.test_files,
    }
    several = sum(map(len, parts.values())) > 1
    for part, paths in parts.items():
        for path in map(Path, paths):
            yield part, partial(read_esconv, path, prefix=f"{path.stem}-" if several else "")
    for folder in files["reddit"]:
        yield None, partial(_read_reddit, Path(folder))
    own: tuple[Source, ...] = ("clinical", "synthetic")
    for source in own:
        for file in files[source]:
            yield None, partial(read_dialogues, Path(file), source, categories)


def _read_reddit(folder: Path) -> _Read:
    pairs, report = read_epitome(folder)
    return [from_pair(pair) for pair in pairs], report
