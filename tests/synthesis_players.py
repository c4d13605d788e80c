"""Engines for tests: real ones, whose answers the test writes."""

import json
from collections import Counter

from synthesis.engines import Engine, Reply, Usage

PROMPTS = "configs/synthesis/prompts/empathy.yaml"
OTHERS = {"emotional_reactions": [1], "interpretations": [0], "explorations": [2]}


def dialogue(response, seeker="I feel low."):
    return json.dumps({"seeker_post": seeker, "response_post": response})


def levels(*values, reason="because"):
    return json.dumps({"levels": list(values), "reason": reason})


class Player(Engine):
    """Answers by role from lists, in turn; the last answer of a list is given for ever. Exceptions are raised."""

    concurrency = 4

    def __init__(self, name="player", prices=(0.0, 0.0), away=(), **answers):
        self.name, self.prices, self.away = name, prices, list(away)
        self.answers = {"labels": [json.dumps(OTHERS)], **answers}
        self.asked = []
        self.count = Counter()

    def identity(self):
        return {"engine": "player", "model": self.name, "revision": "r1"}

    def outside(self):
        return self.away

    async def complete(self, request):
        self.check_sources(request.sources)
        self.asked.append(request)
        answers = self.answers[request.role]
        place = self.count[request.role]
        self.count[request.role] += 1
        answer = answers[min(place, len(answers) - 1)]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else Reply(answer, Usage(100, 10), model=self.name)

    def said(self, role):
        return [request.messages[-1]["content"] for request in self.asked if request.role == role]


class Judge:
    """A trained model: the level of every mechanism is the number of exclamation marks."""

    def __init__(self, most=2):
        self.most = most

    @classmethod
    def load(cls, most):
        return cls(most)

    def score(self, pairs):
        level = [min(pair.response_post.count("!"), self.most) for pair in pairs]
        return [{"levels": dict.fromkeys(OTHERS, n), "probabilities": {}} for n in level]


class Lame:
    """A trained model of one mechanism alone."""

    def score(self, pairs):
        return [{"levels": {"interpretations": 0}} for _ in pairs]


class Wrong:
    """Something that scores, but not with levels."""

    def score(self, pairs):
        return [{"levels": {"explorations": 7}} for _ in pairs]
