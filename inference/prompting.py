"""Prompting a large model for supporters' turns: many at a time, none paid for twice."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.dialogues import Turn
from datamodules.files import replacing
from inference.answer_log import AnswerLog, seed_of
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

    async def rows(self, turns: Iterator[PromptedTurn], log: AnswerLog) -> AsyncIterator[dict[str, Any] | None]:
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

    async def _respond(self, turn: PromptedTurn, gate: asyncio.Semaphore, log: AnswerLog) -> tuple[str, str]:
        """The response, or what is wrong with the last answer."""
        found = "", ""
        async with gate:
            for attempt in range(self.tries):
                answer = await self._answer(turn, attempt, log)
                found = self.prompting.read(answer)
                if answer is None or not found[1]:
                    break
        return found

    async def _answer(self, turn: PromptedTurn, attempt: int, log: AnswerLog) -> Answer | None:
        """An answer, from the log where it is there."""
        prompting = self.prompting
        return await log.ask(
            self.asked,
            prompting.messages(turn.turns, turn.strategy),
            seed_of(self.seed, turn.id, attempt),
            {
                "id": turn.id,
                "attempt": attempt,
                "prompting": prompting.name,
                "prompts": prompting.hash,
                "strategy": turn.strategy,
            },
            role="responder",
            target={"prompting": prompting.name, "marker": prompting.marker, "strategy": turn.strategy},
            sources=frozenset({turn.source}),
        )


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
        log, done = AnswerLog(beside(output, "answers")), 0
        try:
            with replacing(output) as file:
                async for row in prompter.rows(turns, log):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n" if row else "")
                    done += 1
                    progress(done)
        finally:
            prompter.paid = log.paid
            log.close()
            await prompter.asked.engine.close()

    asyncio.run(write())
    failed = beside(output, "failed")
    if prompter.failed:
        with replacing(failed) as file:
            file.writelines(json.dumps(entry) + "\n" for entry in prompter.failed)
    else:
        failed.unlink(missing_ok=True)
