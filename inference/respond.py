"""`python cli.py respond`: what a supporter could say next, for every dialogue of a file; streamed and resumable."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from datamodules.records import SOURCES
from datamodules.sources.report import SourceReport
from errors import UserError
from inference.dialogue_files import iterate_file
from inference.streaming import checked_output
from inference.turn_stream import SupporterTurn, count_turns, note_cuts, stream_turns, supporter_turns
from lightning_modules.choices import POLICIES, PolicyName

__all__ = ["main"]

_WINDOW = 64
"""Turns that are read, sorted by length and written together; an interrupted run goes on at a multiple of it."""
_TRAINED = {"policy": "none", "batch_size": 16}
_PROMPTED = {"prompting": None, "prompts": None, "tries": 3, "source": "clinical"}
"""Options that go with a trained responder alone, or with a prompted model alone, and their defaults."""


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
    own.add_argument("--batch_size", type=int, help="turns written together (default: 16); changes no response")
    large = parser.add_argument_group("a large model that is prompted")
    large.add_argument("--engine", metavar="CONFIG", help="YAML: engine (class_path, init_args), sampling")
    large.add_argument("--prompting", choices=("plain", "cot", "strategy"), help="study B's condition")
    large.add_argument("--prompts", metavar="YAML", help="your own prompts (default: configs/prompting/PROMPTING.yaml)")
    large.add_argument("--tries", type=int, help="answers asked for until one holds a response (default: 3)")
    large.add_argument(
        "--source", choices=SOURCES, help="what the rows are (default: clinical, which stay on this machine)"
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    """Says all at once what doesn't go together, and fills in the defaults."""
    problems = []
    if (options.checkpoint is None) == (options.engine is None):
        problems.append("name either a trained responder (--checkpoint) or an engine (--engine)")
    else:
        others, way = (_PROMPTED, "--engine") if options.engine is None else (_TRAINED, "--checkpoint")
        problems += [f"--{name} goes with {way}" for name in others if getattr(options, name) is not None]
    if options.checkpoint is None and options.engine is not None:
        if options.prompting is None:
            problems.append("--engine needs --prompting plain, cot or strategy")
        elif (options.prompting == "strategy") != bool(options.classifier):
            needs = "name its run with --classifier" if not options.classifier else "leave --classifier out"
            problems.append(
                f"--prompting {options.prompting} {'uses no' if options.classifier else 'needs a'} classifier: {needs}"
            )
    if options.policy == "oracle" and options.turns == "next":
        problems.append("--policy oracle takes the strategy of the turn that came next; --turns next has none")
    for name in ("batch_size", "tries"):
        given = getattr(options, name)
        problems += [f"--{name} {given}: at least 1"] if given is not None and given < 1 else []
    if problems:
        raise UserError("; ".join(problems))
    for name, default in {**_TRAINED, **_PROMPTED}.items():
        if getattr(options, name) is None:
            setattr(options, name, default)


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
    file = Path(options.file)
    output = checked_output(options.output, file)
    if options.engine:
        _prompt(file, output, options)
    else:
        _respond(file, output, options)
    print(output)
    return 0


def _respond(file: Path, output: Path, options: argparse.Namespace) -> None:
    """Has a trained responder write."""
    from inference.policies import ClassifierPolicy, NoPolicy, build_policy
    from inference.responder import Responder, TurnAsked

    name: PolicyName = options.policy
    untagged = Responder.load(options.checkpoint, NoPolicy(), seed=options.seed, device=options.device)
    seed = untagged.decoding.seed
    policy = build_policy(name, classifier=options.classifier, seed=seed, device=options.device)
    responder = untagged.with_policy(policy)

    def work(window: Sequence[SupporterTurn]) -> list[dict[str, Any]]:
        asked = [
            TurnAsked(turn.id, turn.turns[: turn.number], next(iter(turn.turns[turn.number :]), None))
            for turn in window
        ]
        found = responder.respond(asked, options.batch_size)
        return [
            {
                "id": turn.id,
                "response": response.response,
                "strategy": response.strategy,
                "probabilities": _rounded(response.probabilities),
            }
            for turn, response in zip(window, found, strict=True)
        ]

    stream_turns(
        file,
        responder.scheme.categories,
        work,
        output,
        which=options.turns,
        window=_WINDOW,
        verb="written",
        checkpoints=[options.checkpoint, *([options.classifier] if options.classifier else [])],
        options=[name, options.turns, seed],
    )
    note_cuts(responder.cut, responder.format, "responder")
    if isinstance(policy, ClassifierPolicy) and policy.strategist is not None:
        note_cuts(policy.strategist.cut, policy.strategist.format, "classifier")


def _prompt(file: Path, output: Path, options: argparse.Namespace) -> None:
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
    total = count_turns(file, categories, options.turns)
    prompter = Prompter(load_engine(Path(options.engine)), prompts, options.seed or 0, options.tries)

    def asked() -> Iterator[PromptedTurn]:
        """The turns, with the classifier's strategies where there is one."""
        dialogues = iterate_file(file, categories, SourceReport(str(file), ""), options.source)
        stream = (
            PromptedTurn(turn.id, turn.turns[: turn.number], dialogue.source)
            for dialogue in dialogues
            for turn in supporter_turns(dialogue, options.turns)
        )
        if strategist is None:
            yield from stream
            return
        while window := list(islice(stream, 32)):
            for turn, choice in zip(window, strategist.next_turns([turn.turns for turn in window]), strict=True):
                yield turn._replace(strategy=choice.strategy, probabilities=_rounded(choice.probabilities))

    prompt_turns(asked(), prompter, output, _progress(total))
    if strategist is not None:
        note_cuts(strategist.cut, strategist.format, "classifier")
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


def _rounded(probabilities: dict[str, float] | None) -> dict[str, float] | None:
    return {label: round(value, 6) for label, value in probabilities.items()} if probabilities is not None else None
