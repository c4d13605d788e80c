"""`serve` in tests: the application behind a real socket, and a browser in front of it."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from selenium import webdriver


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The application's address while it runs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def ask(url: str, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, Any]:
    """Status and content of an answer; a body that is no text is sent as JSON."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    sent = body if body is None or isinstance(body, str | bytes) or hasattr(body, "__next__") else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method or ("GET" if body is None else "POST"), f"/{path}", sent, {**kind, **named})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if answer.headers.get_content_type() == "application/json" else text


def chromium() -> webdriver.Chrome:
    """Headless Chromium that keeps its console."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


class ChatServer(ThreadingHTTPServer):
    """A server of OpenAI's chat completions while its block lasts.

    Args:
        says: Request -> the answer's text; None: the key is wrong.
    """

    daemon_threads = True

    def __init__(self, says: Callable[[dict[str, Any]], str | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Chat)
        self.says = says
        self.got: list[dict[str, Any]] = []

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Chat(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.got.append(body)
        text = self.server.says(body)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        sent = json.dumps({"error": {"message": "bad key"}} if text is None else answer).encode()
        self.send_response(401 if text is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass
