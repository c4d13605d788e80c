"""What the endpoints take and give; the descriptions stand in the OpenAPI page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "MOST_PAIRS",
    "MOST_TURNS",
    "Failure",
    "Pair",
    "RespondAnswer",
    "RespondRequest",
    "Score",
    "ScoreAnswer",
    "ScoreRequest",
    "SpokenTurn",
]

MOST_PAIRS = 64
MOST_TURNS = 200
_LONGEST = 10_000

Text = Annotated[str, Field(max_length=_LONGEST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Pair(_Strict):
    """A seeker post and a response to it."""

    seeker_post: Text = Field(description="What the person in need wrote; may be empty.")
    response_post: Text = Field(description="The reply, which is scored.")


class ScoreRequest(_Strict):
    """Pairs to score."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "pairs": [
                        {
                            "seeker_post": "My sister moved away and the evenings are so quiet now.",
                            "response_post": "I am sorry, that sounds lonely. What do you miss most?",
                        }
                    ]
                }
            ]
        }
    )
    pairs: list[Pair] = Field(min_length=1, max_length=MOST_PAIRS, description="Scored together, answered in order.")


class Score(BaseModel):
    """What the empathy model says of a pair, for each mechanism that it knows."""

    levels: dict[str, int] = Field(description="Mechanism to level: 0 none, 1 weak, 2 strong.")
    probabilities: dict[str, list[float]] = Field(description="Mechanism to the probabilities of the three levels.")
    rationales: dict[str, list[tuple[int, int]]] = Field(
        description="Mechanism to spans of the response in characters (code points), end exclusive, whatever the level."
    )


class ScoreAnswer(BaseModel):
    """A score a pair, in the order of the pairs."""

    scores: list[Score]


class SpokenTurn(_Strict):
    """What one speaker said at once."""

    speaker: Literal["seeker", "supporter"]
    text: Text = Field(min_length=1)


class RespondRequest(_Strict):
    """A dialogue whose next supporter's turn is asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"turns": [{"speaker": "seeker", "text": "I failed my exam and feel like a fool."}]}]
        }
    )
    turns: list[SpokenTurn] = Field(
        max_length=MOST_TURNS, description="What was said so far, oldest first; may be empty."
    )
    policy: str | None = Field(
        None,
        max_length=40,
        description="Where the strategy comes from: classifier, model, random, none ...; null: the best there is.",
    )
    strategy: str | None = Field(None, max_length=100, description="Overrides the policy's choice.")
    seed: int = Field(0, ge=0, lt=2**31, description="Another seed, another draw of strategy and words.")


class RespondAnswer(BaseModel):
    """What the responder says next."""

    response: str
    strategy: str | None = Field(description="What it was to use; null: none.")
    probabilities: dict[str, float] | None = Field(description="Strategy to probability, where the policy has any.")
    policy: str = Field(description="Where the strategy came from; `override` where the request named it.")


class Failure(BaseModel):
    """Why a request was not answered."""

    detail: str
