"""What became of each run of a grid: one line an event in `ledger.jsonl`, written by any number of processes."""

from __future__ import annotations

import datetime
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import UserError
from experiments.claims import Claims
from experiments.grid import Point

__all__ = ["Ledger", "State", "events"]


@dataclass
class State:
    """What the ledger says.

    Args:
        done: Name -> the event of a finished run.
        failed: Name -> the event of a failed run that has not finished since.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """What a finished run took on average; None before the first."""
        spent = [event["seconds"] for event in self.done.values()]
        return sum(spent) / len(spent) if spent else None


class Ledger:
    """The ledger of a folder.

    Args:
        folder: The experiment's `--output`.
        claims: The claims of the same folder; a line is written under one.
    """

    def __init__(self, folder: Path, claims: Claims) -> None:
        self.file = folder / "ledger.jsonl"
        self.claims = claims

    def add(self, event: str, point: Point, **more: Any) -> None:
        """Writes an event so that it outlasts this process; half a line of a killed writer is cut off."""
        line = {"event": event, "point": point.name, "digest": point.digest, **more}
        line |= {
            "worker": f"{socket.gethostname()}:{os.getpid()}",
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        with self.claims.alone("ledger.lock"), self.file.open("ab+") as file:
            whole = _whole(file)
            file.truncate(whole)
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, points: list[Point]) -> State:
        """The state of these runs.

        Raises:
            UserError: A run of the same name had other options: the folder is another grid's.
        """
        digests = {point.name: point.digest for point in points}
        state = State()
        for event in events(self.file):
            name = event["point"]
            if name not in digests:
                continue
            if event["event"] == "done" and event["digest"] != digests[name]:
                raise UserError(
                    f"{self.file}: '{name}' was run with other options or configs than the grid has now; "
                    "choose another --output, or give the same options"
                )
            if event["event"] == "done":
                state.done[name] = event
                state.failed.pop(name, None)
            elif event["digest"] == digests[name] and name not in state.done:
                state.failed[name] = event
        return state


def events(file: Path) -> Iterator[dict[str, Any]]:
    """What a ledger says, in order; nothing where there is no such file.

    Raises:
        UserError: A line can't be read.
    """
    if not file.is_file():
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return  # of a writer that was killed, or is just writing
            try:
                yield json.loads(line)
            except ValueError:
                raise UserError(f"{file}: line {number} is not JSON; take it out") from None


def _whole(file: Any) -> int:
    """Bytes up to the end of the last whole line."""
    end = int(file.seek(0, os.SEEK_END))
    tail_from = max(0, end - (1 << 16))
    file.seek(tail_from)
    return tail_from + int(file.read().rfind(b"\n")) + 1
