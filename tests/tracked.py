"""What a tracker was told."""

import struct
import time
from pathlib import Path

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
