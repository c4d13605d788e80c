"""`python cli.py score`: any table through a finished run, streamed, resumable, in constant memory."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import replacing_path
from datamodules.records import Pair
from datamodules.sources.table import Columns, check_table, read_rows
from errors import UserError
from inference.dialogue_files import holds_dialogues
from inference.respond import score_dialogues

if TYPE_CHECKING:
    from inference.scorer import EmpathyScorer

__all__ = ["main", "score_table"]

_WINDOW = 512
"""Rows that are read, sorted by length and scored together; an interrupted run goes on at a multiple of it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py score",
        usage="python cli.py score TABLE --checkpoint RUN --output FILE [options]",
        description="Score any table by a finished run.",
        allow_abbrev=False,
    )
    parser.add_argument("table", help="a table of pairs; for a strategy classifier, a file of dialogues")
    parser.add_argument("--checkpoint", required=True, help="a run's folder or a checkpoint file")
    parser.add_argument("--output", required=True, help="where to write: .jsonl or .parquet")
    parser.add_argument("--only_expressed", action="store_true", help="rationales only where the level is above 0")
    parser.add_argument("--id", default="id", help="the table's column of ids (default: id, or a hash of the texts)")
    parser.add_argument("--seeker_post", default="seeker_post", help="the table's column of seeker posts")
    parser.add_argument("--response_post", default="response_post", help="the table's column of responses")
    parser.add_argument("--batch_size", type=int, default=32, help="pairs in a forward pass (default: 32)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments.

    Returns:
        The exit status.

    Raises:
        UserError: The table, the checkpoint or the output can't be used.
    """
    options = _parser().parse_args(argv)
    table, output = Path(options.table), Path(options.output)
    if holds_dialogues(table):
        return score_dialogues(
            table, options.checkpoint, options.output, batch_size=options.batch_size, device=options.device
        )
    if output.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"--output {output}: name a .jsonl or a .parquet file")
    if output.is_dir() or not output.parent.is_dir():
        raise UserError(f"--output {output}: name a file in a folder that exists")
    if options.batch_size < 1:
        raise UserError(f"--batch_size {options.batch_size}: at least 1")
    columns = Columns(id=options.id, seeker_post=options.seeker_post, response_post=options.response_post)
    rows = check_table(table, columns, "clinical", annotations=False)
    from inference.scorer import EmpathyScorer

    scorer = EmpathyScorer.load(options.checkpoint, options.device)
    try:
        score_table(
            scorer,
            table,
            output,
            columns=columns,
            rows=rows,
            only_expressed=options.only_expressed,
            batch_size=options.batch_size,
            checkpoint=Path(options.checkpoint),
        )
    except OSError as error:
        raise UserError(f"--output {output}: {error.strerror or error}; what is scored so far is kept") from None
    print(output)
    return 0


def score_table(
    scorer: EmpathyScorer,
    table: Path,
    output: Path,
    *,
    columns: Columns,
    rows: int,
    only_expressed: bool,
    batch_size: int,
    checkpoint: Path,
) -> None:
    """Scores a table of any size; what an interrupted call has scored is not scored again.

    Rows go to `OUTPUT.part` first, which gets its final name (or becomes Parquet) when all are there.

    Args:
        scorer: The model.
        table: The rows.
        output: `.jsonl` or `.parquet`; replaced when everything is scored.
        columns: The table's columns.
        rows: How many rows the table has.
        only_expressed: Leave out rationales of level 0.
        batch_size: Pairs in a forward pass.
        checkpoint: Where the model came from, part of what a continued call must share.
    """
    from lightning_modules.checkpoints import find_checkpoint

    part, job = output.with_name(f"{output.name}.part"), output.with_name(f"{output.name}.part.json")
    same = {
        "table": _digest(table),
        "checkpoint": _digest(find_checkpoint(checkpoint)),
        "options": [columns.id, columns.seeker_post, columns.response_post, only_expressed, batch_size],
    }
    done = _resume(part, job, same)
    stream = islice(read_rows(table, columns, "clinical", annotations=False), done, None)
    began, start = time.monotonic(), done
    with part.open("a", encoding="utf-8") as file:
        while window := list(islice(stream, _WINDOW)):
            for pair, score in zip(window, scorer.score(window, batch_size), strict=True):
                file.write(json.dumps(_entry(pair, score, only_expressed), ensure_ascii=False) + "\n")
            file.flush()
            done += len(window)
            rate = (done - start) / max(1e-9, time.monotonic() - began)
            left = (rows - done) / rate
            print(f"scored {done} of {rows} rows, {rate:.0f} rows/s, about {left:.0f} s left", file=sys.stderr)
    if output.suffix == ".parquet":
        _to_parquet(part, output, scorer.mechanisms)
        part.unlink()
    else:
        part.replace(output)
    job.unlink()


def _entry(pair: Pair, score: Any, only_expressed: bool) -> dict[str, Any]:
    rationales = score.rationales
    if only_expressed:
        rationales = {name: spans if score.levels[name] > 0 else [] for name, spans in rationales.items()}
    return {"id": pair.id, "levels": score.levels, "probabilities": score.probabilities, "rationales": rationales}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _resume(part: Path, job: Path, same: dict[str, Any]) -> int:
    """How many rows are scored already; the partial file is cut to whole windows, or emptied if it is another job's."""
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
                if number % _WINDOW == 0 and line.endswith(b"\n"):
                    done, size = number, position
    with part.open("ab") as file:
        file.truncate(size)
    job.write_text(json.dumps(same), encoding="utf-8")
    return done


def _to_parquet(part: Path, output: Path, mechanisms: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def of_mechanisms(kind: Any) -> Any:
        return pa.struct([(name, kind) for name in mechanisms])

    schema = pa.schema(
        [
            ("id", pa.string()),
            ("levels", of_mechanisms(pa.int64())),
            ("probabilities", of_mechanisms(pa.list_(pa.float64()))),
            ("rationales", of_mechanisms(pa.list_(pa.list_(pa.int64())))),
        ]
    )
    with (
        replacing_path(output) as temporary,
        part.open(encoding="utf-8") as lines,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        while window := [json.loads(line) for line in islice(lines, _WINDOW * 8)]:
            writer.write_table(pa.Table.from_pylist(window, schema=schema))
