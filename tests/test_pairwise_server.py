import json
import threading
import urllib.error
import urllib.request

import pytest
from pairwise_studies import make_study
from running import run

from experiments.pairwise.server import RatingServer
from experiments.pairwise.study import Study, open_key


@pytest.fixture
def server(tmp_path):
    make_study(tmp_path, key_path=tmp_path / "elsewhere/key.json")  # the page does without the key
    with RatingServer(Study(tmp_path / "study")) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server, path, body=None, **headers):
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def test_a_rater_judges_goes_back_and_comes_back(server, tmp_path):
    status, view = ask(server, "api/start", {"rater": " anna "})
    assert status == 200
    assert view["rater"] == "anna"
    assert (view["place"], view["total"], view["judged"], view["choice"]) == (0, 6, 0, None)
    assert view["question"] == "Which response is more helpful and supportive?"
    key = open_key(server.study, tmp_path / "elsewhere/key.json")
    kept = []
    for place, choice in enumerate([1, 2, 0]):
        shown = ask(server, f"api/view?rater=anna&place={place}")[1]
        status, view = ask(server, "api/judge", {"rater": "anna", "place": place, "choice": choice, "seconds": 1.26})
        assert (status, view["place"], view["judged"]) == (200, place + 1, place + 1)
        kept.append([*shown["responses"], None][choice - 1])
    lines = [json.loads(line) for line in (tmp_path / "study/judgements/00-anna.jsonl").read_text().splitlines()]
    said = [key.tasks[one["task"]].get(one["choice"]) for one in lines]
    assert [system and f"{system} answers" for system in said] == [text and text[: text.rfind(" ")] for text in kept]
    assert [one["seconds"] for one in lines] == [1.3] * 3

    assert ask(server, "api/view?rater=anna&place=1")[1]["choice"] == 2
    status, view = ask(server, "api/judge", {"rater": "anna", "place": 1, "choice": 1, "seconds": 1})
    assert (view["place"], view["judged"]) == (3, 3)
    with RatingServer(Study(tmp_path / "study")) as again:
        assert again.start("Anna")["place"] == 3
        assert again.view("anna", 1)["choice"] == 1


def test_the_last_choice_ends_it(server):
    ask(server, "api/start", {"rater": "anna"})
    for place in range(6):
        view = ask(server, "api/judge", {"rater": "anna", "place": place, "choice": 0, "seconds": 0})[1]
    assert view == {"place": 6, "total": 6, "judged": 6, "question": view["question"]}


def test_two_raters_at_once_see_opposite_sides(server):
    views = {}
    for name in ("anna", "ben"):
        ask(server, "api/start", {"rater": name})
        rows = [ask(server, f"api/view?rater={name}&place={place}")[1] for place in range(6)]
        views[name] = [(row["context"][0]["text"], row["responses"]) for row in rows]
    assert [(text, sides[::-1]) for text, sides in views["anna"]] == views["ben"][::-1]


def test_nothing_that_names_a_system_reaches_the_page(server):
    answer = json.dumps(ask(server, "api/start", {"rater": "anna"})[1])
    assert set(json.loads(answer)) == {
        *("rater", "place", "total", "judged", "question", "context", "responses", "choice"),
    }
    assert not any(task in answer for task in server.study.tasks)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("api/start", {"rater": "../x"}, 400, "1 to 40 letters"),
        ("api/start", {"name": "x"}, 400, "a JSON object with rater"),
        ("api/start", [1], 400, "a JSON object with rater"),
        ("api/start", b"{", 400, "a JSON object with rater"),
        ("api/start", b" " * 10_001, 413, "at most 10000 bytes"),
        ("api/judge", {"rater": "anna", "place": 6, "choice": 1, "seconds": 1}, 400, "from 0 to 5"),
        ("api/judge", {"rater": "anna", "place": True, "choice": 1, "seconds": 1}, 400, "from 0 to 5"),
        ("api/judge", {"rater": "anna", "place": 0, "choice": 3, "seconds": 1}, 400, "choice is 1, 2 or 0"),
        ("api/judge", {"rater": "anna", "place": 0, "choice": 1.0, "seconds": 1}, 400, "choice is 1, 2 or 0"),
        ("api/judge", {"rater": "anna", "place": 0, "choice": 1, "seconds": float("nan")}, 400, "seconds is a number"),
        ("api/judge", {"rater": "anna", "place": 0, "choice": 1, "seconds": "1"}, 400, "seconds is a number"),
        ("api/judge", {"rater": "anna", "place": 0, "choice": 1, "seconds": 10**400}, 400, "seconds is a number"),
        ("api/judge", {"rater": ["anna"], "place": 0, "choice": 1, "seconds": 1}, 400, "no such rater"),
        ("api/view?rater=ben", None, 400, "no such rater"),
        ("api/view?rater=anna&place=7", None, 400, "from 0 to 5"),
        ("key.json", None, 404, "no such page"),
        ("api/view", {}, 404, "no such page"),
    ],
)
def test_what_is_refused(server, tmp_path, path, body, status, message):
    ask(server, "api/start", {"rater": "anna"})
    found, said = ask(server, path, body)
    assert (found, message in said) == (status, True)
    assert (tmp_path / "study/judgements/00-anna.jsonl").read_text() == ""


def test_other_sites_get_nothing(server):
    body = {"rater": "anna"}
    assert ask(server, "api/start", body, Host="evil.example")[0] == 403
    assert ask(server, "api/view?rater=anna", Host="evil.example:80")[0] == 403
    assert ask(server, "", Host="evil.example")[0] == 403
    assert ask(server, "api/start", body, Content_Type="text/plain")[0] == 415
    assert ask(server, "api/start", body, Host="localhost:9")[0] == 200
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_cannot_be_had(server, tmp_path):
    for port, reason in (
        (server.server_port, "Address already in use"),
        (99999, "bind(): port must be 0-65535."),
        (-1, ""),
    ):
        ran = run("compare", "rate", tmp_path / "study", "--port", port)
        assert (ran.status, len(ran.err.splitlines())) == (2, 1)
        assert ran.err.startswith(f"error: --port {port}: {reason}")
        assert ran.err.endswith("; choose another\n")


def test_a_page_can_be_asked_for_without_its_body(server):
    for path, status in (("", 200), ("api/view?rater=ben", 400), ("key.json", 404)):
        request = urllib.request.Request(server.url + path, method="HEAD")
        try:
            with urllib.request.urlopen(request) as response:
                found, length, body = response.status, int(response.headers["Content-Length"]), response.read()
        except urllib.error.HTTPError as error:
            found, length, body = error.code, int(error.headers["Content-Length"]), error.read()
        assert (found, length > 0, body) == (status, True, b"")
