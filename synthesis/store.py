"""The log of everything that was asked and answered, and the rows taken from it.

`attempts.jsonl` is the truth and is only ever appended to, a whole line in one write. `rows.jsonl` is made from it and
replaced as a whole. So whatever ends the process, what is missing is at most the line being written: the next start
cuts off a half line, and every call whose answer stands in the log is answered from there.

Lines of the log, by `kind`:

- `run`: a start: settings, prompts' hash, versions, date.
- `call`: one answered call of an engine (or a scorer), with a unique `call_id`.
- `dialogue`: the end of one dialogue: stop reason, trials with verdicts and reflections, its rows if it was accepted.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from errors import DataError, UserError

__all__ = ["ATTEMPTS", "CARD", "HELD", "ROWS", "Store", "read_log", "write_atomically"]

ATTEMPTS, ROWS, CARD = "attempts.jsonl", "rows.jsonl", "card.md"
HELD = "held.jsonl"
"""Rows from prompts that held clinical text; the audit's gate decides whether they become `rows.jsonl`."""


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log, in constant memory; a half line at the end, which a killed run leaves, is left out.

    Args:
        path: An `attempts.jsonl`.

    Raises:
        DataError: A whole line is no record.
    """
    for _, _, record in _records(path):
        yield record


def _records(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Where each whole line begins and ends, and its record."""
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            yield start, start + len(line), _record(line, path, number)
            start += len(line)


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "kind" not in record:
        raise DataError([f"{path}, line {number}: no record of a run; restore the file or use another --output"])
    return record


def write_atomically(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file that is there as a whole or, after a crash at any moment, as it was before.

    Raises:
        UserError: The disk is full or the folder can't be written; nothing was changed.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} can't be written: {error.strerror or error}. Nothing that was written before is lost; make room and "
        "start the same command again"
    )


class Store:
    """An output folder, open for one run at a time.

    Args:
        folder: Made if it isn't there.

    Raises:
        UserError: Another process has it open, or it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        import fcntl

        self.folder = folder
        self.log = folder / ATTEMPTS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unwritten(self.log, error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise UserError(
                f"{folder}: another run is writing to it; wait for its end or use another --output"
            ) from None
        self._reader = self.log.open("rb")
        self.header: dict[str, Any] | None = None
        self.repaired = 0
        self.totals: Counter[str] = Counter()
        self.cost = 0.0
        self._size = 0
        self._calls: dict[str, dict[str, int]] = {}
        self._ends: dict[str, tuple[int, bool]] = {}
        self._recover()

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the log and lets another run open it."""
        self._reader.close()
        os.close(self._file)

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record, whole or not at all.

        Raises:
            UserError: The disk is full, or the like.
        """
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise _unwritten(self.log, error) from None
        self._index(self._size, record)
        self._size += len(line)

    def answer(self, dialogue: str, call_id: str) -> dict[str, Any] | None:
        """The logged call of an unfinished dialogue; None if it wasn't answered yet."""
        offset = self._calls.get(dialogue, {}).get(call_id)
        return None if offset is None else self._read(offset)

    def accepted(self, dialogue: str) -> bool | None:
        """How a dialogue ended; None if it is unfinished."""
        end = self._ends.get(dialogue)
        return None if end is None else end[1]

    def rows(self, dialogues: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The rows of the accepted ones among these dialogues, in their order."""
        for dialogue in dialogues:
            offset, accepted = self._ends.get(dialogue, (0, False))
            if accepted:
                yield from self._read(offset)["rows"]

    def write_rows(self, name: str, dialogues: Iterable[str]) -> None:
        """Replaces a file of rows by those of the accepted ones among these dialogues, in their order.

        The log is on the disk before the rows are, so no row is ever without its attempt.

        Args:
            name: `ROWS` or `HELD`.
            dialogues: Their ids.
        """
        os.fsync(self._file)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows(dialogues))
        write_atomically(self.folder / name, lines)

    def _recover(self) -> None:
        for start, end, record in _records(self.log):
            self._index(start, record)
            self._size = end
        self.repaired = os.fstat(self._file).st_size - self._size
        if self.repaired:
            os.ftruncate(self._file, self._size)

    def _index(self, offset: int, record: Mapping[str, Any]) -> None:
        kind = record["kind"]
        self.totals[kind] += 1
        if kind == "run" and self.header is None:
            self.header = dict(record)
        elif kind == "call":
            self._calls.setdefault(record["dialogue"], {})[record["call_id"]] = offset
            self.totals["tokens"] += record["prompt_tokens"] + record["completion_tokens"]
            self.cost += record["cost"]
        elif kind == "dialogue":
            self._calls.pop(record["dialogue"], None)
            self._ends[record["dialogue"]] = (offset, record["accepted"])

    def _read(self, offset: int) -> dict[str, Any]:
        self._reader.seek(offset)
        record: dict[str, Any] = json.loads(self._reader.readline())
        return record
