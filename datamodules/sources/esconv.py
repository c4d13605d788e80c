"""ESConv (Liu et al., ACL 2021) and its relatives as they are published.

Read are `ESConv.json` and `FailedESConv.json` (a JSON list), the files of `thu-coai/esconv` on the Hugging Face hub (a
dialogue a line, or rows whose `text` is a dialogue's JSON, as JSON Lines or Parquet), with any of their names for
speakers and strategies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.dialogues import STRATEGIES, Dialogue, Speaker, Turn, canonical_strategy, turn_problems
from datamodules.sources.cells import CellError, parse_text
from datamodules.sources.report import SourceReport, sha256_of
from errors import DataError

__all__ = ["read_esconv"]

_SPEAKERS: dict[str, Speaker] = {
    "seeker": "seeker",
    "speaker": "seeker",
    "usr": "seeker",
    "supporter": "supporter",
    "listener": "supporter",
    "sys": "supporter",
}


def read_esconv(path: Path, *, prefix: str = "", quote: bool = True) -> tuple[list[Dialogue], SourceReport]:
    """Reads a file of dialogues.

    Args:
        path: The file.
        prefix: What the ids begin with, to tell several files apart.
        quote: Whether messages may quote speakers; names of strategies are always listed.

    Returns:
        The dialogues in the file's order, a dialogue's id being its place in the file, counted from 0, and a report:
        `rows` are dialogues, `dropped` has `empty_dialogue`, and `counts` the turns, those dropped for being empty
        (`empty_turns`), those of each strategy (`strategy/<name>`), the spellings met (`spelling/<name>`),
        and strategies on seeker turns, which are ignored.

    Raises:
        DataError: The file can't be read; a speaker or a strategy is unknown (all of them are listed).
    """
    reader = _Reader(path, quote)
    dialogues = []
    for place, item in enumerate(_items(path)):
        reader.report.rows += 1
        if turns := reader.turns(place, item):
            dialogues.append(Dialogue(f"{prefix}{place}", "esconv", turns))
    reader.finish()
    reader.report.sha256 = sha256_of(path)
    return dialogues, reader.report


def _items(path: Path) -> Iterator[Any]:
    """The dialogues as the file has them."""
    if path.suffix.lower() == ".parquet":
        from datamodules.sources.formats import raw_rows

        yield from (_unwrap(row.cells, path, row.number) for row in raw_rows(path))
        return
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError([f"{path}: can't be read ({error.strerror}); check the path"]) from None
    except UnicodeDecodeError:
        raise DataError([f"{path}: not UTF-8 text; save the file with the encoding UTF-8"]) from None
    if text.lstrip().startswith("["):
        for number, item in enumerate(_parse(text, path, 0), 1):
            yield _unwrap(item, path, number)
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _unwrap(_parse(line, path, number), path, number)


def _parse(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"{path}, line {line}" if line else f"{path}"
        reason = f"{error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise DataError([f"{where}: not JSON ({reason}); give a JSON list of dialogues or a dialogue a line"]) from None


def _unwrap(item: Any, path: Path, number: int) -> Any:
    """A row of the hub has the dialogue as text."""
    wrapped = isinstance(item, dict) and "dialog" not in item and isinstance(item.get("text"), str)
    return _parse(item["text"], path, number) if wrapped else item


class _Reader:
    """Dialogues of one file -> turns, with what was met on the way."""

    def __init__(self, path: Path, quote: bool) -> None:
        self.path, self.quote = path, quote
        self.report = SourceReport(str(path), "")
        self.problems: list[str] = []
        self._unknown: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def turns(self, place: int, item: Any) -> list[Turn]:
        """The turns of a dialogue; none where it can't be used or is empty."""
        given = item.get("dialog") if isinstance(item, dict) else None
        if not isinstance(given, list):
            self.problems.append(f"{self.path}, dialogue {place}: no list 'dialog' of turns; is this an ESConv file?")
            return []
        turns = [turn for number, fields in enumerate(given) if (turn := self._turn(place, number, fields))]
        if not turns:
            self.report.drop("empty_dialogue")
        elif turns[0].speaker == "supporter":
            self.report.count("starts_with_supporter")
        return turns

    def finish(self) -> None:
        """Raises what was met."""
        for name, number in sorted(self._unknown.items()):
            self.problems.append(
                f"{self.path}, {self._first[name]}: strategy {name!r:.60} ({number} turns in all) is unknown; "
                f"the strategies are {', '.join(STRATEGIES)}"
            )
        if not self.problems and not self.report.rows:
            self.problems.append(f"{self.path}: the file has no dialogues")
        if self.problems:
            raise DataError(self.problems)

    def _turn(self, place: int, number: int, fields: Any) -> Turn | None:
        where = f"{self.path}, dialogue {place}, turn {number}"
        said = fields.get("content", fields.get("text")) if isinstance(fields, dict) else None
        if not isinstance(said, str):
            self.problems.append(f"{where}: no text 'content' (or 'text'); give the turn's text")
            return None
        try:
            text = parse_text(said)
        except CellError as error:
            self.problems.append(f"{where}: the text {error}")
            return None
        self.report.count("turns")
        speaker = fields.get("speaker")
        turn = Turn(_SPEAKERS.get(str(speaker).strip().lower(), speaker), text.strip(), place=number)
        self.problems += [f"{where}: {problem}" for problem in turn_problems(turn, quote=self.quote)]
        if not turn.text:
            self.report.count("empty_turns")
            return None
        turn.strategy = self._strategy(turn, fields, f"dialogue {place}, turn {number}")
        return turn

    def _strategy(self, turn: Turn, fields: dict[str, Any], where: str) -> str:
        annotation = fields.get("annotation")
        given = annotation.get("strategy") if isinstance(annotation, dict) else fields.get("strategy")
        if not given:
            if turn.speaker == "supporter":
                self.report.count("supporter_turns_without_strategy")
            return ""
        if turn.speaker == "seeker":
            self.report.count("strategies_on_seeker_turns")
            return ""
        name = canonical_strategy(str(given))
        if name is None:
            self._unknown[str(given)] += 1
            self._first.setdefault(str(given), where)
            return ""
        self.report.count(f"strategy/{name}")
        if name != given:
            self.report.count(f"spelling/{given}")
        return name
