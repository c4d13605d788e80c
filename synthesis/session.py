"""The calls of one dialogue: prompts filled in, answers parsed, unusable ones asked for again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from datamodules.records import Pair
from errors import UserError
from microbatches import Batcher
from synthesis.calls import Answer, Caller
from synthesis.engines import Engine, Reply, Request, Role, Sampling, Usage
from synthesis.parsing import ParseError, Turn
from synthesis.prompts import Prompts
from synthesis.scoring import Scorer, checked_levels
from synthesis.targets import Cell

__all__ = ["Crew", "Session"]

T = TypeVar("T")


@dataclass
class Crew:
    """What all dialogues of a run share.

    Args:
        caller: The door to the engines.
        prompts: The templates.
        writer: Engine of the actor and of the reflections.
        judge: Engine of the evaluator, the labels and the rationales.
        scorer: The trained evaluator, where there is one.
        judged_by_llm: Whether the language model evaluates.
        writing: How the writer draws.
        judging: How the judge draws.
        exchanges: Exchanges of a dialogue.
        repeats: How often an answer that can't be used is asked for again.
        seed: Of the run.
    """

    caller: Caller
    prompts: Prompts
    writer: Engine
    judge: Engine
    scorer: ScorerEngine | None
    judged_by_llm: bool
    writing: Sampling
    judging: Sampling
    exchanges: int
    repeats: int
    seed: int

    @property
    def evaluates(self) -> bool:
        """Whether anything does."""
        return self.judged_by_llm or self.scorer is not None


@dataclass
class Session:
    """One dialogue in the making.

    Args:
        crew: Who takes part.
        cell: What is asked for.
        dialogue: Its id.
        scenario: What it is about.
        examples: Real pairs that the actor is shown, as text.
        sources: Sources of those pairs; all calls of the dialogue count as holding them, since the actor may copy.
    """

    crew: Crew
    cell: Cell
    dialogue: str
    scenario: Mapping[str, str]
    examples: str = ""
    sources: frozenset[str] = frozenset()

    async def ask(self, role: Role, trial: int, values: Mapping[str, str], parse: Callable[[Answer], T]) -> T:
        """Asks until the answer can be used.

        Args:
            role: Whose template and engine.
            trial: Number of the trial.
            values: Placeholder -> text.
            parse: Reads an answer.

        Raises:
            ParseError: Why the last answer could not be used.
        """
        crew = self.crew
        writes = role in ("actor", "reflection")
        engine, sampling = (crew.writer, crew.writing) if writes else (crew.judge, crew.judging)
        messages = crew.prompts.messages(role, self.cell, values)
        complaint = ""
        for repeat in range(1 + crew.repeats):
            step = f"{trial}.{role}.{repeat}"
            last = {"role": "user", "content": messages[-1]["content"] + complaint}
            request = Request([*messages[:-1], last], sampling, self._seed(step), role, self._target(), self.sources)
            template = crew.prompts.template_hash(role, self.cell)
            answer = await crew.caller.call(engine, request, dialogue=self.dialogue, step=step, prompt_hash=template)
            try:
                return parse(_usable(answer))
            except ParseError as error:
                problem = error
                complaint = f"\n\nAn earlier answer could not be used: {error}. Keep to the form that is asked for."
        raise problem

    async def score(self, turns: Sequence[Turn], trial: int) -> list[dict[str, int]]:
        """The trained model's levels, a mapping a response."""
        assert self.crew.scorer is not None
        texts = [turn.text for turn in turns]
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
        message = {"role": "user", "content": json.dumps(pairs, ensure_ascii=False)}
        request = Request([message], Sampling(max_tokens=1), 0, "scorer", self._target(), self.sources)
        step = f"{trial}.scorer.0"
        answer = await self.crew.caller.call(
            self.crew.scorer, request, dialogue=self.dialogue, step=step, prompt_hash=""
        )
        levels: list[dict[str, int]] = json.loads(answer.text)
        return levels

    def _seed(self, step: str) -> int:
        digest = hashlib.sha256(f"{self.crew.seed}:{self.dialogue}:{step}".encode()).digest()
        return int.from_bytes(digest[:4]) >> 1

    def _target(self) -> dict[str, Any]:
        strategies = {"strategies": self.crew.prompts.strategies} if self.cell.strategy else {}
        return {"problem": self.scenario["problem"], **self.cell.target, "exchanges": self.crew.exchanges, **strategies}


def _usable(answer: Answer) -> Answer:
    if answer.rejected:
        raise ParseError(f"the engine rejected the request ({answer.rejected})", refused=True)
    if answer.finish == "refusal":
        raise ParseError("the model declined", refused=True)
    return answer


class ScorerEngine(Engine):
    """A trained model as an engine: its verdicts are logged and never computed twice, and cost nothing.

    Args:
        scorer: The model.
        batch_size: Dialogues scored together.
    """

    def __init__(self, scorer: Scorer, batch_size: int = 16) -> None:
        self.scorer = scorer
        self.name = f"{type(scorer).__module__}.{type(scorer).__qualname__}"
        self.concurrency = 2 * batch_size
        self._batches: Batcher[list[Pair], list[dict[str, int]]] = Batcher(self._score, batch_size, wait=0.005)

    def identity(self) -> dict[str, Any]:
        """See `Engine.identity`."""
        return {"engine": "scorer", "model": self.name, "revision": ""}

    def outside(self) -> list[str]:
        """Nothing leaves this process."""
        return []

    async def complete(self, request: Request) -> Reply:
        """See `Engine.complete`."""
        texts = json.loads(request.messages[0]["content"])
        pairs = [Pair(str(place), "synthetic", seeker, response) for place, (seeker, response) in enumerate(texts)]
        levels = await self._batches.submit(pairs)
        if any(request.target["mechanism"] not in row for row in levels):
            raise UserError(
                f"scorer: {self.name} gives no level of {request.target['mechanism']}; use a model that does"
            )
        return Reply(json.dumps(levels), Usage())

    async def close(self) -> None:
        """See `Engine.close`."""
        self._batches.close()

    def _score(self, dialogues: Sequence[list[Pair]]) -> list[list[dict[str, int]]]:
        pairs = [pair for dialogue in dialogues for pair in dialogue]
        levels = iter(checked_levels(list(self.scorer.score(pairs)), len(pairs)))
        return [[next(levels) for _ in dialogue] for dialogue in dialogues]
