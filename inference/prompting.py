"""Prompting a large model for supporters' turns: many at a time, none paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.dialogues import Turn
from datamodules.files import replacing
from errors import UserError
from inference.engines import Answer, Asked
from inference.prompts import Prompting

__all__ = ["PromptedTurn", "Prompter", "beside", "prompt_turns"]


class PromptedTurn(NamedTuple):
    """A supporter's turn to ask for.

    Args:
        id: Its name; fixes the seeds of its answers.
        turns: What was said before it.
        source: Where the dialogue comes from.
        strategy: What the response is to do; None: the model's choice.
        probabilities: Label -> probability, where a classifier chose.
    """

    id: str
    turns: Sequence[Turn]
    source: str
    strategy: str | None = None
    probabilities: dict[str, float] | None = None


def beside(output: Path, what: str) -> Path:
    """The file of `answers` or of what `failed` that stands beside an output."""
    return output.with_name(f"{output.stem}.{what}.jsonl")


@dataclass(frozen=True)
class _Kept:
    """An answer from the log."""

    text: str
    finish: str
    model: str
    revision: str
    usage: None = None


class _Log:
    """Every answer ever paid for, a JSON line each, found by what was asked; a half last line is dropped."""

    def __init__(self, path: Path) -> None:
        self._answers: dict[str, _Kept | None] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                fields = (entry[name] for name in ("answer", "finish", "model", "revision"))
                self._answers[entry["request"]] = None if entry["rejected"] else _Kept(*fields)
            except (ValueError, TypeError, KeyError):
                raise UserError(f"{path} is no log of answers; name another --output, or move that file") from None
            whole += len(line)
        self._file.truncate(whole)

    def __contains__(self, request: str) -> bool:
        return request in self._answers

    def __getitem__(self, request: str) -> _Kept | None:
        return self._answers[request]

    def add(self, entry: dict[str, Any], answer: Answer | None) -> None:
        """Appends an answer.

        Args:
            entry: What was asked: `request` and what else the log is to say of it.
            answer: What came; None: the request was rejected.
        """
        said = {"answer": "", "finish": "rejected", "model": "", "revision": ""}
        if answer:
            said = {"answer": answer.text, **{name: getattr(answer, name) for name in ("finish", "model", "revision")}}
            entry |= {name: getattr(answer.usage, name) for name in ("prompt_tokens", "completion_tokens")}
        self._file.write(json.dumps({**entry, "rejected": answer is None, **said}, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@dataclass
class Prompter:
    """Asks an engine for responses.

    Args:
        asked: The engine.
        prompting: The prompts.
        seed: Fixes all draws, for engines that take seeds.
        tries: Answers asked for at most until one holds a response.
    """

    asked: Asked
    prompting: Prompting
    seed: int = 0
    tries: int = 3
    paid: int = field(default=0, init=False)
    """Answers asked for."""
    failed: list[dict[str, str]] = field(default_factory=list, init=False)
    """Turns without a response: `id`, and `problem` of the last answer."""

    async def rows(self, turns: Iterator[PromptedTurn], log: _Log) -> AsyncIterator[dict[str, Any] | None]:
        """Asks for turns, many at a time.

        Args:
            turns: What is asked for.
            log: The answers so far; takes the new ones.

        Yields:
            The row of each turn, in order; None for one without a response, which `failed` then names.
        """
        gate = asyncio.Semaphore(self.asked.engine.concurrency)
        waiting: deque[tuple[PromptedTurn, asyncio.Task[tuple[str, str]]]] = deque()

        async def next_row() -> dict[str, Any] | None:
            """The row of the turn that was asked for first."""
            turn, task = waiting[0]
            response, problem = await task
            waiting.popleft()
            if problem:
                self.failed.append({"id": turn.id, "problem": problem})
                return None
            given = {"strategy": turn.strategy, "probabilities": turn.probabilities}
            return {"id": turn.id, "response": response, **given}

        try:
            for turn in turns:
                waiting.append((turn, asyncio.ensure_future(self._respond(turn, gate, log))))
                if len(waiting) > 2 * self.asked.engine.concurrency:
                    yield await next_row()
            while waiting:
                yield await next_row()
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    async def _respond(self, turn: PromptedTurn, gate: asyncio.Semaphore, log: _Log) -> tuple[str, str]:
        """The response, or what is wrong with the last answer."""
        found = "", ""
        async with gate:
            for attempt in range(self.tries):
                answer = await self._answer(turn, attempt, log)
                found = self.prompting.read(answer)
                if answer is None or not found[1]:
                    break
        return found

    async def _answer(self, turn: PromptedTurn, attempt: int, log: _Log) -> Answer | None:
        """An answer, from the log where it is there."""
        messages = self.prompting.messages(turn.turns, turn.strategy)
        seed = int(_digest([self.seed, turn.id, attempt])[:7], 16)
        request = _digest([self.asked.identity(), messages, seed])
        if request in log:
            return log[request]
        prompting = self.prompting
        target = {"prompting": prompting.name, "marker": prompting.marker, "strategy": turn.strategy}
        answer = await self.asked.engine.ask(
            messages, self.asked.sampling, seed, role="responder", target=target, sources=frozenset({turn.source})
        )
        self.paid += 1
        entry = {
            "id": turn.id,
            "attempt": attempt,
            "prompting": prompting.name,
            "prompts": prompting.hash,
            "seed": seed,
        }
        log.add({**entry, "strategy": turn.strategy, **self.asked.identity(), "request": request}, answer)
        return answer


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def prompt_turns(
    turns: Iterator[PromptedTurn],
    prompter: Prompter,
    output: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Asks for every turn and writes the rows of `respond`, in order.

    Every answer is kept in `<output>.answers.jsonl` as it comes, with its thinking and its tokens, and taken from there
    by a call that goes on after an interruption, or is made again. `<output>.failed.jsonl` names the turns without a
    response.

    Args:
        turns: What is asked for, streamed.
        prompter: Who asks.
        output: A `.jsonl` file; replaced when all is there.
        progress: Gets the number of turns done.

    Raises:
        UserError: The engine refuses or doesn't answer, or the log can't be used.
    """

    async def write() -> None:
        """Asks and writes; lets go of log and engine, whatever happens."""
        log, done = _Log(beside(output, "answers")), 0
        try:
            with replacing(output) as file:
                async for row in prompter.rows(turns, log):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n" if row else "")
                    done += 1
                    progress(done)
        finally:
            log.close()
            await prompter.asked.engine.close()

    asyncio.run(write())
    failed = beside(output, "failed")
    if prompter.failed:
        with replacing(failed) as file:
            file.writelines(json.dumps(entry) + "\n" for entry in prompter.failed)
    else:
        failed.unlink(missing_ok=True)
