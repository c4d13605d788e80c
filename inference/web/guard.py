"""What is turned away before it is read: foreign hosts, forms of other sites, bodies that are too large."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["HOSTS", "LARGEST_BODY", "Guard"]

HOSTS = ("127.0.0.1", "localhost")
LARGEST_BODY = 1_000_000

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Guard:
    """An ASGI application in front of another.

    Args:
        app: The other.
    """

    def __init__(self, app: Callable[[_Scope, _Receive, _Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answers 403, 413 or 415, or hands on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        status, problem = _problem({name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]})
        body = bytearray()
        more = scope["method"] == "POST" and not problem
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LARGEST_BODY:
                status, problem, more = (
                    413,
                    f"the body is larger than {LARGEST_BODY} bytes; send fewer or shorter texts",
                    False,
                )
        if scope["method"] == "POST" and not problem:
            status, problem = _not_json(scope)
        if problem:
            await _refuse(sending, status, problem)
            return
        given = False

        async def received() -> MutableMapping[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, received if scope["method"] == "POST" else receive, sending)


def _problem(headers: dict[str, str]) -> tuple[int, str]:
    """A foreign name that resolves to this machine may not read, nor may another site's page write."""
    if urlsplit(f"//{headers.get('host', '')}").hostname not in HOSTS:
        return 403, f"this page answers to {' and '.join(HOSTS)} alone"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers["host"]:
        return 403, "pages of other sites may not ask here"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > LARGEST_BODY:
        return 413, f"the body is larger than {LARGEST_BODY} bytes; send fewer or shorter texts"
    return 200, ""


def _not_json(scope: _Scope) -> tuple[int, str]:
    kinds = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
    if not kinds or kinds[0].split(b";")[0].strip().lower() != b"application/json":
        return 415, "send content-type: application/json"
    return 200, ""


async def _refuse(send: _Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 413:  # the rest of the body isn't read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
