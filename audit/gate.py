"""The gate: rows from prompts that held clinical text leave only when the audit passes or someone signs for them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

from audit.rows import file_digest
from datamodules.files import replacing_path, write_json
from datamodules.sources.cells import PROMPT_SOURCES
from datamodules.sources.formats import raw_rows
from errors import DataError, UserError

__all__ = ["ExportGate", "Ground", "export_rows", "read_waiver"]


@dataclass
class Ground:
    """Why rows may leave.

    Args:
        reason: `no clinical prompts`, `audit passed` or `waiver`.
        sha256: The rows, by `audit.rows.file_digest`; once they are exported, the exported file.
        rows: Rows that came from prompts with clinical text.
        signed: A waiver's name, reason and date.
    """

    reason: str
    sha256: str
    rows: int
    signed: dict[str, str] | None = None


@dataclass
class ExportGate:
    """Decides whether rows may leave this machine.

    `synthesize` keeps rows from prompts with clinical text in `held.jsonl`; `audit held.jsonl --export rows.jsonl` asks
    this gate, and `synthesize --push` sends them only with the release that `export_rows` leaves.

    Args:
        audit: The `audit.json` that an audit of exactly these rows wrote.
        waiver: A YAML or JSON file with `name`, `reason` and `date`.
    """

    audit: str | None = None
    waiver: str | None = None

    def check(self, rows: Sequence[Path]) -> Ground:
        """Lets rows pass or says why not.

        Args:
            rows: The files of rows; their field `prompt_sources` says what the prompts held.

        Returns:
            Why they may leave; goes into the export's record.

        Raises:
            UserError: They may not.
        """
        count = sum(_clinical_rows(path) for path in rows)
        digest = file_digest(rows)
        if not count:
            return Ground("no clinical prompts", digest, count)
        if self.waiver:
            return Ground("waiver", digest, count, read_waiver(Path(self.waiver)))
        problems = self._audit_problems(digest)
        if problems:
            names = ", ".join(map(str, rows))
            raise UserError(
                f"{names}: {count:,} rows come from prompts that held clinical text and are not exported: "
                + "; ".join(problems)
                + ". Take the rows out, or give a waiver: a file with name, reason and date"
            )
        return Ground("audit passed", digest, count)

    def _audit_problems(self, digest: str) -> list[str]:
        if not self.audit:
            return ["no audit is given (run `python cli.py audit` on these rows)"]
        try:
            content = json.loads(Path(self.audit).read_text(encoding="utf-8"))
            same, passed, checks = content["sha256"] == digest, content["passed"], content["checks"]
            failed = [f"{check['name']}: {check['found']}" for check in checks if check["passed"] is not True]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError([f"{self.audit}: not an audit's audit.json ({type(error).__name__})"]) from None
        if not same:
            return [f"{self.audit} is of other rows; audit these"]
        return [] if passed is True and checks and not failed else failed or ["the audit holds no checks"]


def read_waiver(path: Path) -> dict[str, str]:
    """Reads who takes the responsibility and why.

    Args:
        path: YAML or JSON with `name`, `reason` and `date` (year-month-day).

    Raises:
        DataError: One of them is missing, or the date isn't one or lies in the future.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError([f"{path}: the waiver can't be read ({type(error).__name__})"]) from None
    fields: dict[str, Any] = content if isinstance(content, dict) else {}
    signed = {name: str(fields.get(name) or "").strip() for name in ("name", "reason", "date")}
    problems = [f"{path}: the waiver has no {name}" for name, value in signed.items() if not value]
    if signed["date"]:
        try:
            if date.fromisoformat(signed["date"]) > date.today():
                problems.append(f"{path}: the waiver's date lies in the future")
        except ValueError:
            problems.append(f"{path}: the waiver's date is not of the form 2026-01-31")
    if problems:
        raise DataError(problems)
    return signed


def export_rows(rows: Sequence[Path], destination: Path, gate: ExportGate) -> Ground:
    """Copies rows to a file that may leave, and writes beside it why it may (`<destination>.release.json`).

    Args:
        rows: JSON Lines files.
        destination: The file to write; must not be there yet.
        gate: Decides.

    Raises:
        UserError: The gate refuses, or the destination exists.
    """
    ground = gate.check(rows)
    if destination.exists():
        raise UserError(f"{destination} exists; name another file or take it away")
    with replacing_path(destination) as part:
        with part.open("w+b") as file:
            for path in rows:
                _end_line(file)
                with path.open("rb") as source:
                    shutil.copyfileobj(source, file)
        ground.sha256 = file_digest([part])
        write_json(destination.with_name(f"{destination.name}.release.json"), asdict(ground))
    return ground


def _end_line(file: BinaryIO) -> None:
    """So that a file whose last line has no end doesn't join with the next one's first."""
    if file.tell():
        file.seek(-1, os.SEEK_CUR)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _clinical_rows(path: Path) -> int:
    rows = raw_rows(path, (PROMPT_SOURCES,))
    return sum("clinical" in (row.cells.get(PROMPT_SOURCES) or ()) for row in rows)
