"""A run with a tracker, and what the tracker was told."""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from running import ROOT, Ran
from wandb.proto.wandb_internal_pb2 import Record


def wandb_records(folder: Path) -> list[Record]:
    """All that W&B would upload; its own process writes the end of the log a moment after the run has ended."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    for _ in range(300):
        records = records_of(file)
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{file} has no end")


def records_of(file: Path) -> list[Record]:
    """The whole records of a log in LevelDB's format, blocks of 32 KiB with parts of records."""
    content, place, parts, records = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(parts))
            parts = b""
    return records


def tracked_fit(place: Path, *options: object) -> Ran:
    """`fit` with W&B in a real process, so that all of its output is seen; caches lie in `place` too."""
    places = {name: str(place / "home" / name) for name in ("HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    environment = os.environ | places | {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}
    words = [sys.executable, str(ROOT / "cli.py"), "fit", "--logger", "wandb", *map(str, options)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=280, env=environment, cwd=place / "tmp", check=False
    )
    assert done.returncode == 0, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)
