"""Long jobs over a stream of rows: written as they come, continued where they were cut off."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from errors import UserError

__all__ = ["checked_output", "write_stream"]

_Row = TypeVar("_Row")


def checked_output(name: str, read: Path, suffixes: Sequence[str] = (".jsonl",)) -> Path:
    """The output of a command as a path.

    Args:
        name: What `--output` names.
        read: The file that the command reads.
        suffixes: Of which the output must have one.

    Raises:
        UserError: It can't be written to.
    """
    output = Path(name)
    if output.suffix not in suffixes:
        raise UserError(f"--output {output}: name a {' or a '.join(suffixes)} file")
    if output.is_dir() or not output.parent.is_dir():
        raise UserError(f"--output {output}: name a file in a folder that exists")
    if output.exists() and read.exists() and output.samefile(read):
        raise UserError(f"--output {output} is the file that is read; name another")
    return output


def write_stream(
    rows: Iterator[_Row],
    work: Callable[[Sequence[_Row]], Sequence[dict[str, Any]]],
    output: Path,
    *,
    total: int,
    window: int,
    same: dict[str, Any],
    verb: str,
    unit: str = "turns",
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Works on rows, a window at a time, and writes a JSON line each.

    Lines go to `OUTPUT.part` first, which gets its final name when all are there. A call with the same `same` goes on
    after the windows that an interrupted one has written.

    Args:
        rows: The stream.
        work: A window of rows -> an entry each.
        output: The file; replaced at the end.
        total: How many rows there are.
        window: Rows worked on together.
        same: Plain values that a continued call must share: digests of the inputs, options.
        verb: What is done to rows, for the progress line.
        unit: What a row is called there.
        finish: Makes the output of the lines' file, whose path it gets; None: they are the output.
    """
    part, job = output.with_name(f"{output.name}.part"), output.with_name(f"{output.name}.part.json")
    done = _resume(part, job, same, window)
    stream = islice(rows, done, None)
    began, start = time.monotonic(), done
    with part.open("a", encoding="utf-8") as file:
        while members := list(islice(stream, window)):
            for entry in work(members):
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            done += len(members)
            rate = (done - start) / max(1e-9, time.monotonic() - began)
            left = (total - done) / rate
            print(f"{verb} {done} of {total} {unit}, {rate:.1f} {unit}/s, about {left:.0f} s left", file=sys.stderr)
    if finish is None:
        part.replace(output)
    else:
        finish(part)
        part.unlink()
    job.unlink()


def _resume(part: Path, job: Path, same: dict[str, Any], window: int) -> int:
    """How many rows are done; the partial file is cut to whole windows, or emptied if it is another job's."""
    try:
        fits = json.loads(job.read_text(encoding="utf-8")) == same
    except (OSError, ValueError):
        fits = False
    done = size = 0
    if fits and part.is_file():
        position = 0
        with part.open("rb") as file:
            for number, line in enumerate(file, 1):
                position += len(line)
                if number % window == 0 and line.endswith(b"\n"):
                    done, size = number, position
    with part.open("ab") as file:
        file.truncate(size)
    job.write_text(json.dumps(same), encoding="utf-8")
    return done
