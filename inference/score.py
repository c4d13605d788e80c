"""`python cli.py score`: any table, or dialogues, through a finished run, streamed, resumable, in constant memory."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import replacing_path
from datamodules.records import Pair
from datamodules.sources.table import Columns, check_table, read_rows
from errors import UserError
from inference.respond import score_dialogues
from inference.streaming import file_digest, write_stream

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
    task = _task(options.checkpoint)
    if task == "responder":
        raise UserError(f"'{options.checkpoint}' is a responder's run, which `respond` takes; score by another model's")
    if task == "strategy":
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


def _task(checkpoint: str) -> str:
    """What the checkpoint was trained for."""
    from lightning_modules.checkpoints import find_checkpoint, read_checkpoint

    return str(read_checkpoint(find_checkpoint(checkpoint)).get("task", "empathy"))


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

    def work(window: Sequence[Pair]) -> list[dict[str, Any]]:
        found = scorer.score(window, batch_size)
        return [_entry(pair, score, only_expressed) for pair, score in zip(window, found, strict=True)]

    write_stream(
        read_rows(table, columns, "clinical", annotations=False),
        work,
        output,
        total=rows,
        window=_WINDOW,
        same={
            "table": file_digest(table),
            "checkpoint": file_digest(find_checkpoint(checkpoint)),
            "options": [columns.id, columns.seeker_post, columns.response_post, only_expressed, batch_size],
        },
        verb="scored",
        unit="rows",
        finish=(lambda part: _to_parquet(part, output, scorer.mechanisms)) if output.suffix == ".parquet" else None,
    )


def _entry(pair: Pair, score: Any, only_expressed: bool) -> dict[str, Any]:
    rationales = score.rationales
    if only_expressed:
        rationales = {name: spans if score.levels[name] > 0 else [] for name, spans in rationales.items()}
    return {"id": pair.id, "levels": score.levels, "probabilities": score.probabilities, "rationales": rationales}


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
