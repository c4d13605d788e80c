"""What became of each run of a grid: one line an event in `ledger.jsonl`, written by any number of processes."""

from __future__ import annotations

import datetime
import json
import os
import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import UserError
from experiments.claims import Claim, Claims
from experiments.grid import Point
from experiments.results import complete

__all__ = ["Ledger", "State", "events"]

_NEEDED = {"done": {"point", "digest", "seconds"}, "failed": {"point", "error"}}
"""What the line of an event says at least."""

_NAMED = 3
"""Runs that a message names."""


@dataclass
class State:
    """What the ledger says.

    Args:
        done: Name -> the event of a finished run.
        failed: Name -> the event of a run whose last end was a failure.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """What a finished run took on average; None before the first."""
        spent = [event["seconds"] for event in self.done.values()]
        return sum(spent) / len(spent) if spent else None

    def lost(self, runs: Path) -> dict[str, dict[str, Any]]:
        """Those of `done` whose folder was taken away.

        Args:
            runs: Folder of the run folders.
        """
        return {name: event for name, event in self.done.items() if not complete(runs / name)}


class Ledger:
    """The ledger of a folder.

    Args:
        folder: The experiment's `--output`.
        claims: The claims of the same folder; a line is written under one.
    """

    def __init__(self, folder: Path, claims: Claims) -> None:
        self.file = folder / "ledger.jsonl"
        self.claims = claims

    def add(self, event: str, point: Point, claim: Claim, **more: Any) -> bool:
        """Writes an event so that it outlasts this process; half a line of a killed writer is cut off.

        Args:
            event: `done` or `failed`.
            point: The run.
            claim: This process's claim on it.
            more: What else the line says.

        Returns:
            Whether it was written: what becomes of a run that another process has taken over is that one's to say.
        """
        line = {"event": event, "point": point.name, "digest": point.digest, **more}
        line |= {
            "worker": f"{socket.gethostname()}:{os.getpid()}",
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        with self.claims.alone("ledger.lock"):
            if not claim.holds():
                return False
            with self.file.open("ab+") as file:
                whole = _whole(file)
                file.truncate(whole)
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return True

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
            elif event.get("digest") == digests[name]:
                state.failed[name] = event
                state.done.pop(name, None)
        return state

    def check(self, names: Collection[str]) -> None:
        """Refuses a folder with results that a series with these runs would leave out of its table.

        Args:
            names: What its runs are called.

        Raises:
            UserError: The folder holds a finished run with another name.
        """
        runs = self.file.parent / "runs"
        done = {event["point"] for event in events(self.file) if event["event"] == "done"}
        others = sorted(name for name in done.difference(names) if complete(runs / name))
        if others:
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            raise UserError(
                f"{self.file.parent} holds finished points that are not among those to run, and results.csv would "
                f"lose them: {', '.join(others[:_NAMED])}{more}; choose another --output, or keep them in the grid "
                f"(a sweep: in --max_runs); to do without them, delete their folders in {runs}"
            )


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
                event = json.loads(line)
            except ValueError:
                raise UserError(f"{file}: line {number} is not JSON; take it out") from None
            needed = _NEEDED.get(str(event.get("event"))) if isinstance(event, dict) else None
            if needed is None or not needed <= event.keys():
                raise UserError(f"{file}: line {number} is not what became of a run; take it out")
            yield event


def _whole(file: Any) -> int:
    """Bytes up to the end of the last whole line."""
    end = int(file.seek(0, os.SEEK_END))
    tail_from = max(0, end - (1 << 16))
    file.seek(tail_from)
    return tail_from + int(file.read().rfind(b"\n")) + 1
