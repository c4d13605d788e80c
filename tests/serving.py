"""`serve` in tests: the application behind a real socket, and a browser in front of it."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from running import succeed
from selenium import webdriver
from tiny_dialogues import responder_config, strategy_config, write_esconv


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


def train_talkers(place: Path, encoder: str) -> dict[str, Path]:
    """Runs of a classifier and of responders with tags and without."""
    esconv = write_esconv(place / "ESConv.json", 20)
    none = {"policies": [{"class_path": "inference.policies.NoPolicy"}], "written_rows": 2}
    one = {"max_epochs": 1}
    configs = {
        "classifier": strategy_config(place / "classifier.yaml", encoder, esconv, trainer=one),
        "tagged": responder_config(place / "tagged.yaml", esconv, model=none, trainer=one),
        "plain": responder_config(place / "plain.yaml", esconv, model={**none, "tagged": False}, trainer=one),
    }
    return {name: succeed("fit", "--config", file).folder for name, file in configs.items()}
