"""The endpoints of `serve`, over a real socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, lines, run
from serving import ask, served
from tiny import REPLIES, SENTENCES

from inference.scorer import EmpathyScorer
from inference.strategist import Strategist
from inference.web.app import build_app
from inference.web.models import MOST_PAIRS
from inference.web.talking import Talker

LABELS = ["Comforting", "Exploration", "Action", "Others"]
POLICIES = ["none", "random", "random_prior", "classifier", "classifier_sampled", "model"]


@pytest.fixture(scope="module")
def scorer(trained: Any) -> EmpathyScorer:
    return EmpathyScorer.load(trained.folder)


@pytest.fixture(scope="module")
def url(scorer: EmpathyScorer, talkers: dict[str, Path]):
    with served(build_app(scorer, Talker(talkers["tagged"], talkers["classifier"]))) as address:
        yield address


def pair(seeker: str = SENTENCES[0], response: str = REPLIES[0][0]) -> dict[str, str]:
    return {"seeker_post": seeker, "response_post": response}


def seeker(text: str = "I feel low.") -> dict[str, str]:
    return {"speaker": "seeker", "text": text}


def test_scores_are_those_of_the_model_in_order(url: str, scorer: EmpathyScorer) -> None:
    texts = [(one, f"{reply} {other[0]}") for one in SENTENCES for reply, _ in REPLIES for other in REPLIES[:2]]
    texts = [*texts[:60], ("", ""), ("👍 seeker", "naïve 💛 “words”  \n\tand a very " + "long " * 300 + "text")]
    status, answer = ask(url, "score", {"pairs": [pair(*one) for one in texts]})
    assert status == 200
    for found, expected in zip(answer["scores"], scorer.score(texts), strict=True):
        assert found["levels"] == expected.levels
        assert found["rationales"] == {
            name: [list(span) for span in spans] for name, spans in expected.rationales.items()
        }
        for mechanism, shares in expected.probabilities.items():
            assert found["probabilities"][mechanism] == pytest.approx(shares, abs=1e-5)


def test_requests_that_come_together_get_their_own_answers(url: str) -> None:
    texts = [f"{reply} {number}" for number in range(10) for reply, _ in REPLIES]
    alone = [ask(url, "score", {"pairs": [pair(response=text)]})[1]["scores"][0] for text in texts]
    with ThreadPoolExecutor(20) as pool:
        together = list(
            pool.map(lambda text: ask(url, "score", {"pairs": [pair(response=text)]})[1]["scores"][0], texts)
        )
    for one, other in zip(alone, together, strict=True):
        assert one["levels"] == other["levels"]
        for mechanism, shares in one["probabilities"].items():
            assert other["probabilities"][mechanism] == pytest.approx(shares, abs=1e-5)


def test_a_response_has_the_strategy_chosen_and_its_alternatives(url: str) -> None:
    for policy in POLICIES:
        status, answer = ask(url, "respond", {"turns": [seeker()], "policy": policy})
        assert (status, answer["policy"]) == (200, policy)
        if policy == "none":
            assert (answer["strategy"], answer["probabilities"]) == (None, None)
        else:
            assert list(answer["probabilities"]) == LABELS
            assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-3)
            assert answer["strategy"] in LABELS
    assert ask(url, "respond", {"turns": [seeker()]})[1]["policy"] == "classifier"
    chosen = ask(url, "respond", {"turns": [seeker()], "policy": "model"})[1]
    assert chosen["strategy"] == max(chosen["probabilities"], key=chosen["probabilities"].get)


def test_a_strategy_can_be_overridden_and_draws_repeat(url: str) -> None:
    for label in LABELS:
        answer = ask(url, "respond", {"turns": [seeker()], "strategy": label})[1]
        assert (answer["strategy"], answer["policy"]) == (label, "override")
        assert list(answer["probabilities"]) == LABELS  # the alternatives stay in sight
    request = {"turns": [seeker(), {"speaker": "supporter", "text": "Why?"}, seeker()], "policy": "random", "seed": 3}
    assert ask(url, "respond", request) == ask(url, "respond", request)
    drawn = {ask(url, "respond", {**request, "seed": seed})[1]["strategy"] for seed in range(12)}
    assert len(drawn) > 1
    others = {ask(url, "respond", {**request, "turns": [seeker(f"Day {n}.")]})[1]["strategy"] for n in range(12)}
    assert len(others) > 1  # one seed doesn't mean one strategy for everybody


def test_what_goes_with_a_responder(scorer: EmpathyScorer, talkers: dict[str, Path]) -> None:
    talker = Talker(talkers["plain"])
    assert (talker.policies, talker.labels, talker.default) == (["none"], [], "none")
    assert Talker(talkers["tagged"]).policies == ["none", "random", "random_prior", "model"]
    with served(build_app(scorer, talker)) as url:
        assert ask(url, "respond", {"turns": []})[0] == 200
        status, answer = ask(url, "respond", {"turns": [], "strategy": "Action"})
        assert (status, answer["detail"].partition(";")[0]) == (422, "strategy: unknown to this responder")
    with served(build_app(scorer)) as url:
        missing = 404, {"detail": "no responder is served here; start the server with --responder RUN"}
        assert ask(url, "respond", {"turns": []}) == missing
        assert "/respond" not in ask(url, "openapi.json")[1]["paths"]


def test_the_classifier_is_loaded_once(talkers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = Strategist.load
    monkeypatch.setattr(Strategist, "load", lambda *given: (loaded.append(given), load(*given))[1])
    assert Talker(talkers["tagged"], talkers["classifier"]).policies == POLICIES
    assert len(loaded) == 1


def test_a_failure_of_the_server_is_told_in_the_same_form(scorer: EmpathyScorer) -> None:
    class Failing:
        """A model on a machine without memory."""

        mechanisms, text_encoder = scorer.mechanisms, scorer.text_encoder

        def score(self, pairs: Any, batch_size: int) -> Any:
            raise MemoryError(SECRET)

    with served(build_app(Failing())) as url:  # type: ignore[arg-type]
        told = 500, {"detail": "The server failed; its standard error says why."}
        assert ask(url, "score", {"pairs": [pair()]}) == told
    with served(build_app(scorer, store=Path("/dev/full"))) as url:
        assert ask(url, "score", {"pairs": [pair()]}) == told


SECRET = "nobody must read this in a log"


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("score", {"pairs": []}, 422, "pairs: List should have at least 1 item"),
        ("score", {"pairs": [pair()] * (MOST_PAIRS + 1)}, 422, "pairs: List should have at most 64 items"),
        ("score", {}, 422, "pairs: Field required"),
        ("score", {"pairs": [{"seeker_post": SECRET}]}, 422, "pairs.0.response_post: Field required"),
        ("score", {"pairs": [pair(response=7)]}, 422, "pairs.0.response_post: Input should be a valid string"),
        (
            "score",
            {"pairs": [pair(response=SECRET * 400)]},
            422,
            "pairs.0.response_post: String should have at most 10000",
        ),
        ("score", {"pairs": [{**pair(), "level": 2}]}, 422, "pairs.0.level: Extra inputs are not permitted"),
        ("score", '{"pairs": [', 422, "the body is not JSON: Expecting value at character 12"),
        ("score", "I feel low.", 422, "the body is not JSON: Expecting value at character 1"),
        ("score", "[" * 100_000, 422, "the body is not JSON in UTF-8, or is nested too deep"),
        ("score", '{"pairs": [{"seeker_post": "", "response_post": "\\ud800"}]}', 422, "pairs.0.response_post: "),
        ("score", " " * 1_000_001, 413, "the body is larger than 1000000 bytes; send fewer or shorter texts"),
        ("respond", {"turns": [seeker("")]}, 422, "turns.0.text: String should have at least 1 character"),
        ("respond", {"turns": [{"speaker": "doctor", "text": SECRET}]}, 422, "turns.0.speaker: Input should be"),
        ("respond", {"turns": [seeker()] * 201}, 422, "turns: List should have at most 200 items"),
        ("respond", {"turns": [], "policy": "oracle"}, 422, "policy: not served here; there are none, random, "),
        (
            "respond",
            {"turns": [], "strategy": "Hugging"},
            422,
            "strategy: unknown to this responder; it knows Comforting",
        ),
        ("respond", {"turns": [], "seed": -1}, 422, "seed: Input should be greater than or equal to 0"),
        ("nothing", {}, 405, "Method Not Allowed"),
        ("score", None, 405, "send JSON to /score with POST; /docs describes it"),
        ("respond", None, 405, "send JSON to /respond with POST; /docs describes it"),
        ("nothing", None, 404, "there is no such page; / is the page, /docs describes the endpoints"),
        ("../serve.py", None, 404, "there is no such page"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_bad_requests_are_told_so(url: str, path: str, body: Any, status: int, detail: str) -> None:
    found, answer = ask(url, path, body)
    assert (found, list(answer)) == (status, ["detail"])
    assert answer["detail"].startswith(detail)
    assert SECRET not in answer["detail"]


def test_a_page_can_be_asked_for_without_its_body(url: str) -> None:
    assert ask(url, "", method="HEAD") == (200, "")
    assert ask(url, "docs", method="HEAD") == (200, "")


def test_foreign_names_sites_and_forms_are_turned_away(url: str) -> None:
    body = {"pairs": [pair()]}
    assert ask(url, "", Host="evil.example")[0] == 403
    assert ask(url, "score", body, Host="evil.example:80")[0] == 403
    assert ask(url, "score", body, Origin="https://evil.example")[0] == 403
    assert ask(url, "score", body, Origin="null")[0] == 403
    assert ask(url, "score", body, Origin=url.rstrip("/"))[0] == 200
    assert ask(url, "score", json.dumps(body), Content_Type="text/plain") == (
        415,
        {"detail": "send content-type: application/json"},
    )
    chunks = (b" " * 100_000 for _ in range(11))  # sent without a length
    assert ask(url, "score", chunks)[0] == 413


def test_more_than_it_can_take_is_put_off_and_the_rest_is_answered(scorer: EmpathyScorer) -> None:
    class Slow:
        """The same model on a slow machine."""

        mechanisms, text_encoder = scorer.mechanisms, scorer.text_encoder

        def score(self, pairs: Any, batch_size: int) -> Any:
            time.sleep(0.2)
            return scorer.score(pairs, batch_size)

    body = {"pairs": [pair()] * MOST_PAIRS}
    with served(build_app(Slow())) as url, ThreadPoolExecutor(40) as pool:  # type: ignore[arg-type]
        found = list(pool.map(lambda _: ask(url, "score", body), range(40)))
    statuses = [status for status, _ in found]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 16
    assert {answer["detail"] for status, answer in found if status == 503} == {
        "too many pairs wait; try again in a second"
    }


def test_nothing_is_stored_unless_asked(url: str, scorer: EmpathyScorer, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    ask(url, "score", {"pairs": [pair()]})
    assert list(tmp_path.iterdir()) == []
    with served(build_app(scorer, store=tmp_path / "kept.jsonl")) as other:
        assert f"{tmp_path / 'kept.jsonl'}" in ask(other, "")[1]
        answer = ask(other, "score", {"pairs": [pair()]})[1]
    (kept,) = lines(tmp_path / "kept.jsonl")
    assert kept.pop("at").endswith("+00:00")
    assert kept == {"what": "score", "pairs": [pair()], "answer": answer}


def test_pages_load_nothing_from_elsewhere(url: str) -> None:
    import http.client
    from urllib.parse import urlsplit

    for path in ("", "docs", "page.js", "page.css", "reference.js", "reference.css", "openapi.json"):
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"https://findahelpline.com"}
        connection.close()
    page = ask(url, "")[1]
    assert "no help in a crisis" in page
    assert '<a href="https://findahelpline.com"' in page


def test_the_endpoints_are_described(url: str) -> None:
    described = ask(url, "openapi.json")[1]
    assert set(described["paths"]) == {"/score", "/respond"}
    for path in described["paths"].values():
        assert {"200", "403", "413", "415", "422", "500", "503"} <= path["post"]["responses"].keys()
    schemas = described["components"]["schemas"]
    assert schemas["ScoreRequest"]["properties"]["pairs"]["maxItems"] == MOST_PAIRS
    assert schemas["Pair"]["properties"]["response_post"]["maxLength"] == 10_000
    for name in ("ScoreRequest", "RespondRequest"):
        (example,) = schemas[name]["examples"]
        assert ask(url, "score" if name[0] == "S" else "respond", example)[0] == 200


def start(*argv: object) -> tuple[subprocess.Popen[str], str]:
    """The command in a process, and its first line on standard error."""
    words = [sys.executable, str(ROOT / "cli.py"), "serve", *(str(word) for word in argv)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stderr is not None
    return process, process.stderr.readline()


def test_the_command_serves_until_it_is_interrupted(trained: Any, talkers: dict[str, Path]) -> None:
    process, line = start(
        "--run", trained.folder, "--responder", talkers["tagged"], "--classifier", talkers["classifier"], "--port", 0
    )
    try:
        said = re.fullmatch(r"Serving at (http://127\.0\.0\.1:\d+/) ; .*; nothing is kept; stop with Ctrl-C\.\n", line)
        assert said, line
        url = said[1]
        assert ask(url, "score", {"pairs": [pair()]})[0] == 200
        assert ask(url, "respond", {"turns": [seeker()]})[1]["policy"] == "classifier"
        port = int(url.rsplit(":", 1)[1].rstrip("/"))
        for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port)} - {"127.0.0.1"}:
            with socket.socket() as outside:
                assert outside.connect_ex((address, port)) != 0
        taken = run("serve", "--run", trained.folder, "--port", port)
        assert (taken.status, taken.err) == (2, f"error: --port {port}: Address already in use; choose another\n")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classifier", "runs/c"], "--classifier chooses a responder's strategy: name one with --responder"),
        (["--store", "kept.txt"], "--store kept.txt: name a .jsonl file in a folder that exists"),
        (["--store", "nowhere/kept.jsonl"], "--store nowhere/kept.jsonl: name a .jsonl file in a folder that exists"),
        (["--port", "99999"], "--port 99999: bind(): port must be 0-65535."),
        ([], "checkpoint 'nowhere': there is no such file or run folder"),
    ],
)
def test_options_that_cannot_be(options: list[str], message: str) -> None:
    ran = run("serve", "--run", "nowhere", *(options or ["--port", "0"]))
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)
    assert ran.err.startswith(f"error: {message}")


def test_runs_of_another_kind_are_named(trained: Any, talkers: dict[str, Path]) -> None:
    ran = run("serve", "--run", talkers["tagged"], "--port", 0)
    assert "is of the task 'responder'; a run of the empathy model is needed" in ran.err
    ran = run("serve", "--run", trained.folder, "--responder", talkers["classifier"], "--port", 0)
    assert "is no responder; name the run of one" in ran.err
    ran = run(
        "serve",
        "--run",
        trained.folder,
        "--responder",
        talkers["plain"],
        "--classifier",
        talkers["classifier"],
        "--port",
        0,
    )
    assert "the responder was trained without tags; only policy none fits it" in ran.err


@pytest.mark.parametrize("command", ["annotate", "agreement", "compare", "respond", "serve"])
def test_help_answers_at_once(command: str) -> None:
    heavy = (
        "{'torch', 'transformers', 'lightning', 'datasets', 'fastapi', 'scipy', 'sklearn', 'pandas', 'jsonargparse'}"
    )
    code = f"import sys, cli; done = cli.main([{command!r}, '--help']); print(sorted({heavy} & set(sys.modules)), done)"
    before = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert os.times().children_user - before < 2
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert done.stdout.startswith(f"usage: python cli.py {command} ")
