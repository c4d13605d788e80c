"""What a user meets whose data is not what the DataModule needs: every case an error that names file and row."""

import json
import resource
import traceback
from pathlib import Path

import pytest
import torch
from running import config, run, succeed
from tiny import tiny_pairs, write_epitome, write_jsonl

from callbacks.checkpoint_file import CheckpointFile
from datamodules.empathy import EmpathyDataModule
from datamodules.splits import SplitOptions
from errors import DataError, UserError

MARK = "Zoltan told me so"
HEADER = "id,seeker_post,response_post,emotional_reactions\n"


def row(**cells):
    return {"id": "a", "seeker_post": f"{MARK} today.", "response_post": f"{MARK} too?", "explorations": 1} | cells


def lines(*rows):
    return "".join(json.dumps(cells) + "\n" for cells in rows)


TABLES = {
    "missing column": ("t.csv", f"id,question,response_post\na,{MARK},Oh.\n", "t.csv: no column 'seeker_post'"),
    "level 3": ("t.csv", f"{HEADER}a,{MARK},Oh.,1\nb,{MARK},I see.,3\n", "t.csv, row 2 (line 3): column 'emotional_"),
    "level strong": ("t.jsonl", lines(row(), row(id="b", explorations="strong")), "t.jsonl, row 2: column 'explor"),
    "empty response": ("t.csv", f"{HEADER}a,{MARK},  ,1\n", "t.csv, row 1 (line 2): column 'response_post' is empty"),
    "NUL byte": ("t.csv", f"{HEADER}a,{MARK}\0,Oh.,1\n", "t.csv, row 1 (line 2): column 'seeker_post' has a NUL byte"),
    "NUL bytes in JSON": ("t.jsonl", lines(row()) + '{"id": "\0"}\n', "t.jsonl, row 2: not JSON (a NUL byte)"),
    "wrong encoding": ("t.csv", f"{HEADER}a,{MARK} é,Oh.,1\n".encode("latin-1"), "t.csv, line 2: not UTF-8 text"),
    "wrong encoding, whole": ("t.csv", f"{HEADER}a,{MARK},Oh.,1\n".encode("utf-16"), "t.csv, line 1: not UTF-8 text"),
    "row cut off": ("t.csv", f"{HEADER}a,{MARK},Oh.,1\nb,{MARK}", "t.csv, row 2 (line 3): 2 cells where the header"),
    "quote left open": ("t.csv", f'{HEADER}a,{MARK},Oh.,1\nb,"{MARK}', "t.csv, line 3: the record that begins here"),
    "object cut off": ("t.jsonl", lines(row(), row(id="b"))[:-20], "t.jsonl, row 2: not JSON"),
    "span past the end": (
        "t.jsonl",
        lines(row(explorations_rationales=[[0, 4], [8, 400]])),
        "t.jsonl, row 1: rationale of 'explorations': span [8, 400] does not lie within the response's",
    ),
    "duplicate ids": (
        "t.jsonl",
        lines(row(), row(response_post="Another reply.")),
        "t.jsonl, row 2: column 'id': ",
    ),
    "empty file": ("t.parquet", "", "t.parquet: the file is empty"),
    "header alone": ("t.csv", HEADER, "t.csv: the file has no rows"),
    "no Parquet": ("t.parquet", f"{HEADER}a,{MARK},Oh.,1\n", "t.parquet: not a whole Parquet file"),
    "folder": ("t.csv", None, "t.csv: is a folder; name a file in it"),
    "no such file": ("t.csv", ..., "t.csv: no such file"),
    "another kind of file": ("t.xlsx", "PK", "t.xlsx: unknown kind of file"),
}


def put(path, content):
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    return path


def failure(encoder, cache, **options):
    """The error of a DataModule that is set up; it has left nothing behind."""
    module = EmpathyDataModule(encoder=encoder, cache=str(cache), **options)
    with pytest.raises(UserError) as caught:
        module.setup()
    assert not cache.exists()
    assert not module.manifest
    return caught.value


@pytest.mark.parametrize("source", ["clinical", "synthetic"])
@pytest.mark.parametrize("case", TABLES)
def test_tables(encoder, reddit, tmp_path, case, source):
    name, content, message = TABLES[case]
    path = put(tmp_path / name, content)
    error = failure(encoder, tmp_path / "cache", reddit=str(reddit), **{source: str(path)})
    assert isinstance(error, DataError)
    assert error.problems[0].startswith(f"{tmp_path}/{message}")
    shown = "".join(traceback.format_exception(error))
    assert MARK not in shown or source == "synthetic"
    assert error.__cause__ is None


PUBLISHED = "sp_id,rp_id,seeker_post,response_post,level,rationales\n"
EPITOME = {
    "missing column": (
        "sp_id,rp_id,seeker_post,level\n1,2,Hi,1\n",
        ": no column response_post, rationales; the header",
    ),
    "level 3": (
        PUBLISHED + "1,2,Hello.,Oh.,3,\n",
        ", row 1 (line 2): column 'level': level 3 is not 0 (none), 1 (weak) or 2",
    ),
    "level strong": (
        PUBLISHED + "1,2,Hello.,Oh.,strong,\n",
        ", row 1 (line 2): column 'level': level 'strong' is not 0",
    ),
    "no level": (PUBLISHED + "1,2,Hello.,Oh.,,\n", ", row 1 (line 2): column 'level' is empty"),
    "no id": (PUBLISHED + ",2,Hello.,Oh.,1,\n", ", row 1 (line 2): column 'sp_id' is empty"),
    "empty response": (PUBLISHED + "1,2,Hello.,,1,\n", ", row 1 (line 2): column 'response_post' is empty"),
    "NUL byte": (PUBLISHED + "1,2,Hel\0lo.,Oh.,1,\n", ", row 1 (line 2): column 'seeker_post' has a NUL byte"),
    "wrong encoding": ((PUBLISHED + "1,2,Hé.,Oh.,1,\n").encode("latin-1"), ", line 2: not UTF-8 text"),
    "row cut off": (PUBLISHED + "1,2,Hello.,Oh.\n", ", row 1 (line 2): 4 cells where the header names 6"),
    "quote left open": (PUBLISHED + '1,2,Hello.,Oh.,1,"\n', ", line 2: the record that begins here can't be read"),
    "header alone": (PUBLISHED, ": the file has no rows"),
    "empty file": (b"", ": the file is empty"),
    "folder": (None, ": is a folder"),
    "no such file": (..., ": no such file"),
}


@pytest.mark.parametrize("case", EPITOME)
def test_the_three_files(encoder, tmp_path, case):
    content, message = EPITOME[case]
    folder = write_epitome(tmp_path / "reddit", tiny_pairs(4))
    path = folder / "explorations-reddit.csv"
    path.unlink()
    put(path, content)
    error = failure(encoder, tmp_path / "cache", reddit=str(folder))
    assert error.problems[0].startswith(f"{path}{message}")


def test_a_folder_that_is_not_there(encoder, tmp_path):
    error = failure(encoder, tmp_path / "cache", reddit=str(tmp_path / "absent"))
    assert error.problems == [
        f"{tmp_path / 'absent'}: no such folder; `python cli.py prepare epitome` makes one with the three files"
    ]


def test_the_problems_of_all_files_at_once(encoder, tmp_path):
    folder = write_epitome(tmp_path / "reddit", tiny_pairs(4))
    (folder / "interpretations-reddit.csv").unlink()
    tables = {
        "clinical": [put(tmp_path / "a.csv", None), put(tmp_path / "b.csv", f"{HEADER}a,{MARK},Oh.,5\nb,{MARK},,7\n")],
        "synthetic": [put(tmp_path / "c.jsonl", lines(row(explorations=9)))],
    }
    options = {source: [str(path) for path in paths] for source, paths in tables.items()}
    error = failure(encoder, tmp_path / "cache", reddit=str(folder), **options)
    assert [Path(problem.split(":")[0].split(",")[0]).name for problem in error.problems] == [
        "interpretations-reddit.csv", "a.csv", "b.csv", "b.csv", "b.csv", "c.jsonl",
    ]  # fmt: skip


def test_an_encoder_that_can_not_be_found(tmp_path):
    file = write_jsonl(tmp_path / "s.jsonl", tiny_pairs(10, "synthetic"))
    error = failure(str(tmp_path / "nowhere"), tmp_path / "cache", synthetic=str(file))
    assert str(tmp_path / "nowhere") in str(error)


def test_a_full_disk(encoder, tmp_path):
    """The limit on a file's size stands for the disk: nothing half-written is left, and the next try succeeds."""
    file = write_jsonl(tmp_path / "s.jsonl", tiny_pairs(200, "synthetic"))
    cache = tmp_path / "cache"
    options = {"encoder": encoder, "synthetic": str(file), "split": SplitOptions(0.0, 0.2), "cache": str(cache)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        module = EmpathyDataModule(**options)
        with pytest.raises(OSError, match="File too large"):
            module.setup()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    module.setup()
    assert len(module.test_dataloader()) == 1
    assert len(module.rows["test"]) == 40


def test_a_disk_that_is_full_when_the_checkpoint_comes(encoder, reddit, tmp_path):
    """The limit on a file's size stands for the disk: what stood stays, and no half file takes a name."""
    file = config(tmp_path / "tiny.yaml", encoder, data={"reddit": str(reddit)})
    folder = succeed("fit", "--config", file, "--trainer.max_epochs", 1).folder
    written = folder / "checkpoints" / "last.ckpt"
    whole, size = written.read_bytes(), written.stat().st_size
    assert max(path.stat().st_size for path in folder.rglob("*") if path.parent != written.parent) < size // 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        again = run("fit", "--config", file, "--run_name", "full", "--trainer.max_epochs", 1)
        for name in written.parent.glob("*.ckpt"):
            with pytest.raises(OSError, match="File too large"):
                CheckpointFile().save_checkpoint({"weights": torch.zeros(size)}, name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (again.status, again.out) == (2, "")
    assert again.err.splitlines()[-1].startswith(f"error: File too large: {tmp_path}/runs/full/checkpoints/last.ckpt; ")
    names = [path.name for path in (tmp_path / "runs" / "full" / "checkpoints").iterdir()]
    assert names == ["best.ckpt"], "weights alone: there was room for them"
    assert written.read_bytes() == whole
    assert sorted(path.name for path in written.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_bad_table_on_the_command_line(encoder, reddit, tmp_path):
    """One line a problem, exit 2, no traceback, and no run."""
    table = put(tmp_path / "c.jsonl", lines(row(), row(id="b", explorations=3), row(id="c", response_post="")))
    data = {"reddit": str(reddit), "clinical": str(table)}
    ran = run("fit", "--config", config(tmp_path / "tiny.yaml", encoder, data=data))
    assert ran.status == 2
    assert ran.err == (
        f"error: {table}, row 2: column 'explorations': a value is not 0 (none), 1 (weak) or 2 (strong)\n"
        f"{table}, row 3: column 'response_post' is empty; give the text or take the row out\n"
    )
    assert ran.out == ""
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file()] == []
