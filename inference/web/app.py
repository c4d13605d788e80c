"""The web application: `/`, `/score`, `/respond`, and an OpenAPI page that loads nothing from elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from callbacks.rationale_page import MARKUP, marks
from datamodules.dialogues import Turn
from datamodules.records import LEVEL_NAMES, MECHANISMS
from inference.web.guard import Guard
from inference.web.memory import giving_back
from inference.web.models import Failure, RespondAnswer, RespondRequest, Score, ScoreAnswer, ScoreRequest
from inference.web.talking import Talk, Talker
from microbatches import Batcher

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import BaseModel
    from starlette.responses import Response

    from inference.responder import Response as Written
    from inference.scorer import EmpathyScore, EmpathyScorer

__all__ = ["build_app"]

_PARTS = Path(__file__).parent
_FULL = 1024
"""Pairs that wait at most; beyond, requests are turned away."""
_FULL_TALKS = 64

_ABOUT = """\
Levels of empathy, rationales and responses by trained models. A research instrument: its answers are estimates, it
judges no person, and it is no help in a crisis."""


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

    ends = contextlib.ExitStack()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with ends:
            yield

    app = FastAPI(
        title="attune", description=_ABOUT, version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
        responses={code: {"model": Failure, "description": said} for code, said in _FAILURES.items()},
        telemetry={"tracing": False, "metrics": False, "logs": False},  # else errors, which quote, may leave by it
    )  # fmt: skip
    app.add_middleware(Guard)
    keep = _Store(store)
    ends.callback(keep.close)
    _tell_failures(app)
    ends.callback(_add_score(app, scorer, keep).close)
    if talker is not None:
        ends.callback(_add_respond(app, talker, keep).close)
    else:
        _add_no_respond(app)
    _add_parts(app, _parts(scorer, talker, store))
    return app


def _add_score(app: FastAPI, scorer: EmpathyScorer, keep: _Store) -> Batcher[tuple[str, str], EmpathyScore]:
    """Adds `/score` and returns what works for it."""
    pairs: Batcher[tuple[str, str], EmpathyScore] = Batcher(
        giving_back(lambda batch: scorer.score(list(batch), 32)), 64, 0.004
    )

    @app.post("/score", response_model=ScoreAnswer, summary="Levels, probabilities and rationales of pairs")
    async def score(request: ScoreRequest) -> Any:
        if pairs.waiting + len(request.pairs) > _FULL:
            return _refused(503, "too many pairs wait; try again in a second")
        found = await asyncio.gather(*(pairs.submit((pair.seeker_post, pair.response_post)) for pair in request.pairs))
        answer = ScoreAnswer(scores=[Score.model_validate(vars(one)) for one in found])
        keep("score", request, answer)
        return answer

    return pairs


def _add_respond(app: FastAPI, talker: Talker, keep: _Store) -> Batcher[Talk, Written]:
    """Adds `/respond` and returns what works for it."""
    talks: Batcher[Talk, Written] = Batcher(giving_back(talker.respond), 16, 0.004)

    @app.post("/respond", response_model=RespondAnswer, summary="What a supporter could say next")
    async def respond(request: RespondRequest) -> Any:
        wanted = request.policy or talker.default
        policy = next((name for name in talker.policies if name == wanted), None)
        if policy is None:
            return _refused(422, f"policy: not served here; there are {', '.join(talker.policies)}")
        if request.strategy is not None and request.strategy not in talker.labels:
            known = ", ".join(talker.labels) or "none: the responder was trained without tags"
            return _refused(422, f"strategy: unknown to this responder; it knows {known}")
        if talks.waiting >= _FULL_TALKS:
            return _refused(503, "too many turns wait; try again in a second")
        turns = [Turn(turn.speaker, turn.text, place=place) for place, turn in enumerate(request.turns)]
        found = await talks.submit(Talk(turns, policy, request.strategy, request.seed))
        answer = RespondAnswer(**vars(found), policy="override" if request.strategy else policy)
        keep("respond", request, answer)
        return answer

    return talks


def _add_no_respond(app: FastAPI) -> None:
    """Says at `/respond` how to get one."""

    @app.post("/respond", include_in_schema=False, response_model=None)
    async def respond() -> Response:
        return _refused(404, "no responder is served here; start the server with --responder RUN")


def _add_parts(app: FastAPI, parts: dict[str, tuple[str, str]]) -> None:
    """Adds everything that is read; see `_parts`."""
    from fastapi.responses import HTMLResponse
    from fastapi.responses import Response as Part

    @app.api_route("/{name:path}", methods=["GET", "HEAD"], include_in_schema=False, response_model=None)
    async def part(name: str) -> Response:
        if name in ("score", "respond"):
            return _refused(405, f"send JSON to /{name} with POST; /docs describes it", allow="POST")
        if name not in parts:
            return _refused(404, "there is no such page; / is the page, /docs describes the endpoints")
        kind, text = parts[name]
        return HTMLResponse(text) if kind == "html" else Part(text, media_type=kind)


def _tell_failures(app: FastAPI) -> None:
    """Answers requests that can't be read, or that the server fails at, with a `detail` that quotes nothing."""
    from fastapi.exceptions import RequestValidationError

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Any, error: RequestValidationError) -> Response:
        return _refused(422, "; ".join(map(_problem, error.errors()[:5])))

    @app.exception_handler(400)
    async def unread(_: Any, error: Exception) -> Response:
        return _refused(422, "the body is not JSON in UTF-8, or is nested too deep")

    @app.exception_handler(Exception)
    async def failed(_: Any, error: Exception) -> Response:
        return _refused(500, _FAILURES[500])


def _refused(status: int, detail: str, **headers: str) -> Response:
    from fastapi.responses import JSONResponse

    return JSONResponse({"detail": detail}, status, {"retry-after": "1"} if status == 503 else headers)


_FAILURES = {
    403: "The request comes from another site, or by another name than this machine's own.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "A field is missing, unknown, or out of its bounds; the text says which.",
    500: "The server failed; its standard error says why.",
    503: "Too much is waiting.",
}


def _problem(error: Any) -> str:
    """A validation error without the value, which may be someone's words."""
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error['ctx']['error']} at character {error['loc'][-1] + 1}"
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

    def __call__(self, what: str, request: BaseModel, answer: BaseModel) -> None:
        """Appends a line.

        Args:
            what: The endpoint's name.
            request: What was asked; its fields stand in the line.
            answer: What was answered.
        """
        if self._file:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            entry = {"at": at, "what": what, **request.model_dump(), "answer": answer.model_dump()}
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file:
            with contextlib.suppress(OSError):  # what can't be written was told to whoever asked
                self._file.close()
