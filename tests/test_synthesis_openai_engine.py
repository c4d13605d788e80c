import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from errors import UserError
from synthesis.engines import BusyError, RejectedError, Request, Sampling, Usage
from synthesis.openai_engine import OpenAIEngine, is_local

MESSAGES = [{"role": "user", "content": "Say something."}]


def completion(text="hello", usage=True, **choice):
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny-2",
        "system_fingerprint": "fp_7",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}} | choice,
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    return 200, {}, body


def refusal(status, message="no", code=None, **headers):
    return status, headers, {"error": {"message": message, "code": code, "type": "x"}}


class Server(ThreadingHTTPServer):
    """Answers chat completions from a list, the last one for ever, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.got, self.delay = [completion()], [], 0.0
        self.busy = self.most = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.got.append((self.path, dict(self.headers), body))
            server.busy += 1
            server.most = max(server.most, server.busy)
            status, headers, answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        time.sleep(server.delay)
        with server.lock:
            server.busy -= 1
        sent = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-type", "text/html" if isinstance(answer, str) else "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def servers():
    made = [Server(), Server()]
    for server in made:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(servers):
    return servers[0]


def ask(engine, times=1, **options):
    request = Request(MESSAGES, Sampling(0.5, 0.9, 77), seed=5, role="actor", **options)

    async def run():
        try:
            return await asyncio.gather(*(engine.complete(request) for _ in range(times)))
        finally:
            await engine.close()

    return asyncio.run(run())


def test_what_is_sent_and_what_comes_back(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sekret")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    engine = OpenAIEngine(
        "tiny", [server.url], api_key_env="MY_KEY", extra_body={"min_p": 0.1}, price_input=2, price_output=4
    )
    (reply,) = ask(engine)
    assert (reply.text, reply.usage, reply.finish) == ("hello", Usage(12, 3), "stop")
    assert (reply.model, reply.revision) == ("tiny-2", "fp_7")
    assert engine.cost(reply.usage) == pytest.approx((12 * 2 + 3 * 4) / 1e6)
    ((path, headers, body),) = server.got
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sekret"
    assert body == {
        "model": "tiny",
        "messages": MESSAGES,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 5,
        "max_tokens": 77,
        "min_p": 0.1,
    }
    assert engine.identity()["extra_body"] == {"min_p": 0.1}
    assert "sekret" not in json.dumps(engine.identity())


def test_newer_models_call_the_limit_otherwise(server):
    ask(OpenAIEngine("tiny", [server.url], max_tokens_field="max_completion_tokens"))
    body = server.got[0][2]
    assert (body["max_completion_tokens"], "max_tokens" in body) == (77, False)


def test_missing_usage_is_estimated_and_refusals_are_told(server):
    half = completion("x" * 30)
    half[2]["usage"] = {"total_tokens": 15}
    server.answers = [half, completion()]
    assert ask(OpenAIEngine("tiny", [server.url]))[0].usage == Usage(4 + 14 // 3, 1 + 10, estimated=True)
    server.answers = [
        completion("x" * 30, usage=False),
        completion(None, message={"role": "assistant", "refusal": "No."}),
    ]
    (first,), (second,) = ask(OpenAIEngine("tiny", [server.url])), ask(OpenAIEngine("tiny", [server.url]))
    assert first.usage == Usage(4 + 14 // 3, 1 + 10, estimated=True)
    assert (second.text, second.finish) == ("", "refusal")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (refusal(429, "slow down", retry_after="7"), BusyError, "429 .*slow down"),
        (refusal(500), BusyError, "500"),
        (refusal(503, retry_after="soon"), BusyError, "503"),
        (refusal(408), BusyError, "408"),
        (refusal(429, "pay", "insufficient_quota"), UserError, "no credit left"),
        (refusal(401, "bad key"), UserError, "bad key; check the key"),
        (refusal(404, "no such model"), UserError, "check model and base_urls"),
        (refusal(400, "unknown field"), UserError, "check model and max_tokens_field"),
        (refusal(400, "filtered", "content_filter"), RejectedError, "400"),
        (refusal(400, "This model's maximum context length is 10"), RejectedError, "context length"),
        (
            (200, {}, {"id": "1", "object": "x", "created": 0, "model": "m", "choices": []}),
            BusyError,
            "without a choice",
        ),
        ((200, {}, {"error": {"code": 502, "message": "upstream"}}), BusyError, "without a choice"),
        ((200, {}, "<html>Welcome</html>"), UserError, "something else than a chat completion; check base_urls"),
    ],
)
def test_what_a_status_means(server, answer, error, message):
    server.answers = [answer]
    with pytest.raises(error, match=message):
        ask(OpenAIEngine("tiny", [server.url]))
    assert len(server.got) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"retry_after": "7"}, 7.0), ({"retry_after_ms": "250"}, 0.25), ({}, None)]
)
def test_the_servers_wish_to_wait(server, headers, seconds):
    server.answers = [refusal(429, **headers)]
    with pytest.raises(BusyError) as error:
        ask(OpenAIEngine("tiny", [server.url]))
    assert error.value.retry_after == seconds


def test_a_time_out(server):
    server.delay = 0.5
    with pytest.raises(BusyError, match="timed out"):
        ask(OpenAIEngine("tiny", [server.url], timeout=0.1))


def test_work_is_spread_by_load_and_goes_past_a_dead_address(servers):
    for server in servers:
        server.delay = 0.05
    engine = OpenAIEngine("tiny", [server.url for server in servers], concurrency=3)
    assert engine.concurrency == 6
    assert len(ask(engine, times=6)) == 6
    assert [len(server.got) for server in servers] == [3, 3]
    engine = OpenAIEngine("tiny", ["http://127.0.0.1:9/v1", servers[0].url])
    with pytest.raises(BusyError, match=r"127\.0\.0\.1:9"):
        asyncio.run(_twice(engine))
    assert len(servers[0].got) == 4


async def _twice(engine):
    request = Request(MESSAGES, Sampling(), seed=5, role="actor")
    try:
        await engine.complete(request)
    except BusyError:
        await engine.complete(request)
        raise
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://127.8.0.1:1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://192.168.0.4:8000/v1", False),
        ("http://localhost.example.com/v1", False),
        ("http://127.0.0.1.example.com/v1", False),
        ("http://0.0.0.0:8000/v1", False),
        ("http://localhost@example.com/v1", False),
    ],
)
def test_what_is_on_this_machine(url, local):
    assert is_local(url) is local


def test_clinical_text_leaves_the_machine_only_for_an_allowed_address(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    clinical = frozenset({"clinical"})
    assert ask(OpenAIEngine("tiny", [server.url]), sources=clinical)[0].text == "hello"
    engine = OpenAIEngine("tiny", [server.url, "http://198.51.100.7:1/v1"])
    with pytest.raises(UserError, match=r"http://198.51.100.7:1/v1 is not on this machine: nothing was sent"):
        ask(engine, sources=clinical)
    assert len(server.got) == 1
    engine = OpenAIEngine(
        "tiny", ["https://llm.hospital.example/v1"], allow_clinical=["https://llm.hospital.example/v1"]
    )
    engine.check_sources(clinical)
    asyncio.run(engine.close())


def test_a_server_on_this_machine_cannot_send_the_prompt_elsewhere(servers):
    first, second = servers
    first.answers = [(307, {"location": f"{second.url}/chat/completions"}, {})]
    with pytest.raises((UserError, BusyError)):
        ask(OpenAIEngine("tiny", [first.url]))
    assert second.got == []


def test_bad_options(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for options, message in (
        ({"base_urls": []}, "at least one of base_urls"),
        ({"base_urls": ["localhost:8000"]}, "begins with http"),
        ({"base_urls": ["https://api.openai.com/v1"]}, "environment variable OPENAI_API_KEY"),
    ):
        with pytest.raises(UserError, match=message):
            OpenAIEngine("tiny", **options)
