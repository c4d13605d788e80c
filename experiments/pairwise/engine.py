"""An engine of `synthesis` as a judge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from experiments.pairwise.judge import Judge, Message
from inference.engines import load_engine

__all__ = ["load_judge"]


def load_judge(config: Path, name: str | None, sources: frozenset[str]) -> Judge:
    """Builds the judge that a config names; a request that its engine rejects counts as an answer without a verdict.

    Args:
        config: YAML with `engine` (`class_path`, `init_args`) and, if wanted, `sampling`.
        name: What to call it; null: the engine's name.
        sources: Sources of the contexts; an engine elsewhere refuses clinical ones.

    Raises:
        UserError: The config can't be used, or the engine refuses.
    """
    asked = load_engine(config, temperature=0.0, max_tokens=1000)
    engine = asked.engine
    engine.check_sources(sources)

    async def complete(messages: Sequence[Message]) -> str:
        answer = await engine.ask(messages, asked.sampling, role="evaluator", sources=sources)
        return answer.text if answer else ""

    plain = re.sub(r"[^\w-]+", "-", name or engine.name).strip("-")[:40]
    return Judge(plain, complete, asked.identity(), engine.concurrency, engine.close)
