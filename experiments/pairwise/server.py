"""The page on which people judge: served to this machine alone, from a study's folder without its key.

The page asks `/api/start` (a rater comes), `/api/view` (a task) and `/api/judge` (a choice). It names raters and places
in their order, and gets texts: neither tasks' ids nor systems ever reach it.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from errors import UserError
from experiments.pairwise.study import Choice, Judgement, Ratings, Study, other_side, rater_name
from inference.listening import HOST, listening

__all__ = ["RatingServer"]

_HOSTS = (HOST, "localhost")
_FOREIGN = "this page answers to 127.0.0.1 and localhost alone"
_LARGEST_BODY = 10_000
_LONGEST = 10**6
_PAGE = Path(__file__).with_name("page.html")


class RatingServer(ThreadingHTTPServer):
    """Serves one study on 127.0.0.1.

    Args:
        study: What is judged.
        port: Where; 0: any free one, see `url`.

    Raises:
        UserError: The port is taken, or there is none of that number.
    """

    daemon_threads = True

    def __init__(self, study: Study, port: int = 0) -> None:
        listener = listening(port)
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()
        self.study = study
        self.raters: dict[str, Ratings] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.server_port}/"

    def start(self, name: Any) -> dict[str, Any]:
        """A rater comes, new or again."""
        ratings = self.study.rater(rater_name(str(name)))
        ratings = self.raters.setdefault(ratings.rater, ratings)
        return {"rater": ratings.rater} | self.view(ratings.rater)

    def view(self, rater: Any, place: Any = None) -> dict[str, Any]:
        """A task as the rater sees it.

        Args:
            rater: A rater who has come.
            place: In the rater's order, from 0; null: the first that isn't judged.

        Returns:
            `place`, `total`, `judged`, `question`, and where `place` < `total`: `context`, `responses` (left, right),
            `choice` (1, 2, 0, or null).
        """
        ratings = self._ratings(rater)
        order = ratings.order(self.study.tasks.values())
        left_over = [index for index, (task, left) in enumerate(order) if (task.id, left) not in ratings.given]
        place = next(iter(left_over), len(order)) if place is None else place
        view = {
            "place": place,
            "total": len(order),
            "judged": len(order) - len(left_over),
            "question": self.study.question,
        }
        if place == len(order):
            return view
        task, left = order[_index(place, order)]
        right = other_side(left)
        given = ratings.given.get((task.id, left))
        buttons = {left: 1, right: 2, "tie": 0}
        return view | {
            "context": task.context,
            "responses": [getattr(task, left), getattr(task, right)],
            "choice": given and buttons[given.choice],
        }

    def judge(self, rater: Any, place: Any, choice: Any, seconds: Any) -> dict[str, Any]:
        """Keeps a choice, 1 (left), 2 (right) or 0 (tie), and returns the next view."""
        ratings = self._ratings(rater)
        order = ratings.order(self.study.tasks.values())
        task, left = order[_index(place, order)]
        choices: list[Choice] = ["tie", left, other_side(left)]
        if type(choice) is not int or choice not in (0, 1, 2):
            raise UserError("choice is 1, 2 or 0")
        if type(seconds) not in (int, float) or not 0 <= seconds < _LONGEST:
            raise UserError(f"seconds is a number from 0 to {_LONGEST}")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        ratings.add(Judgement(task.id, ratings.rater, choices[choice], left, round(seconds, 1), at))
        return self.view(rater)

    def _ratings(self, rater: Any) -> Ratings:
        if not isinstance(rater, str) or rater not in self.raters:
            raise UserError("no such rater has started; send the name to /api/start")
        return self.raters[rater]


def _index(place: Any, order: list[Any]) -> int:
    if type(place) is not int or not 0 <= place < len(order):
        raise UserError(f"place is a whole number from 0 to {len(order) - 1}")
    return place


class _Handler(BaseHTTPRequestHandler):
    server: RatingServer
    server_version, sys_version = "attune", ""
    timeout = 60

    def do_GET(self) -> None:
        """The page, or a task."""
        address = urlsplit(self.path)
        if not self._is_local():
            self._fail(HTTPStatus.FORBIDDEN, _FOREIGN)
        elif address.path == "/":
            nonce = secrets.token_urlsafe(16)
            page = _PAGE.read_text(encoding="utf-8").replace("NONCE", nonce)
            self._send(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8", nonce)
        elif address.path == "/api/view":
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            place = asked.get("place", "")
            number = int(place) if place.isdecimal() and len(place) < 10 else None
            self._answer(self.server.view, asked.get("rater"), number)
        else:
            self._fail(HTTPStatus.NOT_FOUND, "no such page")

    def do_HEAD(self) -> None:
        """What `do_GET` answers, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """A rater comes, or a choice."""
        fields = {"/api/start": ["rater"], "/api/judge": ["rater", "place", "choice", "seconds"]}.get(self.path)
        length = self.headers.get("Content-Length", "")
        if not self._is_local():
            self._fail(HTTPStatus.FORBIDDEN, _FOREIGN)
        elif fields is None:
            self._fail(HTTPStatus.NOT_FOUND, "no such page")
        elif self.headers.get_content_type() != "application/json":  # a foreign page can't send it without asking
            self._fail(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        elif not length.isdecimal() or int(length) > _LARGEST_BODY:
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {_LARGEST_BODY} bytes")
        else:
            try:
                body = json.loads(self.rfile.read(int(length)))
                values = [body[field] for field in fields]
            except (ValueError, TypeError, LookupError, RecursionError):
                self._fail(HTTPStatus.BAD_REQUEST, f"send a JSON object with {', '.join(fields)}")
            else:
                self._answer(self.server.start if len(fields) == 1 else self.server.judge, *values)

    def _is_local(self) -> bool:
        """Whether the browser asked for this machine by name: a foreign name that resolves to it may not read."""
        return urlsplit(f"//{self.headers.get('Host', '')}").hostname in _HOSTS

    def _answer(self, function: Callable[..., dict[str, Any]], *values: Any) -> None:
        try:
            with self.server.lock:
                answer = function(*values)
        except UserError as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._send(HTTPStatus.OK, json.dumps(answer).encode(), "application/json")

    def _fail(self, status: HTTPStatus, message: str) -> None:
        self._send(status, json.dumps({"error": message}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, nonce: str = "") -> None:
        self.send_response(status)
        policy = f"default-src 'none'; connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": policy + "img-src data:; base-uri 'none'; frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Requests aren't logged: addresses hold raters' names."""
