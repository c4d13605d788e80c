"""An engine without a model, for tests and demonstrations: plays every role from lists of sentences, failures included.

Its dialogues show the level that its sentences stand for, its evaluator reads that level back, and every answer
depends on the request alone, so a run with it is the same each time. The texts are not meant to be good.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from datamodules.records import LEVELS, MECHANISMS
from errors import UserError
from synthesis.engines import BusyError, Engine, Reply, Request, Usage, estimate_tokens
from synthesis.prompts import short_hash

__all__ = ["ScriptedEngine"]

_SHOWS: Mapping[str, Sequence[Sequence[str]]] = {
    "emotional_reactions": (
        (),
        ("Everything will be fine.", "Hang in there.", "I hope it gets better.", "Wishing you well."),
        (
            "I am so sorry that you are going through this.",
            "It makes me sad to read how heavy this has been for you.",
            "I really feel for you, and I care about how you are.",
            "My heart goes out to you tonight.",
        ),
    ),
    "interpretations": (
        (),
        ("I understand how you feel.", "I know that feeling.", "I get what you mean.", "I have been there."),
        (
            "It sounds as if you are worn out from holding everything together alone.",
            "You must feel let down after all the effort you made.",
            "It seems that part of you is afraid this will never change.",
            "I would guess that you feel both guilty and angry about it.",
        ),
    ),
    "explorations": (
        (),
        ("What happened?", "Do you want to talk?", "How so?", "Can you say more?"),
        (
            "Are you feeling more alone with this since it began?",
            "What was going through your mind when it became too much?",
            "Does the worry follow you into the night as well?",
            "When did you first notice that it was weighing on you?",
        ),
    ),
}
"""Mechanism -> level -> sentences; the level of a response is the highest of the sentences in it."""

_PLAIN = (
    "There are groups that meet on most weekday evenings.",
    "A short walk at noon is a start.",
    "The first appointment usually takes an hour.",
    "Writing a list for tomorrow takes five minutes.",
    "The office is open until six.",
    "Drinking less coffee after lunch is one thing to try.",
)
_SINCE = ("For weeks", "Since the spring", "Ever since we moved", "For about a year", "Since last Monday", "These days")
_WHAT = ("everything is too much", "I can hardly sleep", "nothing feels right", "I keep to myself", "I cry at nothing")
_WHY = ("It is about", "It all comes from", "The reason is", "What started it was", "I keep thinking of")
_END = (
    "I don't know what to do.",
    "Nobody knows about it.",
    "I am tired of it.",
    "I wish someone would listen.",
    "Help.",
)

_TIME_OUTS, _RATE_LIMITS, _REFUSED, _MALFORMED = range(4)


class ScriptedEngine(Engine):
    """See the module.

    Args:
        name: Names the generator in rows.
        hits: Share of dialogues written at the level that was asked for; the others miss it.
        malformed: Share of answers that can't be parsed.
        refusals: Share of answers that decline.
        time_outs: Share of requests whose first try times out.
        rate_limits: Share of requests whose first try is turned away.
        delay: Seconds that an answer takes.
        concurrency: Calls at the same time.
        price: Money for a million tokens, read or written.
    """

    def __init__(
        self,
        name: str = "scripted",
        hits: float = 0.7,
        malformed: float = 0.03,
        refusals: float = 0.01,
        time_outs: float = 0.01,
        rate_limits: float = 0.01,
        delay: float = 0.0,
        concurrency: int = 16,
        price: float = 0.0,
    ) -> None:
        self.failures = (time_outs, rate_limits, refusals, malformed)
        if not 0 <= hits <= 1 or min(self.failures) < 0 or sum(self.failures) > 1 or delay < 0 or concurrency < 1:
            raise UserError("engine: shares lie between 0 and 1 (all failures together, too), concurrency is 1 or more")
        self.name, self.hits, self.delay, self.concurrency, self.prices = name, hits, delay, concurrency, (price, price)
        self.tries: Counter[str] = Counter()

    def identity(self) -> dict[str, Any]:
        """See `Engine.identity`."""
        return {"engine": "scripted", "model": self.name, "revision": short_hash([self.hits, *self.failures])}

    def outside(self) -> list[str]:
        """Nothing leaves this process."""
        return []

    async def complete(self, request: Request) -> Reply:
        """See `Engine.complete`."""
        await asyncio.sleep(self.delay)
        key = short_hash([list(request.messages), request.seed, request.role])
        dice = random.Random(key)
        (trouble,) = dice.choices([*range(4), None], [*self.failures, 1 - sum(self.failures)])
        self.tries[key] += 1
        if trouble in (_TIME_OUTS, _RATE_LIMITS) and self.tries[key] == 1:
            raise BusyError("scripted time-out" if trouble == _TIME_OUTS else "scripted rate limit", retry_after=0.001)
        text = self._play(request, dice)
        if trouble == _REFUSED:
            text = "I'm sorry, but I can't help with that."
        elif trouble == _MALFORMED:
            text = dice.choice(["", text[: len(text) // 2].replace("\n", " "), "Here you are!", "{" + text])
        return Reply(text, Usage(estimate_tokens(request.messages), 1 + len(text) // 4), model=self.name)

    def _play(self, request: Request, dice: random.Random) -> str:
        asked = dict(request.target)
        if request.role == "actor":
            return _in_some_form(self._dialogue(asked, dice), dice)
        if request.role == "responder":
            thought = f"Someone should listen first.\n{asked['marker']} " if asked.get("marker") else ""
            said = [_strategy_sentence(asked["strategy"])] if asked.get("strategy") else []
            return thought + " ".join([*said, dice.choice(_PLAIN)])
        if request.role == "judge":
            return _verdict(*asked["replies"])
        responses = _responses(request.messages[-1]["content"])
        seen = [{mechanism: _level(response, mechanism) for mechanism in MECHANISMS} for response in responses]
        if request.role == "reflection":
            return "The answer missed the level. Say less of what was not asked for and more of what was."
        if request.role == "labels":
            return json.dumps({mechanism: [levels[mechanism] for levels in seen] for mechanism in MECHANISMS})
        if request.role == "rationales":
            return json.dumps(
                {mechanism: [_quotes(response, mechanism) for response in responses] for mechanism in MECHANISMS}
            )
        if "strategy" in asked:
            named = [_strategy_of(response, asked["strategies"]) for response in responses]
            return json.dumps({"strategies": named, "reason": "The turns say so."})
        levels = [levels[asked["mechanism"]] for levels in seen]
        return json.dumps({"levels": levels, "reason": f"Its sentences stand for level {max(levels, default=0)}."})

    def _dialogue(self, asked: dict[str, Any], dice: random.Random) -> list[dict[str, str]]:
        turns = []
        hit = dice.random() < self.hits
        for exchange in range(asked["exchanges"]):
            begins = f"{dice.choice(_SINCE)} {dice.choice(_WHAT)}. {dice.choice(_WHY)} {asked['problem']}."
            turns.append({"speaker": "seeker", "text": f"{begins} {dice.choice(_END)}"})
            last = exchange == asked["exchanges"] - 1
            if "strategy" in asked:
                strategy = asked["strategy"] if last and hit else dice.choice(asked["strategies"])
                text = f"{_strategy_sentence(strategy)} {dice.choice(_PLAIN)}"
                turns.append({"speaker": "supporter", "text": text, "strategy": strategy})
            else:
                level = asked["level"] if hit else dice.choice([level for level in LEVELS if level != asked["level"]])
                turns.append({"speaker": "supporter", "text": _response(asked["mechanism"], level, dice)})
        return turns


def _response(mechanism: str, level: int, dice: random.Random) -> str:
    """Sentences of the level asked for, of some level of the other mechanisms, and a plain one."""
    levels = {other: dice.choice(LEVELS) for other in MECHANISMS} | {mechanism: level}
    said = [dice.choice(_SHOWS[name][level]) for name, level in levels.items() if level]
    dice.shuffle(said)
    return " ".join([*said, dice.choice(_PLAIN)])


def _in_some_form(turns: Sequence[dict[str, str]], dice: random.Random) -> str:
    """A dialogue in one of the forms that models answer in."""
    body = json.dumps({"turns": turns}, indent=1)
    people = {"seeker": "Person 1", "supporter": "Person 2"}
    lines = [
        f"{people[turn['speaker']]}{' (' + turn['strategy'] + ')' if 'strategy' in turn else ''}: {turn['text']}"
        for turn in turns
    ]
    trailing = body.replace('"\n  }', '",\n  }')
    return dice.choice([body, f"Sure, here it is:\n```json\n{trailing}\n```\nTell me if it fits.", "\n\n".join(lines)])


def _verdict(one: str, other: str) -> str:
    """Prefers the reply with more words."""
    words = [len(one.split()), len(other.split())]
    better = 0 if words[0] == words[1] else 1 + words.index(max(words))
    return f"The replies have {words[0]} and {words[1]} words.\nVerdict: {better}"


def _responses(text: str) -> list[str]:
    """The responses in a prompt, as `evaluators.show_dialogue` writes them."""
    return re.findall(r"^Response \d+: (.*?)(?=^Seeker: |^Response \d+: |\Z)", text, re.DOTALL | re.MULTILINE)


def _level(response: str, mechanism: str) -> int:
    return max((level for level in LEVELS if any(said in response for said in _SHOWS[mechanism][level])), default=0)


def _quotes(response: str, mechanism: str) -> list[str]:
    return [said for level in LEVELS for said in _SHOWS[mechanism][level] if said in response]


def _strategy_sentence(strategy: str) -> str:
    return f"This is what I would call {strategy.lower()}."


def _strategy_of(response: str, strategies: Sequence[str]) -> str:
    return next((name for name in strategies if _strategy_sentence(name) in response), strategies[-1])
