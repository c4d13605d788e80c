"""Runs the points of a grid in this process, sharing what they share, until none is left.

Any number of processes, on any number of machines, may run the same grid into the same folder: each takes points that
nobody has (`experiments.claims`) and writes down what became of them (`experiments.ledger`).
"""

from __future__ import annotations

import contextlib
import gc
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from datamodules.files import replacing
from errors import STORAGE, UserError
from experiments.claims import Claim, Claims
from experiments.grid import Point, Series
from experiments.ledger import Ledger, State
from experiments.results import tested_on, write_results
from sharing import sharing

__all__ = ["Runner", "duration"]

_POLL = 2.0


class Runner:
    """A grid and its folder.

    Args:
        grid: What to run.
        output: The folder.
        retry_failed: Whether points that failed in an earlier start are run again.
        wait: Whether to wait for points that other processes have, and take over those of processes that died.
        say: Told of progress, a line at a time.
    """

    def __init__(
        self,
        grid: Series,
        output: Path,
        *,
        retry_failed: bool = False,
        wait: bool = True,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.grid = grid
        self.points = grid.points()
        self.output = output
        self.runs = output / "runs"
        self.wait = wait
        self.say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        output.mkdir(parents=True, exist_ok=True)
        self.claims = Claims(output / "claims")
        self.ledger = Ledger(output, self.claims)
        state = self.ledger.read(self.points)
        self.ledger.check(grid.names())
        self.again = state.lost(self.runs)
        if self.again:
            self.say(f"done, but {self.runs} doesn't hold them any more; run again: {', '.join(self.again)}")
        if retry_failed:
            self.again |= state.failed
        self._describe(tested="")

    def state(self) -> State:
        """What is done and what has failed; what is to be run again is neither."""
        state = self.ledger.read(self.points)
        state.done = {name: event for name, event in state.done.items() if self.again.get(name) != event}
        state.failed = {name: event for name, event in state.failed.items() if self.again.get(name) != event}
        return state

    def run(self) -> State:
        """Runs what nobody else has; the state at the end."""
        try:
            with sharing():
                self._run_missing()
        except KeyboardInterrupt:
            self.say("interrupted; the same command goes on with what is missing")
            raise
        with contextlib.suppress(OSError):  # others may be at work in it
            (self.output / "unfinished").rmdir()
        self.write_results()
        return self.state()

    def _run_missing(self) -> None:
        began, at_first = time.monotonic(), len(self._missing())
        while missing := self._missing():
            point, claim = self._take(missing)
            if point is None or claim is None:
                if not self.wait:
                    break
                time.sleep(_POLL)
                continue
            try:
                with self.claims.held(claim):
                    written = self._run(point, claim)
            finally:
                self.claims.release(claim)
            if written:
                self._tell(point, (time.monotonic() - began) / max(1, at_first - len(self._missing())))
            else:
                self.say(f"{point.name} was taken over by another process while this one showed no life; left to it")

    def _missing(self) -> list[Point]:
        state = self.state()
        return [point for point in self.points if point.name not in state.done and point.name not in state.failed]

    def _take(self, missing: list[Point]) -> tuple[Point, Claim] | tuple[None, None]:
        for point in missing:
            claim = self.claims.take(point.name)
            if claim is None:
                continue
            if point in self._missing():  # it may have been finished between the look and the claim
                return point, claim
            self.claims.release(claim)
        return None, None

    def _run(self, point: Point, claim: Claim) -> bool:
        """One point, in a clean folder that gets its name when all is in it; whether its end was written down."""
        place = self.output / "unfinished" / claim.file.name
        for generation in range(1, claim.generation + 1):  # what owners left that were killed
            shutil.rmtree(place.with_name(f"{point.name}.{generation}"), ignore_errors=True)
        place.mkdir(parents=True)
        began = time.monotonic()
        try:
            with (place / "log.txt").open("w", encoding="utf-8") as log:
                with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                    run_in_process(point, place)
                self._finish(point, place)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in STORAGE:
                raise  # every other point would fail too
            seconds = round(time.monotonic() - began, 3)
            said = {"error": _said(error, point), "at": _where(error)}
            written = self.ledger.add("failed", point, claim, seconds=seconds, **said)
            shutil.rmtree(place, ignore_errors=True)
        else:
            written = self.ledger.add("done", point, claim, seconds=round(time.monotonic() - began, 3))
            self.write_results()
        finally:
            _forget()
        return written

    def _finish(self, point: Point, place: Path) -> None:
        made, final = place / point.name, self.runs / point.name
        if not (made / "metrics.json").is_file():
            raise UserError("the run has no test rows, so there is nothing to compare; give --data.split.test")
        config = made / "config.yaml"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace(f"runs: {place}\n", f"runs: {self.runs}\n"), encoding="utf-8")
        (place / "log.txt").rename(made / "log.txt")
        self.runs.mkdir(exist_ok=True)
        shutil.rmtree(final, ignore_errors=True)  # of a process that was killed before it could say so
        made.rename(final)
        place.rmdir()
        self._describe(tested=tested_on(final))

    def write_results(self) -> None:
        """Writes `results.csv`; again, where another process has finished a point meanwhile.

        Raises:
            UserError: Another process has finished points here that this series doesn't have.
        """
        self.ledger.check(self.grid.names())
        written: list[str] | None = None
        while True:
            done = self.state().done
            if written == sorted(done):
                return
            written = sorted(done)
            points = [point for point in self.points if point.name in done]
            seconds = {name: event["seconds"] for name, event in done.items()}
            write_results(self.output / "results.csv", self.grid.protocol, points, seconds, self.runs)

    def _describe(self, tested: str) -> None:
        """`experiment.yaml`: the grid as it is run, and which source is tested, as soon as that is known."""
        file = self.output / "experiment.yaml"
        if not tested and file.is_file():
            tested = str((yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("tested_on") or "")
        content = {**self.grid.to_dict(), "tested_on": tested or None}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            with replacing(file) as output:
                output.write(text)

    def _tell(self, point: Point, seconds: float) -> None:
        state = self.state()
        left = len(self.points) - len(state.done) - len(state.failed)
        what = f"failed: {state.failed[point.name]['error']}" if point.name in state.failed else "done"
        self.say(
            f"{point.name} {what}; {len(state.done)} of {len(self.points)} points done, {len(state.failed)} failed, "
            f"about {duration(seconds * left)} left"
        )


def run_in_process(point: Point, runs: Path) -> None:
    """The very `fit` that the point stands for; its folder is `runs / point.name`."""
    from training.command import main

    try:
        status = main(["fit", *point.flags(), "--runs", str(runs), "--run_name", point.name])
    except SystemExit as leaving:
        if isinstance(leaving.__context__, KeyboardInterrupt):  # Lightning's answer to Ctrl+C
            raise leaving.__context__ from None
        raise
    assert status == 0


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _said(error: Exception, point: Point) -> str:
    """What is written down; an unforeseen message may quote a row, so it is left out where rows are clinical."""
    if isinstance(error, UserError):
        return str(error)
    message = "" if _reads_clinical(point) else f": {error}"
    return (type(error).__name__ + message).split("\n", 1)[0]


def _reads_clinical(point: Point) -> bool:
    """Whether its options or its configs may name clinical tables."""
    if any(name.endswith(".clinical") and value is not None for name, value in point.options.items()):
        return True
    texts = (Path(file).read_text(encoding="utf-8") for file in point.configs)
    return any(re.search(r"\bclinical['\"]?\s*:", text) for text in texts)


def _where(error: Exception) -> list[str]:
    """The places of an unexpected error in the code, without values."""
    if isinstance(error, UserError):
        return []
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-6:]]


def _forget() -> None:
    """Frees what a run leaves behind in cycles, so that memory doesn't grow from point to point."""
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
