"""`python cli.py respond`: what a supporter could say next, for every dialogue of a file; streamed and resumable.

The strategies of the same turns by a classifier, `score_dialogues`, are `cli.py score` for a file of dialogues.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datamodules.dialogues import Dialogue, Turn
from datamodules.sources.report import SourceReport
from errors import UserError
from inference.dialogue_files import iterate_file
from lightning_modules.choices import POLICIES

if TYPE_CHECKING:
    from datamodules.contexts import ClassifierFormat, ResponderFormat

__all__ = ["main", "score_dialogues", "supporter_turns"]

_WINDOW = 64
"""Turns that are read, sorted by length and written together; an interrupted run goes on at a multiple of it."""

Place = tuple[str, Sequence[Turn], int]
"""Name `<dialogue>:<turn>`, the dialogue's turns, and the number of the turn in them."""


def supporter_turns(dialogue: Dialogue, which: Literal["all", "next"]) -> Iterator[Place]:
    """The turns of a dialogue that are asked for.

    Args:
        dialogue: The dialogue.
        which: `all`: each supporter turn that is there; `next`: the one that comes after the last turn.
    """
    if which == "next":
        yield f"{dialogue.id}:{dialogue.turns[-1].place + 1}", dialogue.turns, len(dialogue.turns)
        return
    for number, turn in enumerate(dialogue.turns):
        if turn.speaker == "supporter":
            yield f"{dialogue.id}:{turn.place}", dialogue.turns, number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py respond",
        description="Write a supporter's turns for the dialogues of a file.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="dialogues: rows with turns (JSON Lines, Parquet), or ESConv's JSON")
    parser.add_argument("--checkpoint", required=True, help="a responder's run folder or checkpoint file")
    parser.add_argument("--policy", choices=POLICIES, default="none", help="where the strategy comes from")
    parser.add_argument("--classifier", help="a classifier's run, for the policies classifier and classifier_sampled")
    parser.add_argument("--output", required=True, help="where to write: .jsonl")
    parser.add_argument("--turns", choices=("all", "next"), default="all", help="each supporter turn, or what is next")
    parser.add_argument("--seed", type=int, help="seed of all draws (default: the run's)")
    parser.add_argument("--batch_size", type=int, default=16, help="turns written together; changes no response")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments.

    Returns:
        The exit status.

    Raises:
        UserError: The file, a checkpoint or the output can't be used.
    """
    options = _parser().parse_args(argv)
    file, output = Path(options.file), _checked_output(options.output, options.batch_size)
    from inference.policies import build_policy
    from inference.responder import Responder, TurnAsked

    policy = build_policy(options.policy, classifier=options.classifier, seed=options.seed or 0, device=options.device)
    responder = Responder.load(options.checkpoint, policy, seed=options.seed, device=options.device)

    def work(places: Sequence[Place]) -> list[dict[str, Any]]:
        asked = [
            TurnAsked(name, turns[:number], turns[number] if number < len(turns) else None)
            for name, turns, number in places
        ]
        found = responder.respond(asked, options.batch_size)
        return [
            {
                "id": turn.key,
                "response": response.response,
                "strategy": response.strategy,
                "probabilities": _rounded(response.probabilities),
            }
            for turn, response in zip(asked, found, strict=True)
        ]

    checkpoints = [options.checkpoint, *([options.classifier] if options.classifier else [])]
    same = [options.policy, options.turns, options.seed]
    _stream(file, responder.scheme.categories, work, output, options.turns, checkpoints, same, "written", _WINDOW)
    _note_cuts(responder.cut, responder.format)
    print(output)
    return 0


def score_dialogues(
    file: Path, checkpoint: str, output: str, *, batch_size: int, device: Literal["auto", "cpu", "cuda"]
) -> int:
    """Writes what a classifier finds: a row for each supporter turn with `id`, `strategy` and `probabilities`.

    Args:
        file: The dialogues.
        checkpoint: The classifier's run or checkpoint.
        output: A `.jsonl` file.
        batch_size: Turns in a forward pass.
        device: Where to compute.

    Returns:
        The exit status.

    Raises:
        UserError: The file, the checkpoint or the output can't be used.
    """
    target = _checked_output(output, batch_size)
    from inference.strategist import Strategist

    strategist = Strategist.load(checkpoint, device)

    def work(places: Sequence[Place]) -> list[dict[str, Any]]:
        found = strategist.turns([(turns, number) for _, turns, number in places], batch_size)
        return [
            {"id": name, "strategy": score.strategy, "probabilities": score.probabilities}
            for (name, _, _), score in zip(places, found, strict=True)
        ]

    _stream(file, strategist.scheme.categories, work, target, "all", [checkpoint], [batch_size], "scored", 512)
    _note_cuts(strategist.cut, strategist.format)
    print(target)
    return 0


def _note_cuts(cut: int, row_format: ClassifierFormat | ResponderFormat) -> None:
    if cut:
        window = f"{row_format.max_tokens} tokens" + (f", {row_format.max_turns} turns" if row_format.max_turns else "")
        print(f"note: {cut} contexts are longer than the window ({window}); the last turns were read", file=sys.stderr)


def _stream(
    file: Path,
    categories: Any,
    work: Any,
    output: Path,
    which: Literal["all", "next"],
    checkpoints: Sequence[str],
    options: Sequence[Any],
    verb: str,
    window: int,
) -> None:
    """Checks the file as a whole, then works on it as a stream."""
    from inference.streaming import file_digest, write_stream
    from lightning_modules.checkpoints import find_checkpoint

    report = SourceReport(str(file), "")
    total = sum(1 for dialogue in iterate_file(file, categories, report) for _ in supporter_turns(dialogue, which))
    left_out = {
        "empty dialogues": report.dropped.get("empty_dialogue", 0),
        "empty turns": report.counts.get("empty_turns", 0),
    }
    if any(left_out.values()):
        found = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        print(f"note: left out: {found}", file=sys.stderr)
    dialogues = iterate_file(file, categories, SourceReport(str(file), ""))
    try:
        write_stream(
            (place for dialogue in dialogues for place in supporter_turns(dialogue, which)),
            work,
            output,
            total=total,
            window=window,
            same={
                "file": file_digest(file),
                "checkpoints": [file_digest(find_checkpoint(checkpoint)) for checkpoint in checkpoints],
                "options": list(options),
            },
            verb=verb,
        )
    except OSError as error:
        raise UserError(f"--output {output}: {error.strerror or error}; what is there so far is kept") from None


def _checked_output(name: str, batch_size: int) -> Path:
    output = Path(name)
    if output.suffix != ".jsonl":
        raise UserError(f"--output {output}: name a .jsonl file")
    if output.is_dir() or not output.parent.is_dir():
        raise UserError(f"--output {output}: name a file in a folder that exists")
    if batch_size < 1:
        raise UserError(f"--batch_size {batch_size}: at least 1")
    return output


def _rounded(probabilities: dict[str, float] | None) -> dict[str, float] | None:
    return {label: round(value, 6) for label, value in probabilities.items()} if probabilities is not None else None
