"""What a study is drawn from: responses as `respond` writes them, and the contexts that they answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.records import Source
from datamodules.sources.cells import CellError, parse_name, parse_text, row_source
from datamodules.sources.formats import raw_rows
from errors import DataError
from experiments.pairwise.study import Turn

__all__ = ["Context", "read_contexts", "read_responses"]


@dataclass(frozen=True)
class Context:
    """What was said before a response.

    Args:
        turns: Oldest first; empty where the supporter begins.
        dialogue: The dialogue's id.
        source: Where it comes from.
    """

    turns: list[Turn]
    dialogue: str
    source: Source


def read_responses(path: Path) -> dict[str, str]:
    """A system's responses.

    Args:
        path: JSON Lines, CSV or Parquet with `id` and `response`; an empty response is one.

    Returns:
        Id -> response.

    Raises:
        DataError: Rows without the two, an id twice, or no rows.
    """
    responses: dict[str, str] = {}
    problems = []
    for row in raw_rows(path, ("id", "response")):
        try:
            name, response = parse_name(row.cells.get("id")), parse_text(row.cells.get("response"))
        except CellError as error:
            problems.append(f"{row.where(path)}: 'id' or 'response' {error}")
            continue
        if row.problem:
            problems.append(f"{row.where(path)}: {row.problem}")
        elif not name or row.cells.get("response") is None:
            problems.append(f"{row.where(path)}: needs 'id' and 'response', as `respond` writes them")
        elif name in responses:
            problems.append(f"{row.where(path)}: the id stands in an earlier row too; leave one response an id")
        else:
            responses[name] = response
    if not responses and not problems:
        problems.append(f"{path}: no rows; name a file of responses, as `respond` writes them")
    if problems:
        raise DataError(problems)
    return responses


def read_contexts(path: Path, wanted: Collection[str], source: Source = "clinical") -> dict[str, Context]:
    """The contexts of responses.

    Args:
        path: Rows with `turns` (dialogues) or `seeker_post` (posts) in JSON Lines or Parquet, or ESConv's JSON.
        wanted: Ids of responses: `<dialogue>:<turn>` for the turns before that one, counted from 0 in the file, or a
            dialogue's own id for everything up to the seeker's last turn.
        source: What rows are whose own `source` doesn't say.

    Returns:
        Id -> context, for those of `wanted` that the file has.

    Raises:
        DataError: A file that can't be read, rows that are neither, or an id twice.
    """
    asked: dict[str, dict[str, int | None]] = {}
    for name in wanted:
        dialogue, _, turn = name.rpartition(":")
        asked.setdefault(name, {})[name] = None
        if dialogue and turn.isdecimal():
            asked.setdefault(dialogue, {})[name] = int(turn)
    contexts: dict[str, Context] = {}
    dialogues = _esconv(path) if path.suffix.lower() == ".json" else _rows(path, source)
    for name, (said, turns) in dialogues.items():
        for response, place in asked.get(name, {}).items():
            end = _answered(turns) if place is None else place
            if end <= len(turns):
                contexts[response] = Context([one for one in turns[:end] if one["text"].strip()], name, said)
    return contexts


def _answered(turns: list[Turn]) -> int:
    """The place after the seeker's last turn."""
    return max((place for place, turn in enumerate(turns, 1) if turn["speaker"] == "seeker"), default=0)


def _esconv(path: Path) -> dict[str, tuple[Source, list[Turn]]]:
    from datamodules.sources.esconv import read_esconv

    dialogues: dict[str, tuple[Source, list[Turn]]] = {}
    for dialogue in read_esconv(path)[0]:
        turns = [{"speaker": "seeker", "text": ""} for _ in range(dialogue.turns[-1].place + 1)]
        for turn in dialogue.turns:
            turns[turn.place] = {"speaker": turn.speaker, "text": turn.text}
        dialogues[dialogue.id] = (dialogue.source, turns)
    return dialogues


def _rows(path: Path, source: Source) -> dict[str, tuple[Source, list[Turn]]]:
    dialogues: dict[str, tuple[Source, list[Turn]]] = {}
    problems = []
    for row in raw_rows(path):
        try:
            name, turns = parse_name(row.cells.get("id")) or str(row.number - 1), _turns(row.cells)
        except CellError as error:
            problems.append(f"{row.where(path)}: 'id' or a text {error}")
            continue
        if row.problem:
            problems.append(f"{row.where(path)}: {row.problem}")
        elif turns is None:
            problems.append(
                f'{row.where(path)}: needs \'turns\', a list of {{"speaker": "seeker" or "supporter", "text": '
                "\"...\"}, or 'seeker_post'"
            )
        elif name in dialogues:
            problems.append(f"{row.where(path)}: the id stands in an earlier row too; give each row its own")
        else:
            dialogues[name] = (row_source(row.cells, source), turns)
    if problems:
        raise DataError(problems)
    return dialogues


def _turns(cells: dict[str, Any]) -> list[Turn] | None:
    """The row's turns; None where it has none that can be used."""
    turns = cells.get("turns")
    if turns is None and cells.get("seeker_post") is not None:
        turns = [{"speaker": "seeker", "text": cells["seeker_post"]}]
    if not isinstance(turns, list) or not all(map(_is_turn, turns)):
        return None
    return [{"speaker": turn["speaker"], "text": parse_text(turn.get("text"))} for turn in turns]


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("speaker") in ("seeker", "supporter")
