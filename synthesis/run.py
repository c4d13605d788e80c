"""A run: dialogues made side by side until the quotas are met, the budget is spent or something stops it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import platform
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from errors import UserError
from synthesis.calls import Caller, Stopped
from synthesis.card import Report, write_card
from synthesis.engines import Engine, Sampling
from synthesis.examples import ExampleOptions, Examples, load_examples
from synthesis.limits import Budget, Retry
from synthesis.prompts import Prompts, combinations, load_prompts, scenarios, show_examples
from synthesis.reflexion import MethodOptions, make_dialogue
from synthesis.rows import generator_name, to_rows
from synthesis.scoring import load_scorer
from synthesis.session import Crew, ScorerEngine, Session
from synthesis.store import ROWS, Store
from synthesis.targets import Cell, Plan, Targets

__all__ = ["Settings", "synthesize"]

_ROWS_EVERY = 10.0
"""Seconds between two writings of rows.jsonl, at least."""


@dataclass
class Settings:
    """Everything that a run is made of.

    Args:
        engine: Writes the dialogues and the reflections.
        prompts: The prompts file.
        targets: What is to be made.
        evaluator: Who judges and labels the dialogues: `llm` (the judge with the prompts file's rubric), `model` (the
            scorer), `both` (they must agree), or `none` (standalone only; rows are labelled as they were asked for).
        judge: Engine of the evaluator (null: `engine`).
        scorer: The trained evaluator: class_path and init_args of something with `score(pairs)`.
        method: How dialogues are made.
        examples: Real pairs in the actor's prompt.
        writing: How the writer draws its tokens.
        judging: How the judge does.
        repeats: How often an answer that can't be used is asked for again.
        retry: When a call that failed is sent again.
        budget: What the output folder may cost.
        seed: Of scenarios and calls.
    """

    engine: Engine
    prompts: str
    targets: Targets = field(default_factory=Targets)
    evaluator: Literal["llm", "model", "both", "none"] = "llm"
    judge: Engine | None = None
    scorer: dict[str, Any] | None = None
    method: MethodOptions = field(default_factory=MethodOptions)
    examples: ExampleOptions | None = None
    writing: Sampling = field(default_factory=lambda: Sampling(1.0, 0.95, 600))
    judging: Sampling = field(default_factory=lambda: Sampling(0.0, 1.0, 300))
    repeats: int = 2
    retry: Retry = field(default_factory=Retry)
    budget: Budget = field(default_factory=Budget)
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks what goes together."""
        problems = []
        if self.evaluator == "none" and "reflexion" in self.targets.methods:
            problems.append("evaluator none and the method reflexion: reflexion needs one; choose llm, model or both")
        if (self.evaluator in ("model", "both")) != (self.scorer is not None):
            problems.append(f"evaluator {self.evaluator} and scorer: give a scorer with model and both, and only then")
        if self.targets.kind == "strategy" and self.evaluator in ("model", "both"):
            problems.append("evaluator: a trained empathy model sees no strategies; choose llm or none")
        if self.targets.kind == "strategy" and self.method.rationales:
            problems.append("method.rationales: rationales belong to levels, and targets.kind is strategy")
        if self.method.max_trials < 1 or self.method.memory < 0 or self.repeats < 0:
            problems.append("method.max_trials is 1 or more, method.memory and repeats 0 or more")
        if problems:
            raise UserError("\n".join(problems))


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
        examples.check(list(plan.wanted))
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
        runner = _Runner(settings, crew, plan, examples, store)
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
        "examples": examples.hash if examples else None,
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


class _Runner:
    """Keeps as many dialogues going as the engines take."""

    def __init__(self, settings: Settings, crew: Crew, plan: Plan, examples: Examples | None, store: Store) -> None:
        self.settings, self.crew, self.plan, self.examples, self.store = settings, crew, plan, examples, store
        self.postponed = 0
        self._scenarios: dict[Cell, tuple[list[dict[str, str]], Iterator[dict[str, str]]]] = {}
        self._rows_written = time.monotonic()
        self._rows_took = 0.0
        self._error: UserError | None = None

    async def run(self) -> None:
        """Works through the plan."""
        self._restore()
        at_once = sum(engine.concurrency for engine in {self.crew.writer, self.crew.judge})
        running: set[asyncio.Task[None]] = set()
        with self._progress() as bar, self._signals():
            while True:
                while len(running) < at_once and not self.crew.caller.stop_reason and (item := self.plan.next()):
                    if self.store.accepted(self._id(*item)) is not None:
                        self._count(item[0], self._id(*item))
                        continue
                    running.add(asyncio.create_task(self._make(*item)))
                if not running:
                    break
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                self._show(bar)
                if time.monotonic() - self._rows_written > max(_ROWS_EVERY, 20 * self._rows_took):
                    self._write_rows()
        self._finish()

    def report(self) -> Report:
        """What there is now."""
        plan, caller = self.plan, self.crew.caller
        stopped = caller.stop_reason or (
            f"{self.postponed} unanswered, left for another start" if self.postponed else ""
        )
        return Report(
            wanted={cell.name: n for cell, n in plan.wanted.items()},
            accepted={cell.name: n for cell, n in plan.accepted.items()},
            failed={cell.name: n for cell, n in plan.failed.items()},
            stopped=stopped,
            tokens=self.store.totals["tokens"],
            cost=self.store.cost,
            repaired=self.store.repaired,
        )

    async def _make(self, cell: Cell, index: int) -> None:
        dialogue = self._id(cell, index)
        scenario = self._scenario(cell, index)
        pairs = self.examples.draw(cell, dialogue, self.settings.seed) if self.examples else []
        sources = frozenset(str(pair.source) for pair in pairs)
        session = Session(self.crew, cell, dialogue, scenario, show_examples(pairs), sources)
        try:
            outcome = await make_dialogue(session, self.settings.method)
            rows = []
            if outcome.accepted:
                generator = generator_name(self.settings.engine.name, cell.method)
                rows = to_rows(outcome, cell, dialogue, generator, scenario["problem"], sources)
            self.store.append(
                {
                    "kind": "dialogue",
                    "dialogue": dialogue,
                    "cell": cell.name,
                    "method": cell.method,
                    "target": cell.target,
                    "scenario": scenario,
                    "accepted": outcome.accepted,
                    "stop_reason": outcome.stop_reason,
                    "trials": outcome.trials,
                    "notes": outcome.notes,
                    "rows": rows,
                }
            )
            self._count(cell, dialogue)
        except Stopped:
            self.postponed += 1
        except UserError as error:
            self._error = self._error or error
            self.crew.caller.stop(str(error))

    def _restore(self) -> None:
        """Counts what earlier runs finished."""
        for cell in self.plan.wanted:
            while self.store.accepted(dialogue := self._id(cell, self.plan.begun[cell])) is not None:
                self.plan.begun[cell] += 1
                self._count(cell, dialogue)

    def _count(self, cell: Cell, dialogue: str) -> None:
        self.plan.done(cell, accepted=bool(self.store.accepted(dialogue)))

    def _id(self, cell: Cell, index: int) -> str:
        return cell.dialogue(self.settings.seed, index)

    def _scenario(self, cell: Cell, index: int) -> dict[str, str]:
        drawn, more = self._scenarios.setdefault(cell, ([], scenarios(self.crew.prompts, cell, self.settings.seed)))
        while len(drawn) <= index:
            drawn.append(next(more))
        return drawn[index]

    def _write_rows(self) -> None:
        start = time.monotonic()
        self.store.write_rows(self._id(cell, index) for cell, n in self.plan.begun.items() for index in range(n))
        self._rows_written = time.monotonic()
        self._rows_took = self._rows_written - start

    def _finish(self) -> None:
        """Brings rows and card up to date, whatever ended the run."""
        try:
            self._write_rows()
            write_card(self.store.folder, self.report())
        except UserError as error:
            self._error = self._error or error
        if self._error:
            raise self._error

    def _progress(self) -> Any:
        from tqdm import tqdm

        patience = 0.1 if sys.stderr.isatty() else 30.0
        total, done = sum(self.plan.wanted.values()), sum(self.plan.accepted.values())
        return tqdm(total=total, initial=done, unit="dialogue", desc=ROWS, mininterval=patience)

    def _show(self, bar: Any) -> None:
        report = self.report()
        bar.n = sum(report.accepted.values())
        failed, waiting = sum(report.failed.values()), f", waiting {self.postponed}" if self.postponed else ""
        bar.set_postfix_str(
            f"failed {failed}{waiting}, tokens {report.tokens:,}, cost {report.cost:.2f}", refresh=False
        )
        bar.update(0)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM lets the calls in flight finish; the second ends the process as always."""
        loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

        def stop() -> None:
            self.crew.caller.stop("stopped by a signal")
            for number in signals:
                loop.remove_signal_handler(number)

        try:
            for number in signals:
                loop.add_signal_handler(number, stop)
        except (ValueError, RuntimeError):  # not in the main thread
            yield
            return
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
