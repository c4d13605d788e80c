"""A run from its settings to rows and card; what can be wrong with the settings is found before the first call."""

from __future__ import annotations

import asyncio
import datetime
import platform
from dataclasses import asdict
from pathlib import Path

from errors import UserError
from synthesis.calls import Caller
from synthesis.card import Report
from synthesis.examples import Examples, load_examples
from synthesis.prompts import Prompts, combinations, load_prompts
from synthesis.runner import Runner
from synthesis.scoring import load_scorer
from synthesis.session import Crew, ScorerEngine
from synthesis.settings import Settings
from synthesis.store import Store
from synthesis.targets import Plan

__all__ = ["synthesize"]


def synthesize(settings: Settings, output: Path) -> Report:
    """Makes dialogues into a folder, or goes on where an earlier run of the same settings ended.

    Args:
        settings: What and how.
        output: The folder of `attempts.jsonl`, `rows.jsonl` and `card.md`.

    Returns:
        What there is now.

    Raises:
        UserError: The settings don't fit together or to the folder, an engine refuses everything, or the disk is full.
    """
    return asyncio.run(_synthesize(settings, output))


async def _synthesize(settings: Settings, output: Path) -> Report:
    prompts, plan = _prepare(settings)
    examples = load_examples(settings.examples) if settings.examples else None
    judge = settings.judge or settings.engine
    if examples:
        examples.check([cell for cell, number in plan.wanted.items() if number])
        for engine in (settings.engine, judge):
            engine.check_sources(frozenset({examples.options.source}))
    scorer = ScorerEngine(load_scorer(settings.scorer)) if settings.scorer else None
    with Store(output) as store:
        _begin(store, settings, prompts, examples)
        settings.budget.spend(store.totals["tokens"], store.cost)
        crew = Crew(
            caller=Caller(store, settings.budget, settings.retry),
            prompts=prompts,
            writer=settings.engine,
            judge=judge,
            scorer=scorer,
            judged_by_llm=settings.evaluator in ("llm", "both"),
            writing=settings.writing,
            judging=settings.judging,
            exchanges=settings.targets.exchanges,
            repeats=settings.repeats,
            seed=settings.seed,
        )
        runner = Runner(settings, crew, plan, examples, store)
        try:
            await runner.run()
        finally:
            for engine in {id(e): e for e in (settings.engine, judge, scorer) if e}.values():
                await engine.close()
        return runner.report()


def _prepare(settings: Settings) -> tuple[Prompts, Plan]:
    """Everything that can be wrong with prompts and targets is found here, before the first call."""
    targets = settings.targets
    path = Path(settings.prompts).expanduser()
    needed = targets.cells([], []) if targets.kind == "empathy" else None
    prompts = load_prompts(path, targets.kind, needed)
    cells = targets.cells(prompts.strategies, prompts.variety["problem"])
    if unknown := sorted({str(cell.strategy) for cell in cells if cell.strategy} - set(prompts.strategies)):
        raise UserError(f"targets.strategies: {path} has no cell for {', '.join(unknown)}")
    plan = Plan(targets.wanted(cells), targets)
    for cell, limit in plan.limits.items():
        if limit > (there_are := combinations(prompts, cell)):
            raise UserError(
                f"{path}: cell {cell.name} may need {limit} different scenarios, the variety lists allow {there_are}: "
                "lengthen them, or lower the quota or targets.spare"
            )
    return prompts, plan


def _begin(store: Store, settings: Settings, prompts: Prompts, examples: Examples | None) -> None:
    """Logs a start, after making sure that it goes on with what the folder was begun with."""
    targets = asdict(settings.targets)
    asked = {key: targets.pop(key) for key in ("dialogues", "quotas", "spare")}
    fixed = {
        "seed": settings.seed,
        "targets": targets,
        "prompts": prompts.hash,
        "engine": settings.engine.identity(),
        "generator": settings.engine.name,
        "evaluator": settings.evaluator,
        "judge": settings.judge.identity() if settings.judge else None,
        "scorer": settings.scorer,
        "method": asdict(settings.method),
        "examples": examples.identity() if examples else None,
        "writing": asdict(settings.writing),
        "judging": asdict(settings.judging),
        "repeats": settings.repeats,
    }
    if store.header is not None and (before := store.header["fixed"]) != fixed:
        changed = [
            f"{key} was {before.get(key)!r}, is {fixed[key]!r}" for key in fixed if before.get(key) != fixed[key]
        ]
        raise UserError(
            f"{store.folder} was begun with other settings ({'; '.join(changed)}). Go on with those, or use another "
            "--output; dialogues, quotas, spare, budget and limits may change"
        )
    store.append(
        {
            "kind": "run",
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "fixed": fixed,
            "asked": asked,
            "prompts_path": prompts.path,
            "python": platform.python_version(),
        }
    )
