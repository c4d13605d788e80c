"""`python cli.py respond`: what a supporter could say next, for every dialogue of a file; streamed and resumable.

The strategies of the same turns by a classifier, `score_dialogues`, are `cli.py score` for a file of dialogues.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datamodules.dialogues import Dialogue, Turn
from datamodules.records import SOURCES
from datamodules.sources.report import SourceReport
from errors import UserError
from inference.dialogue_files import iterate_file
from lightning_modules.choices import POLICIES, PolicyName

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
        usage="python cli.py respond FILE (--checkpoint RUN | --engine CONFIG) --output FILE [options]",
        description="Write a supporter's turns for the dialogues of a file.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="dialogues: rows with turns (JSON Lines, Parquet), or ESConv's JSON")
    parser.add_argument("--output", required=True, help="where to write: .jsonl")
    parser.add_argument("--turns", choices=("all", "next"), default="all", help="each supporter turn, or what is next")
    parser.add_argument("--classifier", help="a classifier's run, where it chooses the strategy")
    parser.add_argument("--seed", type=int, help="seed of all draws (default: the run's; of an engine 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    own = parser.add_argument_group("a trained responder")
    own.add_argument("--checkpoint", help="its run folder or checkpoint file")
    own.add_argument("--policy", choices=POLICIES, help="where the strategy comes from (default: none)")
    own.add_argument("--batch_size", type=int, default=16, help="turns written together; changes no response")
    large = parser.add_argument_group("a large model that is prompted")
    large.add_argument("--engine", metavar="CONFIG", help="YAML: engine (class_path, init_args), sampling")
    large.add_argument("--prompting", choices=("plain", "cot", "strategy"), help="study B's condition")
    large.add_argument("--prompts", metavar="YAML", help="your own prompts (default: configs/prompting/PROMPTING.yaml)")
    large.add_argument("--tries", type=int, default=3, help="answers asked for until one holds a response (default: 3)")
    large.add_argument(
        "--source", choices=SOURCES, default="clinical", help="what the rows are; clinical ones stay on this machine"
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    """What doesn't go together, all at once."""
    problems = []
    if (options.checkpoint is None) == (options.engine is None):
        problems.append("name either a trained responder (--checkpoint) or an engine (--engine)")
    elif options.engine is None:
        problems += [f"--{name} goes with --engine" for name in ("prompting", "prompts") if getattr(options, name)]
    else:
        problems += ["--policy goes with --checkpoint"] if options.policy else []
        if options.prompting is None:
            problems.append("--engine needs --prompting plain, cot or strategy")
        elif (options.prompting == "strategy") != bool(options.classifier):
            needs = "name its run with --classifier" if not options.classifier else "leave --classifier out"
            problems.append(
                f"--prompting {options.prompting} {'uses no' if options.classifier else 'needs a'} classifier: {needs}"
            )
    if options.tries < 1:
        problems.append(f"--tries {options.tries}: at least 1")
    if problems:
        raise UserError("; ".join(problems))


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments.

    Returns:
        The exit status.

    Raises:
        UserError: The file, a checkpoint, the engine or the output can't be used.
    """
    options = _parser().parse_args(argv)
    _check(options)
    file, output = Path(options.file), _checked_output(options.output, options.batch_size)
    if options.engine:
        return _prompt(file, output, options)
    from inference.policies import build_policy
    from inference.responder import Responder, TurnAsked

    name: PolicyName = options.policy or "none"
    policy = build_policy(name, classifier=options.classifier, seed=options.seed or 0, device=options.device)
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
    same = [name, options.turns, options.seed]
    _stream(file, responder.scheme.categories, work, output, options.turns, checkpoints, same, "written", _WINDOW)
    _note_cuts(responder.cut, responder.format)
    print(output)
    return 0


def _prompt(file: Path, output: Path, options: argparse.Namespace) -> int:
    """Prompts a large model."""
    from datamodules.strategies import load_scheme
    from inference.engines import load_engine
    from inference.prompting import PromptedTurn, Prompter, beside, prompt_turns
    from inference.prompts import load_prompting
    from inference.strategist import Strategist

    strategist = Strategist.load_next(options.classifier, options.device) if options.classifier else None
    labels = strategist.network.spec.labels if strategist else []
    prompts = load_prompting(options.prompting, options.prompts and Path(options.prompts), labels)
    categories = (strategist.scheme if strategist else load_scheme()).categories
    total = _count(file, categories, options.turns)
    prompter = Prompter(load_engine(Path(options.engine)), prompts, options.seed or 0, options.tries)

    def places() -> Iterator[PromptedTurn]:
        dialogues = iterate_file(file, categories, SourceReport(str(file), ""), options.source)
        stream = (
            PromptedTurn(name, turns[:number], dialogue.source)
            for dialogue in dialogues
            for name, turns, number in supporter_turns(dialogue, options.turns)
        )
        while window := list(islice(stream, 32)):
            if strategist is None:
                yield from window
                continue
            for turn, choice in zip(window, strategist.next_turns([turn.turns for turn in window]), strict=True):
                yield turn._replace(strategy=choice.strategy, probabilities=_rounded(choice.probabilities))

    prompt_turns(places(), prompter, output, _progress(total))
    print(
        f"note: {prompter.paid} answers asked for; prompts {prompts.name} {prompts.hash}; every answer is in "
        f"{beside(output, 'answers')}",
        file=sys.stderr,
    )
    if prompter.failed:
        where = beside(output, "failed")
        print(
            f"note: {len(prompter.failed)} of {total} turns got no response and have no row: {where}", file=sys.stderr
        )
    print(output)
    return 0


def _progress(total: int) -> Callable[[int], None]:
    """Prints a line every few seconds."""
    began = shown = time.monotonic()

    def line(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done == total or now - shown > 5:
            shown, rate = now, done / max(1e-9, now - began)
            left = (total - done) / rate
            print(f"written {done} of {total} turns, {rate:.1f} turns/s, about {left:.0f} s left", file=sys.stderr)

    return line


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

    total = _count(file, categories, which)
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


def _count(file: Path, categories: Any, which: Literal["all", "next"]) -> int:
    """Reads the whole file once: its turns, a note of what is left out, or all that is wrong with it."""
    report = SourceReport(str(file), "")
    total = sum(1 for dialogue in iterate_file(file, categories, report) for _ in supporter_turns(dialogue, which))
    left_out = {
        "empty dialogues": report.dropped.get("empty_dialogue", 0),
        "empty turns": report.counts.get("empty_turns", 0),
    }
    if any(left_out.values()):
        found = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        print(f"note: left out: {found}", file=sys.stderr)
    return total


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
