"""An engine of `synthesis` as a judge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from errors import UserError
from experiments.pairwise.judge import Judge, Message
from synthesis.engines import BusyError, Engine, RejectedError, Request, Sampling
from synthesis.limits import Retry

__all__ = ["engine_judge", "load_judge"]

_SAMPLING = Sampling(temperature=0.0, max_tokens=1000)


def load_judge(config: Path, name: str | None, sources: frozenset[str]) -> Judge:
    """Builds the judge that a config names.

    Args:
        config: YAML with `engine` (`class_path`, `init_args`) and, if wanted, `sampling`.
        name: What to call it; null: the engine's name.
        sources: Sources of the contexts; an engine elsewhere refuses clinical ones.

    Raises:
        UserError: The config can't be used, or the engine refuses.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Engine, "engine", required=True)
    parser.add_argument("--sampling", type=Sampling, default=_SAMPLING)
    try:
        built = parser.instantiate(parser.parse_path(config))
    except (ArgumentError, TypeError, OSError) as error:
        raise UserError(f"{config}: no engine can be made of it: {error}") from None
    return engine_judge(built.engine, built.sampling, name, sources)


def engine_judge(engine: Engine, sampling: Sampling, name: str | None, sources: frozenset[str]) -> Judge:
    """The engine as a judge; a request that it rejects counts as an answer without a verdict.

    Raises:
        UserError: The engine is elsewhere and the sources must not leave this machine.
    """
    engine.check_sources(sources)
    retry = Retry()

    async def complete(messages: Sequence[Message]) -> str:
        tries = 0
        while True:
            tries += 1
            try:
                request = Request(messages, sampling, 0, "evaluator", sources=sources)
                return (await engine.complete(request)).text
            except RejectedError:
                return ""
            except BusyError as error:
                if tries > retry.times:
                    raise UserError(
                        f"the engine doesn't answer: {error}. What it judged is kept; the same command goes on"
                    ) from None
                await asyncio.sleep(retry.pause(tries, error.retry_after))

    identity = {**engine.identity(), "sampling": asdict(sampling)}
    plain = re.sub(r"[^\w-]+", "-", name or engine.name).strip("-")[:40]
    return Judge(plain, complete, identity, engine.concurrency, engine.close)
