"""Who works on what, agreed on through files of a folder that several machines may share.

A claim is a file that `link` gives its name, which is atomic on NFS too. Claims are never taken away while their work
is unfinished: whoever finds that an owner is gone makes the claim of the next number, and only one can.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Claim", "Claims"]

_BEAT = 15.0
_EXPIRY = 120.0


@cache
def _machine() -> str:
    """The place where a process number means something: host, its boot, and the container's process space."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _job() -> tuple[str, str]:
    """The SLURM job that this process belongs to, empty elsewhere, and how often it was queued again."""
    return os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT", "0")


def _began(pid: int) -> str:
    """When a process began, in the kernel's own count, so that a number given again is not taken for it.

    Empty where there is no such process, or no way to know.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state[0] in "ZX" else state[19]


def _runs(pid: int, began: str) -> bool:
    if began:
        return _began(pid) == began
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write_once(path: Path, content: str) -> bool:
    """Makes `path` with its content, unless it is there.

    A link whose answer was lost on the way is seen in the file's own count of names.
    """
    temporary = path.parent / f".{uuid.uuid4().hex}"
    with temporary.open("x", encoding="utf-8") as file:
        file.write(content)
    try:
        with suppress(OSError):
            path.hardlink_to(temporary)
        return temporary.stat().st_nlink == 2
    finally:
        temporary.unlink()


@dataclass(frozen=True)
class Claim:
    """A piece of work that this process has taken on.

    Args:
        name: The work.
        file: The claim's file.
        generation: How many owners there were before it, plus one.
        owner: What the file says of this process.
    """

    name: str
    file: Path
    generation: int
    owner: str

    def beat(self) -> None:
        """Shows other machines that the owner lives."""
        with suppress(OSError):
            os.utime(self.file)

    def holds(self) -> bool:
        """Whether nobody has taken the work over, be it still at work or done with it."""
        if self.file.with_name(f"{self.name}.{self.generation + 1}").exists():
            return False
        try:
            return self.file.read_text(encoding="utf-8") == self.owner
        except FileNotFoundError:  # a later owner gives back all claims before its own
            return False


class Claims:
    """The claims of a folder.

    Args:
        folder: Where they lie.
        expiry: Seconds without a sign of life after which an owner on another machine counts as gone.
    """

    def __init__(self, folder: Path, expiry: float = _EXPIRY) -> None:
        self.folder = folder
        self.expiry = expiry
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> Claim | None:
        """Takes on a piece of work; None where a living owner has it, or another process is just taking it."""
        before = self._generations(name)
        if before and self._lives(self._file(name, before[-1])):
            return None
        generation = max(before, default=0) + 1
        job, start = _job()
        process = {"machine": _machine(), "pid": os.getpid(), "began": _began(os.getpid())}
        owner = json.dumps({**process, "job": job, "start": start})
        claim = Claim(name, self._file(name, generation), generation, owner)
        if not _write_once(claim.file, owner):
            return None
        # Between the look and the link, the work may have been released and begun again under another number.
        others = [number for number in self._generations(name) if number != claim.generation]
        if any(number > claim.generation or self._lives(self._file(name, number)) for number in others):
            claim.file.unlink(missing_ok=True)
            return None
        return claim

    def release(self, claim: Claim) -> None:
        """Gives work back that is done, or that somebody else may begin; not what another process has by now."""
        if not claim.holds():
            return
        for generation in range(1, claim.generation + 1):  # its own last: nobody may come in before the end
            self._file(claim.name, generation).unlink(missing_ok=True)

    def taken(self, name: str) -> bool:
        """Whether a living owner has it."""
        return any(self._lives(self._file(name, number)) for number in self._generations(name))

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Shows life in the background while the block runs."""
        stop = threading.Event()

        def show() -> None:
            while not stop.wait(min(_BEAT, self.expiry / 4)):
                claim.beat()

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Runs a short block that no other process runs at the same time."""
        end = time.monotonic() + 2 * self.expiry
        while (claim := self.take(name)) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.folder / name}: held by another process for {2 * self.expiry:.0f} s")
            time.sleep(random.uniform(0.005, 0.02))  # two that gave way to each other must not do so again
        try:
            yield
        finally:
            self.release(claim)

    def _file(self, name: str, generation: int) -> Path:
        return self.folder / f"{name}.{generation}"

    def _generations(self, name: str) -> list[int]:
        """The claims' numbers in order."""
        numbers = [path.name.removeprefix(f"{name}.") for path in self.folder.iterdir()]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def _lives(self, file: Path) -> bool:
        try:
            owner = json.loads(file.read_text(encoding="utf-8"))
            if owner["machine"] == _machine():
                return _runs(owner["pid"], owner["began"])
            job, start = _job()
            if job and owner["job"] == job and owner["start"] != start:
                return False  # of this job, before SLURM queued it again
            return self._now() - file.stat().st_mtime < self.expiry
        except FileNotFoundError:
            return False

    def _now(self) -> float:
        """The clock of the folder's own file system: machines' clocks differ."""
        probe = self.folder / f".{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()
