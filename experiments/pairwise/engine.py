"""An engine of `synthesis` as a judge."""

from __future__ import annotations

import re
from pathlib import Path

from experiments.pairwise.judge import Judge
from inference.engines import load_engine

__all__ = ["load_judge"]


def load_judge(config: Path, name: str | None, sources: frozenset[str], tries: int = 3) -> Judge:
    """Builds the judge that a config names.

    Args:
        config: YAML with `engine` (`class_path`, `init_args`) and, if wanted, `sampling`.
        name: What to call it; null: the engine's name.
        sources: Sources of the contexts; an engine elsewhere refuses clinical ones.
        tries: See `Judge`.

    Raises:
        UserError: The config can't be used, or the engine refuses.
    """
    asked = load_engine(config, temperature=0.0, max_tokens=1000)
    asked.engine.check_sources(sources)
    plain = re.sub(r"[^\w-]+", "-", name or asked.engine.name).strip("-")[:40]
    return Judge(plain, asked, tries)
