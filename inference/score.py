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
from datamodules.sources.report import sha256_of
from datamodules.sources.table import Columns, check_table, read_rows
from errors import UserError
from inference.streaming import checked_output, write_stream
from inference.turn_stream import SupporterTurn, note_cuts, stream_turns

if TYPE_CHECKING:
    from inference.scorer import Device, EmpathyScore, EmpathyScorer
    from inference.strategist import Strategist

__all__ = ["main", "score_dialogues", "score_table"]

_WINDOW = 512
"""Rows that are read, sorted by length and scored together; an interrupted run goes on at a multiple of it."""
_OF_PAIRS = ("only_expressed", "id", "seeker_post", "response_post")
"""Options that mean nothing for dialogues."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py score",
        usage="python cli.py score TABLE --checkpoint RUN --output FILE [options]",
        description="Score any table by a finished run.",
        allow_abbrev=False,
    )
    parser.add_argument("table", help="a table of pairs; for a strategy classifier, a file of dialogues")
    parser.add_argument("--checkpoint", required=True, help="a run's folder or a checkpoint file")
    parser.add_argument("--output", required=True, help="where to write: .jsonl; levels also .parquet")
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
    parser = _parser()
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        raise UserError(f"--batch_size {options.batch_size}: at least 1")
    from inference.strategist import Strategist

    table, checkpoint = Path(options.table), Path(options.checkpoint)
    model = _load(options.checkpoint, options.device)

    if isinstance(model, Strategist):
        if given := [f"--{name}" for name in _OF_PAIRS if getattr(options, name) != parser.get_default(name)]:
            raise UserError(f"{', '.join(given)}: for pairs alone; '{checkpoint}' is a strategy classifier's")
        output = checked_output(options.output, table)
        score_dialogues(model, table, output, checkpoint=checkpoint, batch_size=options.batch_size)
    else:
        output = checked_output(options.output, table, (".jsonl", ".parquet"))
        columns = Columns(id=options.id, seeker_post=options.seeker_post, response_post=options.response_post)
        score_table(
            model,
            table,
            output,
            columns=columns,
            rows=check_table(table, columns, "clinical", annotations=False),
            only_expressed=options.only_expressed,
            batch_size=options.batch_size,
            checkpoint=checkpoint,
        )
    print(output)
    return 0


def _load(checkpoint: str, device: Device) -> EmpathyScorer | Strategist:
    """The model of a checkpoint, which is read once, whatever it was trained for."""
    from inference.scorer import EmpathyScorer
    from inference.strategist import Strategist
    from lightning_modules.checkpoints import find_checkpoint, read_checkpoint

    content = read_checkpoint(find_checkpoint(checkpoint))
    if content.get("task") == "responder":
        raise UserError(f"'{checkpoint}' is a responder's run, which `respond` takes; score by another model's")
    if content.get("task") == "strategy":
        return Strategist.from_checkpoint(content, device)
    return EmpathyScorer.from_checkpoint(content, device)


def score_dialogues(strategist: Strategist, file: Path, output: Path, *, checkpoint: Path, batch_size: int) -> None:
    """Writes what a classifier finds: a row for each supporter turn with `id`, `strategy` and `probabilities`.

    Args:
        strategist: The classifier.
        file: The dialogues.
        output: A `.jsonl` file.
        checkpoint: Where the classifier came from, part of what a continued call must share.
        batch_size: Turns in a forward pass.

    Raises:
        UserError: The file or the output can't be used.
    """

    def work(window: Sequence[SupporterTurn]) -> list[dict[str, Any]]:
        found = strategist.turns([(turn.turns, turn.number) for turn in window], batch_size)
        return [
            {"id": turn.id, **{name: said for name, said in vars(score).items() if said is not None}}
            for turn, score in zip(window, found, strict=True)
        ]

    stream_turns(
        file,
        strategist.scheme.categories,
        work,
        output,
        which="all",
        window=_WINDOW,
        verb="scored",
        checkpoints=[str(checkpoint)],
        options=[batch_size],
    )
    note_cuts(strategist.cut, strategist.format)


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

    Raises:
        UserError: The output can't be written.
    """
    from lightning_modules.checkpoints import find_checkpoint

    def work(window: Sequence[Pair]) -> list[dict[str, Any]]:
        found = scorer.score(window, batch_size)
        return [_entry(pair, score, only_expressed) for pair, score in zip(window, found, strict=True)]

    try:
        write_stream(
            read_rows(table, columns, "clinical", annotations=False),
            work,
            output,
            total=rows,
            window=_WINDOW,
            same={
                "table": sha256_of(table),
                "checkpoint": sha256_of(find_checkpoint(checkpoint)),
                "options": [columns.id, columns.seeker_post, columns.response_post, only_expressed, batch_size],
            },
            verb="scored",
            unit="rows",
            finish=(lambda part: _to_parquet(part, output, scorer.mechanisms)) if output.suffix == ".parquet" else None,
        )
    except OSError as error:
        raise UserError(f"--output {output}: {error.strerror or error}; what is scored so far is kept") from None


def _entry(pair: Pair, score: EmpathyScore, only_expressed: bool) -> dict[str, Any]:
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
