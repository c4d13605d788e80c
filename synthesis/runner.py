"""Dialogues made side by side until the quotas are met, the budget is spent or something stops the run."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from errors import UserError
from synthesis.calls import Stopped
from synthesis.card import Report, write_card
from synthesis.examples import Examples
from synthesis.prompts import scenarios, show_examples
from synthesis.reflexion import make_dialogue
from synthesis.rows import generator_name, to_rows
from synthesis.session import Crew, Session
from synthesis.settings import Settings
from synthesis.store import HELD, ROWS, Store
from synthesis.targets import Cell, Plan

__all__ = ["Runner"]

ROWS_EVERY = 10.0
"""Seconds between two writings of the rows, at least."""


class Runner:
    """Keeps as many dialogues going as the engines take."""

    def __init__(self, settings: Settings, crew: Crew, plan: Plan, examples: Examples | None, store: Store) -> None:
        self.settings, self.crew, self.plan, self.examples, self.store = settings, crew, plan, examples, store
        self.file = HELD if examples and examples.options.source == "clinical" else ROWS
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
                if time.monotonic() - self._rows_written > max(ROWS_EVERY, 20 * self._rows_took):
                    self._write_rows()
        self._finish()

    def report(self) -> Report:
        """What there is now."""
        plan, caller = self.plan, self.crew.caller
        stopped = caller.stop_reason or (
            f"{self.postponed} unanswered, left for another start" if self.postponed else ""
        )
        return Report(
            file=self.file,
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
        dialogues = (self._id(cell, index) for cell, n in self.plan.begun.items() for index in range(n))
        self.store.write_rows(self.file, dialogues)
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
        return tqdm(total=total, initial=done, unit="dialogue", desc=self.file, mininterval=patience)

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
