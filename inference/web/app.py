"""The web application: `/`, `/score`, `/respond`, and an OpenAPI page that loads nothing from elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, TypeVar

from callbacks.rationale_page import MARKUP, marks
from datamodules.dialogues import Turn
from datamodules.records import LEVEL_NAMES, MECHANISMS
from inference.web.guard import Guard
from inference.web.models import Failure, RespondAnswer, RespondRequest, Score, ScoreAnswer, ScoreRequest
from inference.web.talking import Talk, Talker
from microbatches import Batcher

if TYPE_CHECKING:
    from fastapi import FastAPI

    from inference.responder import Response
    from inference.scorer import EmpathyScore, EmpathyScorer

__all__ = ["build_app"]

_PARTS = Path(__file__).parent
_FULL = 1024
"""Pairs that wait at most; beyond, requests are turned away."""
_FULL_TALKS = 64

_ABOUT = """\
Levels of empathy, rationales and responses by trained models. A research instrument: its answers are estimates, it
judges no person, and it is no help in a crisis."""

_Out = TypeVar("_Out")


def build_app(scorer: EmpathyScorer, talker: Talker | None = None, store: Path | None = None) -> FastAPI:
    """The application.

    Args:
        scorer: The empathy model.
        talker: The responder; None: there is no `/respond`.
        store: Where requests and answers are kept, a JSON line each; None: nowhere.

    Returns:
        A FastAPI application that answers to this machine's own name alone.
    """
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse
    from fastapi.responses import Response as Part

    pairs: Batcher[tuple[str, str], EmpathyScore] = Batcher(lambda batch: scorer.score(list(batch), 32), 64, 0.004)
    talks: Batcher[Talk, Response] | None = Batcher(talker.respond, 16, 0.004) if talker else None
    keep = _Store(store)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pairs.close()
        if talks:
            talks.close()

    app = FastAPI(
        title="attune", description=_ABOUT, version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
        responses={code: {"model": Failure, "description": said} for code, said in _FAILURES.items()},
    )  # fmt: skip
    app.add_middleware(Guard)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Any, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": "; ".join(map(_problem, error.errors()[:5]))}, 422)

    def refused(status: int, detail: str) -> JSONResponse:
        return JSONResponse({"detail": detail}, status, {"retry-after": "1"} if status == 503 else None)

    @app.post("/score", response_model=ScoreAnswer, summary="Levels, probabilities and rationales of pairs")
    async def score(request: ScoreRequest) -> Any:
        if pairs.waiting + len(request.pairs) > _FULL:
            return refused(503, "too many pairs wait; try again in a second")
        asked = (pairs.submit((pair.seeker_post, pair.response_post)) for pair in request.pairs)
        found = await asyncio.gather(*asked)
        answer = ScoreAnswer(scores=[Score.model_validate(vars(one)) for one in found])
        keep("score", request.model_dump(), answer.model_dump())
        return answer

    if talker is not None and talks is not None:

        @app.post("/respond", response_model=RespondAnswer, summary="What a supporter could say next")
        async def respond(request: RespondRequest) -> Any:
            wanted = request.policy or talker.default
            policy = next((name for name in talker.policies if name == wanted), None)
            if policy is None:
                return refused(422, f"policy: not served here; there are {', '.join(talker.policies)}")
            if request.strategy is not None and request.strategy not in talker.labels:
                known = ", ".join(talker.labels) or "none: the responder was trained without tags"
                return refused(422, f"strategy: unknown to this responder; it knows {known}")
            if talks.waiting >= _FULL_TALKS:
                return refused(503, "too many turns wait; try again in a second")
            turns = [Turn(turn.speaker, turn.text, place=place) for place, turn in enumerate(request.turns)]
            found = await talks.submit(Talk(turns, policy, request.strategy, request.seed))
            answer = RespondAnswer(**vars(found), policy="override" if request.strategy else policy)
            keep("respond", request.model_dump(), answer.model_dump())
            return answer

    parts = _parts(scorer, talker, store)

    @app.get("/{name:path}", include_in_schema=False)
    async def part(name: str) -> Part:
        if name not in parts:
            return refused(404, "there is no such page; / is the page, /docs describes the endpoints")
        kind, text = parts[name]
        return HTMLResponse(text) if kind == "html" else Part(text, media_type=kind)

    return app


_FAILURES = {
    403: "The request comes from another site, or by another name than this machine's own.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "A field is missing, unknown, or out of its bounds; the text says which.",
    503: "Too much is waiting.",
}


def _problem(error: Any) -> str:
    """A validation error without the value, which may be someone's words."""
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{place or 'body'}: {error['msg']}"


def _parts(scorer: EmpathyScorer, talker: Talker | None, store: Path | None) -> dict[str, tuple[str, str]]:
    """Path -> kind and text of everything that is read."""
    data = {
        "mechanisms": MECHANISMS,
        "levels": LEVEL_NAMES,
        "known": scorer.mechanisms,
        "window": scorer.text_encoder.max_tokens,
        "policies": talker.policies if talker else [],
        "labels": talker.labels if talker else [],
        "store": str(store) if store else None,
    }
    page = Template(_part("page.html")).substitute(data=json.dumps(data).translate(MARKUP))
    script, style = "text/javascript", "text/css"
    return {
        "": ("html", page),
        "page.js": (script, marks("js") + _part("page.js")),
        "page.css": (style, marks("css") + _part("page.css")),
        "docs": ("html", _part("reference.html")),
        "reference.js": (script, _part("reference.js")),
        "reference.css": (style, marks("css") + _part("reference.css")),
    }


def _part(name: str) -> str:
    return _PARTS.joinpath(name).read_text(encoding="utf-8")


class _Store:
    """Keeps what was asked and answered, if wanted."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None

    def __call__(self, what: str, request: dict[str, Any], answer: dict[str, Any]) -> None:
        if self._file:
            entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "what": what, **request, "answer": answer}
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()
