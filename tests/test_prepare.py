import dataclasses
import hashlib
import http.server
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from datamodules import prepare as command
from datamodules.prepare import CORPORA, EPITOME, Corpus, main, prepare

ROOT = Path(__file__).parents[1]
FILES = {"one.csv": b"a,b\n1,2\n" * 30_000, "two.csv": b"c,d\n3,4\n", "three.csv": "é,🙂\n".encode()}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` with ranges, cutting an answer short or failing where the test says so."""

    def do_GET(self):
        name = self.path.removeprefix("/data/")
        given = self.headers.get("Range")
        self.server.requests.append((name, given))
        content = self.server.files.get(name)
        start = int(re.fullmatch(r"bytes=(\d+)-", given)[1]) if given and self.server.ranges else 0
        if content is None:
            return self.send_error(404)
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : self.server.cut.pop(name, None)])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.requests, server.cut, server.ranges = dict(FILES), [], {}, True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def corpus_at(port):
    return Corpus(
        title="Test corpus",
        address=f"http://127.0.0.1:{port}/data",
        files={name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
        dest=Path("unused"),
        licence="Free for tests",
        citation="Nobody (2020)",
    )


@pytest.fixture
def corpus(server):
    return corpus_at(server.server_port)


@pytest.fixture
def folder(tmp_path):
    """The files as a user who fetched them by hand has them."""
    folder = tmp_path / "by-hand"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_downloads_and_verifies(tmp_path, server, corpus, capsys):
    dest = tmp_path / "deep" / "dest"
    assert prepare(corpus, dest) == []
    assert contents(dest) == FILES
    assert capsys.readouterr().out.splitlines() == [
        "one.csv: downloaded, 240,000 bytes, verified",
        "two.csv: downloaded, 8 bytes, verified",
        "three.csv: downloaded, 8 bytes, verified",
        f"Test corpus: complete in {dest}",
        "licence: Free for tests",
        "cite: Nobody (2020)",
    ]
    assert server.requests == [(name, None) for name in FILES]


def test_a_second_run_fetches_what_is_missing(tmp_path, server, corpus, capsys):
    prepare(corpus, tmp_path)
    (tmp_path / "two.csv").unlink()
    server.requests.clear()
    capsys.readouterr()
    assert prepare(corpus, tmp_path) == []
    assert contents(tmp_path) == FILES
    assert server.requests == [("two.csv", None)]
    assert "one.csv: already there, 240,000 bytes, verified" in capsys.readouterr().out


def test_goes_on_where_the_connection_broke(tmp_path, server, corpus):
    server.cut["one.csv"] = 100_000
    [problem] = prepare(corpus, tmp_path)
    assert problem.startswith(f"one.csv: can't be fetched from {corpus.address}/one.csv to its end (140,000 bytes are ")
    assert "run this again to go on" in problem
    assert sorted(contents(tmp_path)) == ["one.csv.part", "three.csv", "two.csv"]
    assert (tmp_path / "one.csv.part").stat().st_size == 100_000
    assert prepare(corpus, tmp_path) == []
    assert contents(tmp_path) == FILES
    assert server.requests[-1] == ("one.csv", "bytes=100000-")


def test_takes_a_part_that_is_whole(tmp_path, server, corpus):
    """The run ended between the last byte and the renaming."""
    (tmp_path / "one.csv.part").write_bytes(FILES["one.csv"])
    assert prepare(corpus, tmp_path) == []
    assert contents(tmp_path) == FILES
    assert server.requests[0] == ("one.csv", "bytes=240000-")


@pytest.mark.parametrize("part", [b"something else\n", FILES["one.csv"] + b"and more", b""])
def test_starts_again_where_the_part_leads_nowhere(tmp_path, corpus, part):
    (tmp_path / "one.csv.part").write_bytes(part)
    assert prepare(corpus, tmp_path) == []
    assert contents(tmp_path) == FILES


def test_a_server_without_ranges_sends_the_whole(tmp_path, server, corpus):
    server.ranges = False
    (tmp_path / "one.csv.part").write_bytes(FILES["one.csv"][:1000])
    assert prepare(corpus, tmp_path) == []
    assert contents(tmp_path) == FILES
    assert len(server.requests) == 3


def test_keeps_differing_downloads_out(tmp_path, server, corpus):
    server.files |= {"one.csv": b"a,b\n1,3\n", "three.csv": b""}
    one, three = prepare(corpus, tmp_path)
    digest = hashlib.sha256(b"a,b\n1,3\n").hexdigest()
    published = corpus.files["one.csv"]
    assert one == (
        f"one.csv: differs from the published file (SHA-256 {digest}, published {published}); fetch it anew, or "
        "accept it with --allow_modified"
    )
    assert three == "three.csv: is empty; fetch it anew"
    assert contents(tmp_path) == {"two.csv": FILES["two.csv"]}


def test_accepts_differing_files_when_asked(tmp_path, server, corpus, capsys):
    server.files |= {"one.csv": b"a,b\n1,3\n", "three.csv": b""}
    assert prepare(corpus, tmp_path, allow_modified=True) == ["three.csv: is empty; fetch it anew"]
    assert contents(tmp_path) == {"one.csv": b"a,b\n1,3\n", "two.csv": FILES["two.csv"]}
    out = capsys.readouterr().out
    assert "one.csv: downloaded, 8 bytes; differs from the published file" in out
    assert "accepted as you ask" in out
    assert f"Test corpus: not complete in {tmp_path}" in out


def test_never_overwrites_a_file_that_is_there(tmp_path, server, corpus, folder):
    (tmp_path / "two.csv").write_bytes(b"my own")
    for source in (None, folder):
        [problem] = prepare(corpus, tmp_path, source)
        assert problem.startswith("two.csv: differs from the published file (SHA-256 ")
        assert problem.endswith("; move it away and run this again, or keep it with --allow_modified")
    assert prepare(corpus, tmp_path, allow_modified=True) == []
    assert (tmp_path / "two.csv").read_bytes() == b"my own"


def test_takes_the_files_from_a_folder(tmp_path, folder, corpus, server, capsys):
    dest = tmp_path / "dest"
    (folder / "two.csv").write_bytes(b"other")
    (folder / "three.csv").unlink()
    two, three = prepare(corpus, dest, folder)
    assert two.startswith("two.csv: differs from the published file")
    assert three == f"three.csv: not in {folder}; put it there"
    assert contents(dest) == {"one.csv": FILES["one.csv"]}
    assert f"one.csv: copied from {folder}, 240,000 bytes, verified" in capsys.readouterr().out
    assert server.requests == []
    (folder / "three.csv").write_bytes(FILES["three.csv"])
    assert prepare(corpus, dest, folder, allow_modified=True) == []
    assert contents(dest) == {**FILES, "two.csv": b"other"}
    assert prepare(corpus, folder, folder, allow_modified=True) == []  # verifies them where they are


def test_says_what_to_do_where_the_server_has_no_such_file(tmp_path, server, corpus):
    del server.files["two.csv"]
    assert prepare(corpus, tmp_path) == [
        f"two.csv: can't be fetched from {corpus.address}/two.csv (404 Not Found); run this again to go on, or save "
        "the file into a folder by other means and name that with --from"
    ]


def test_says_what_to_do_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:  # a port that nobody answers on
        taken.bind(("127.0.0.1", 0))
        found = prepare(corpus_at(taken.getsockname()[1]), tmp_path)
    assert len(found) == 3
    for name, problem in zip(FILES, found, strict=True):
        assert re.match(rf"{name}: can't be fetched from http://127.0.0.1:\d+/data/{name} \(.*refused\); ", problem)
        assert problem.endswith("save the file into a folder by other means and name that with --from")
    assert contents(tmp_path) == {}


def test_gives_up_on_a_silent_server(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_TIMEOUT", 0.05)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = prepare(corpus_at(silent.getsockname()[1]), tmp_path)
    assert len(found) == 3
    assert "timed out" in found[0]


def test_a_destination_that_can_not_be_written(tmp_path, corpus):
    (tmp_path / "file").touch()
    found = prepare(corpus, tmp_path / "file" / "dest")
    assert found[0] == (
        f"one.csv: {tmp_path / 'file' / 'dest'}: Not a directory; check room and rights there, or name another folder"
    )
    assert len(found) == 3


def test_a_full_disk_leaves_nothing(tmp_path, corpus, folder):
    """The limit on a file's size stands for the disk: writing fails in the middle of the largest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        downloaded = prepare(corpus, tmp_path / "dest")
        copied = prepare(corpus, tmp_path / "copied", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = "one.csv: {}: File too large; check room and rights there, or name another folder"
    assert downloaded == [message.format(tmp_path / "dest" / "one.csv.part")]
    assert copied[0].endswith("File too large; check room and rights there, or name another folder")
    assert sorted(contents(tmp_path / "dest")) == sorted(contents(tmp_path / "copied")) == ["three.csv", "two.csv"]


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from datamodules.prepare import prepare
from test_prepare import corpus_at
prepare(corpus_at(int(sys.argv[1])), Path(sys.argv[2]))
"""


def test_a_killed_run_leaves_nothing_half_written_and_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content, half = FILES["one.csv"], 120_000
    with socket.create_server(("127.0.0.1", 0)) as slow:
        port = slow.getsockname()[1]
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(port), str(tmp_path)], cwd=ROOT)
        connection, _ = slow.accept()
        with connection:
            connection.recv(1000)
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content[:half])
            part = tmp_path / "one.csv.part"
            deadline = time.monotonic() + 30
            while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
            process.wait()
    assert list(contents(tmp_path)) == ["one.csv.part"]
    assert content.startswith(part.read_bytes())
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.files, server.requests, server.cut, server.ranges = dict(FILES), [], {}, True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert prepare(corpus_at(port), tmp_path) == []
        server.shutdown()
        thread.join()
    assert contents(tmp_path) == FILES
    assert server.requests[0][1].startswith("bytes=")


def test_the_command(tmp_path, folder, corpus, monkeypatch, capsys):
    monkeypatch.setitem(CORPORA, "epitome", dataclasses.replace(corpus, dest=tmp_path / "by-default"))
    assert main(["epitome"]) == 0
    assert contents(tmp_path / "by-default") == FILES
    (folder / "two.csv").write_bytes(b"other")
    (folder / "three.csv").unlink()
    arguments = ["epitome", "--from", str(folder), "--dest", str(tmp_path / "dest")]
    assert main(arguments) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith("error: two.csv: differs from the published file")
    assert errors[1] == f"error: three.csv: not in {folder}; put it there"
    assert main([*arguments, "--allow_modified"]) == 2  # one is still missing
    assert sorted(contents(tmp_path / "dest")) == ["one.csv", "two.csv"]


@pytest.mark.parametrize("arguments", [[], ["epitom"], ["epitome", "--allow"], ["epitome", "more"]])
def test_mistyped_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_the_published_corpus():
    assert EPITOME.address.startswith("https://")
    assert [len(sha256) for sha256 in EPITOME.files.values()] == [64] * 3
    from datamodules.sources.epitome import FILES as READ

    assert list(EPITOME.files) == list(READ.values())


def test_help_needs_nothing_heavy():
    code = "import sys; from datamodules.prepare import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"torch", "lightning", "pyarrow", "datasets", "numpy"}.isdisjoint(done.stdout.split())
    assert "--allow_modified" in done.stdout
