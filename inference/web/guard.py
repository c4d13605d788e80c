"""What is turned away before it is read: foreign hosts, forms of other sites, bodies that are too large."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["HOSTS", "LARGEST_BODY", "Guard"]

HOSTS = ("127.0.0.1", "localhost")
LARGEST_BODY = 1_000_000
_MOST_READ = 20 * LARGEST_BODY
"""What is read, and not kept, of a body that is too large: a client that still sends would not see the answer."""

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

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal, body = _foreign(headers), b""
        if scope["method"] == "POST" and not refusal:
            body, size = await _read(receive)
            refusal = _unfit(headers, size)
        if refusal:
            await _refuse(sending, *refusal)
            return
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> MutableMapping[str, Any]:
            return left.pop() if left else await receive()

        await self.app(scope, received if scope["method"] == "POST" else receive, sending)


def _foreign(headers: dict[str, str]) -> tuple[int, str] | None:
    """A foreign name that resolves to this machine may not read, nor may another site's page write."""
    host = headers.get("host", "")
    if host.split(":")[0] not in HOSTS:
        return 403, f"this page answers to {' and '.join(HOSTS)} alone"
    if "origin" in headers and headers["origin"].partition("://")[2] != host:
        return 403, "pages of other sites may not ask here"
    return None


async def _read(receive: _Receive) -> tuple[bytes, int]:
    """The body, as far as it is kept, and how large it is."""
    body, size, more = bytearray(), 0, True
    while more and size <= _MOST_READ:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
        if size <= LARGEST_BODY:
            body += message.get("body", b"")
    return bytes(body), size


def _unfit(headers: dict[str, str], size: int) -> tuple[int, str] | None:
    if size > LARGEST_BODY:
        return 413, f"the body is larger than {LARGEST_BODY} bytes; send fewer or shorter texts"
    if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return 415, "send content-type: application/json"
    return None


async def _refuse(send: _Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 413:  # the rest of the body isn't read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
