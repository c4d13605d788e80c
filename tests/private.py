"""Clinical texts with a mark in them, and the search for the mark in what a command leaves."""

import json
from pathlib import Path

import pyarrow.parquet
import pytest
from running import Ran

MARK = "qzxclinical"
"""In every clinical text, a word of its own and inside words."""


def make_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything but the clinical table itself is written: `home` and its caches, `tmp`, `runs`."""
    folder = tmp_path_factory.mktemp("private")
    for name in ("home", "tmp", "cache"):
        (folder / name).mkdir()
    return folder


def content(file: Path) -> bytes:
    """What a file holds, in lower case; Parquet is compressed."""
    if file.suffix == ".parquet":
        return str(pyarrow.parquet.read_table(file).to_pylist()).lower().encode()
    return file.read_bytes().lower()


def assert_private(place: Path, ran: Ran | None = None, *, but: tuple[str, ...] = ()) -> None:
    """The mark is in no file of the folder, but for those named, and in nothing that the command printed."""
    files = [path for path in place.rglob("*") if path.is_file() and path.name not in but]
    assert files
    assert not [path for path in files if MARK.encode() in content(path)]
    if ran is not None:
        assert MARK not in ran.out.lower()
        assert MARK not in ran.err.lower()


def assert_clinical_rows_in_every_split(run: Path) -> None:
    """Otherwise there was nothing to leak."""
    splits = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["splits"]
    for split in ("train", "validation", "test"):
        assert splits[split]["sources"]["clinical"]["rows"] > 0
