import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from errors import DataError, UserError
from synthesis.store import Store, read_log

ROOT = Path(__file__).parents[1]


def call(dialogue, step, answer="hello"):
    return {
        "kind": "call",
        "call_id": f"{dialogue}/{step}",
        "dialogue": dialogue,
        "answer": answer,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "cost": 0.5,
    }


def end(dialogue, *rows):
    return {"kind": "dialogue", "dialogue": dialogue, "accepted": bool(rows), "rows": list(rows)}


def test_what_was_logged_is_there_after_opening_again(tmp_path):
    with Store(tmp_path / "new" / "out") as store:
        store.append({"kind": "run", "fixed": 1})
        store.append(call("a", "0", "grüß \u2028 dich"))
        store.append(call("b", "0"))
        store.append(end("b", {"id": "b"}))
    with Store(tmp_path / "new" / "out") as store:
        assert store.header == {"kind": "run", "fixed": 1}
        assert store.answer("a", "a/0")["answer"] == "grüß \u2028 dich"
        assert store.answer("a", "a/1") is None
        assert (store.accepted("a"), store.accepted("b"), store.accepted("c")) == (None, True, None)
        assert (store.totals["tokens"], store.cost, store.repaired) == (14, 1.0, 0)


def test_rows_are_in_the_order_asked_for_whatever_the_order_of_ends(tmp_path):
    with Store(tmp_path) as store:
        store.append(end("b", {"id": "b1"}, {"id": "b2"}))
        store.append(end("c"))
        store.append(end("a", {"id": "a"}))
        store.write_rows("rows.jsonl", ["a", "b", "c", "d"])
    assert (tmp_path / "rows.jsonl").read_text() == '{"id": "a"}\n{"id": "b1"}\n{"id": "b2"}\n'


@pytest.mark.parametrize("half", [b'{"kind":"call","call_id', b"\xff", b"{" * 200_000])
def test_a_half_line_is_cut_off(tmp_path, half):
    with Store(tmp_path) as store:
        store.append(call("a", "0"))
    log = tmp_path / "attempts.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + half)
    assert len(list(read_log(log))) == 1
    with Store(tmp_path) as store:
        assert store.repaired == len(half)
        store.append(call("a", "1"))
    assert [record["call_id"] for record in read_log(log)] == ["a/0", "a/1"]
    assert log.read_bytes().startswith(whole)


def test_a_log_of_half_a_line_alone(tmp_path):
    (tmp_path / "attempts.jsonl").write_bytes(b'{"kind"')
    with Store(tmp_path) as store:
        assert (store.repaired, store.header) == (7, None)


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}"])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / "attempts.jsonl").write_text(f"{json.dumps(call('a', '0'))}\n{line}\n")
    with pytest.raises(DataError, match=r"attempts.jsonl, line 2: no record"):
        Store(tmp_path)


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    with Store(tmp_path), pytest.raises(UserError, match="another run is writing"):
        Store(tmp_path)
    Store(tmp_path).__exit__(None, None, None)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        Store(tmp_path / "out")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from errors import UserError
from synthesis.store import Store

def end(dialogue, *rows):
    return {"kind": "dialogue", "dialogue": dialogue, "accepted": bool(rows), "rows": list(rows)}

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store(Path(sys.argv[1])) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        for n in range(100):
            store.append(end(f"d{n}", {"id": f"d{n}", "text": "x" * 240}))
            store.write_rows("rows.jsonl", [f"d{m}" for m in range(n + 1)])
    except UserError as error:
        print(error)
"""


@pytest.mark.parametrize("limit", [1000, 1111, 2300])
def test_a_full_disk_leaves_whole_lines_and_the_run_goes_on_later(tmp_path, limit):
    """The kernel's limit on file sizes stands for the disk: it too lets a part of a write through."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path), str(limit)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "can't be written: File too large" in result.stdout
    log = tmp_path / "attempts.jsonl"
    assert log.read_bytes().endswith(b"\n")
    ended = [record["dialogue"] for record in read_log(log) if record["kind"] == "dialogue"]
    rows = [json.loads(line)["id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert ended
    assert rows in (ended, ended[:-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempts.jsonl", "rows.jsonl"]
    with Store(tmp_path) as store:
        assert store.repaired == 0
        store.append(end("last", {"id": "last"}))
        store.write_rows("rows.jsonl", [*ended, "last"])
    rows = [json.loads(line)["id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == [*ended, "last"]
