import csv
import dataclasses
import hashlib
import json
import random
import traceback
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodules.records import MECHANISMS, SOURCES, Pair, content_id
from datamodules.sources.table import Columns, check_table, read_rows, read_table
from errors import DataError, UserError

ER, IP, EX = MECHANISMS


def write_csv(path, rows, header=None, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header or list(rows[0]))
        writer.writerows(row.values() for row in rows)
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path, rows, schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def problems(path, columns=None, source="reddit"):
    with pytest.raises(DataError) as error:
        read_table(path, columns or Columns(), source)
    return [problem.replace(str(path), path.name) for problem in error.value.problems]


def row(**cells):
    return {"seeker_post": "I lost my job.", "response_post": "I am so sorry."} | cells


# ---------------------------------------------------------------- what is read


def test_a_csv_table_with_everything(tmp_path):
    rows = [
        row(id="a", group="p1", emotional_reactions="2", interpretations="", explorations="0.0")
        | {f"{ER}_rationales": "[[0, 13]]", f"{IP}_rationales": "", f"{EX}_rationales": "SORRY|never said"},
        row(id="17", group="2", emotional_reactions=" 1 ", interpretations="NaN", explorations="null")
        | {
            "response_post": 'Tell me, "why"?\nNow.',
            f"{ER}_rationales": "",
            f"{IP}_rationales": "",
            f"{EX}_rationales": "",
        },
    ]
    path = write_csv(tmp_path / "mine.csv", rows)
    pairs, report = read_table(path, Columns(), "clinical")
    assert pairs == [
        Pair(
            "a",
            "clinical",
            "I lost my job.",
            "I am so sorry.",
            "p1",
            "",
            {ER: 2, EX: 0},
            {ER: [(0, 13)], EX: [(8, 13)]},
        ),
        Pair("17", "clinical", "I lost my job.", 'Tell me, "why"?\nNow.', "2", "", {ER: 1}),
    ]
    assert report.rows == 2
    assert report.dropped == {}
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.rationales == {
        "given": 3,
        "offsets": 1,
        "placed_exact": 0,
        "placed_loose": 1,
        "placed_aligned": 0,
        "unplaced": 1,
        f"{ER}/given": 1,
        f"{ER}/offsets": 1,
        f"{EX}/given": 2,
        f"{EX}/placed_loose": 1,
        f"{EX}/unplaced": 1,
    }
    json.dumps(dataclasses.asdict(report))


def test_named_columns_and_tab_separation(tmp_path):
    rows = [{"nr": "1", "ask": "I am lost.", "reply": "Tell me\tmore.", "empathy": "2", "why": "more"}]
    path = write_csv(tmp_path / "mine.TSV", rows, delimiter="\t")
    columns = Columns(id="nr", seeker_post="ask", response_post="reply", levels={EX: "empathy"}, rationales={EX: "why"})
    assert read_table(path, columns, "reddit")[0] == [
        Pair("1", "reddit", "I am lost.", "Tell me\tmore.", levels={EX: 2}, rationales={EX: [(8, 12)]})
    ]


def test_levels_and_rationales_together_in_one_column(tmp_path):
    rows = [row(levels={ER: 1, IP: None, EX: 0.0}, rationales={ER: [[0, 4], [5.0, 7.0]], IP: ["so sorry"]})]
    expected = [
        Pair(
            content_id("I lost my job.", "I am so sorry."),
            "reddit",
            "I lost my job.",
            "I am so sorry.",
            levels={ER: 1, EX: 0},
            rationales={ER: [(0, 4), (5, 7)], IP: [(5, 13)]},
        )
    ]
    assert read_table(write_jsonl(tmp_path / "a.jsonl", rows), Columns(), "reddit")[0] == expected
    in_csv = [{key: value if isinstance(value, str) else json.dumps(value) for key, value in rows[0].items()}]
    assert read_table(write_csv(tmp_path / "a.csv", in_csv), Columns(), "reddit")[0] == expected
    struct = [row(levels={ER: 1, IP: None, EX: 0}, rationales={ER: [[0, 4], [5, 7]], IP: [[5, 13]], EX: None})]
    assert read_table(write_parquet(tmp_path / "struct.parquet", struct), Columns(), "reddit")[0] == expected
    text = pa.string()
    spans = pa.list_(pa.list_(pa.int64()))
    schema = pa.schema(
        {
            "seeker_post": text,
            "response_post": text,
            "levels": pa.map_(text, pa.int8()),
            "rationales": pa.map_(text, spans),
        }
    )
    in_map = [row(levels=[(ER, 1), (EX, 0)], rationales=[(ER, [[0, 4], [5, 7]]), (IP, [[5, 13]])])]
    assert read_table(write_parquet(tmp_path / "map.parquet", in_map, schema), Columns(), "reddit")[0] == expected


def test_an_empty_flat_column_leaves_the_nested_value(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [row(levels={ER: 2}, emotional_reactions=None, explorations="1")])
    assert read_table(path, Columns(), "reddit")[0][0].levels == {ER: 2, EX: 1}


@pytest.mark.parametrize(
    ("cell", "spans"),
    [
        ("", None),
        ("[]", None),
        ("[[2, 4], [0, 1]]", [(0, 1), (2, 4)]),
        ('["so", [0, 1]]', [(0, 1), (5, 7)]),
        ("so|sorry|", [(5, 7), (8, 13)]),
        ("[so", None),  # text that begins with a bracket
        ("I|I", [(0, 1)]),
    ],
)
def test_rationale_cells(tmp_path, cell, spans):
    path = write_csv(tmp_path / "a.csv", [row(**{f"{IP}_rationales": cell})])
    assert read_table(path, Columns(), "reddit")[0][0].rationales == ({} if spans is None else {IP: spans})


def test_numbers_as_ids(tmp_path):
    path = write_jsonl(
        tmp_path / "a.jsonl", [row(id=i, response_post=f"Reply {n}.") for n, i in enumerate([17, 18.0, 1.5])]
    )
    assert [pair.id for pair in read_table(path, Columns(), "reddit")[0]] == ["17", "18", "1.5"]
    path = write_parquet(tmp_path / "a.parquet", [row(id=17.0), row(id=float("nan"), response_post="Oh.")])
    assert [pair.id for pair in read_table(path, Columns(), "reddit")[0]] == ["17", content_id("I lost my job.", "Oh.")]


def test_the_generator_of_synthetic_rows(tmp_path):
    rows = [row(generator="gpt"), row(generator=""), row(generator="gpt", response_post="Other.")]
    path = write_csv(tmp_path / "falcon-7b.csv", rows)
    pairs, report = read_table(path, Columns(), "synthetic")
    assert [pair.generator for pair in pairs] == ["gpt", "falcon-7b", "gpt"]
    assert report.dropped == {}
    assert [pair.generator for pair in read_table(path, Columns(), "reddit")[0]] == ["", ""]


def test_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfseeker_post,response_post\r\n\r\nHello,Oh no\r\n")
    assert read_table(path, Columns(), "reddit")[0][0].seeker_post == "Hello"
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\n{"seeker_post": "Hello", "response_post": "Oh \xe2\x80\xa8 no"}\n\n')
    assert read_table(path, Columns(), "reddit")[0][0].response_post == "Oh \u2028 no"


def test_duplicates(tmp_path):
    rows = [
        row(id="a", emotional_reactions=1),
        row(id="b", emotional_reactions="1"),  # the same pair and annotation under another id
        row(id="a", emotional_reactions=1),
        row(id="c", emotional_reactions=2),  # the same pair, another level
        row(id="d", emotional_reactions=1, emotional_reactions_rationales=[[0, 1]]),
        row(id="e", response_post="Another reply."),
    ]
    pairs, report = read_table(write_jsonl(tmp_path / "a.jsonl", rows), Columns(), "reddit")
    assert [(pair.id, pair.levels) for pair in pairs] == [("a", {ER: 1}), ("e", {})]
    assert report.dropped == {"duplicate": 2, "conflicting_duplicate": 2}
    assert report.rows == 6


def test_repeated_rows_without_ids_are_duplicates(tmp_path):
    pairs, report = read_table(write_csv(tmp_path / "a.csv", [row(), row(), row()]), Columns(), "reddit")
    assert [pair.id for pair in pairs] == [content_id("I lost my job.", "I am so sorry.")]
    assert report.dropped == {"duplicate": 2}


# ---------------------------------------------------------------- what is refused


def test_all_problems_are_named_with_row_and_line(tmp_path):
    rows = [
        row(id="a", emotional_reactions="3", interpretations="strong"),
        row(id="b", response_post="Two\nlines."),
        row(id="b", response_post="Same id."),
        row(id="c", response_post="  "),
        row(id="d", seeker_post="Nul \0 here", response_post="Oh."),
        row(id="e", emotional_reactions="1.5", response_post="Well."),
    ]
    header = ["seeker_post", "response_post", "id", "emotional_reactions", "interpretations"]
    path = write_csv(tmp_path / "bad.csv", [dict.fromkeys(header, "") | r for r in rows], header)
    assert problems(path) == [
        "bad.csv, row 1 (line 2): column 'emotional_reactions': level 3 is not 0 (none), 1 (weak) or 2 (strong)",
        "bad.csv, row 1 (line 2): column 'interpretations': level 'strong' is not 0 (none), 1 (weak) or 2 (strong)",
        "bad.csv, row 3 (line 5): column 'id': 'b' is the id of row 2 too; give each row its own",
        "bad.csv, row 4 (line 6): column 'response_post' is empty; give the text or take the row out",
        "bad.csv, row 5 (line 7): column 'seeker_post' has a NUL byte; the file is damaged or is not text",
        "bad.csv, row 6 (line 8): column 'emotional_reactions': level '1.5' is not 0 (none), 1 (weak) or 2 (strong)",
    ]


def test_problems_name_the_columns_as_the_table_has_them(tmp_path):
    path = write_jsonl(tmp_path / "bad.jsonl", [{"ask": "", "reply": "Oh.", "em": 3}])
    columns = Columns(seeker_post="ask", response_post="reply", levels={ER: "em"})
    assert problems(path, columns) == [
        "bad.jsonl, row 1: column 'ask' is empty; give the text or take the row out",
        "bad.jsonl, row 1: column 'em': level 3 is not 0 (none), 1 (weak) or 2 (strong)",
    ]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"levels": {"warmth": 1}}, "column 'levels': 'warmth' is no mechanism; the mechanisms are "),
        ({"levels": "high"}, "column 'levels' is not an object with mechanisms as keys"),
        ({"levels": {ER: True}}, "column 'emotional_reactions': level True is not 0 (none), 1 (weak) or 2 (strong)"),
        ({"rationales": [1]}, "column 'rationales' is not an object with mechanisms as keys"),
        ({"rationales": {"warmth": []}}, "column 'rationales': a key is no mechanism; the mechanisms are "),
        ({"rationales": {ER: [[0, 15]]}}, "rationale of 'emotional_reactions': span [0, 15] does not lie within the "),
        ({"rationales": {ER: [[4, 4]]}}, "rationale of 'emotional_reactions': span [4, 4] does not lie within the "),
        ({"rationales": {ER: [[-1, 4]]}}, "rationale of 'emotional_reactions': span [-1, 4] does not lie within the "),
        ({f"{EX}_rationales": [0, 4]}, "column 'explorations_rationales', rationales of 'explorations': an item is "),
        ({f"{EX}_rationales": [[0, 4, 5]]}, "column 'explorations_rationales', rationales of 'explorations': an item "),
        ({f"{EX}_rationales": [[0, True]]}, "column 'explorations_rationales', rationales of 'explorations': an item "),
        ({f"{EX}_rationales": "[[0, 4"}, "column 'explorations_rationales', rationales of 'explorations': begins as "),
        ({f"{EX}_rationales": 4}, "column 'explorations_rationales', rationales of 'explorations': neither a list "),
        ({"id": True}, "column 'id' is of type bool, not text"),
        ({"id": "a\0"}, "column 'id' has a NUL byte; the file is damaged or is not text"),
        ({"group": ["p"]}, "column 'group' is of type list, not text"),
        ({"response_post": 5}, "column 'response_post' is of type int, not text"),
        ({"response_post": None}, "column 'response_post' is empty; give the text or take the row out"),
        (
            {"response_post": "broken \ud83d"},
            "column 'response_post' has half of a surrogate pair (a broken character)",
        ),
    ],
)
def test_unusable_cells(tmp_path, cells, problem):
    [found] = problems(write_jsonl(tmp_path / "bad.jsonl", [row(**cells)]))
    assert found.startswith(f"bad.jsonl, row 1: {problem}")


def test_json_lines_that_are_no_rows(tmp_path):
    path = tmp_path / "bad.jsonl"
    good = json.dumps(row()).encode()
    lines = [good, b"", good[:-1], b'["a"]', b'{"a": "\0"}', b'{"turns": []}', b"[" * 200_000, b"1" * 5000]
    path.write_bytes(b"\n".join(lines))
    assert problems(path) == [
        "bad.jsonl, row 2 (line 3): not JSON (Expecting ',' delimiter at character 69); each line "
        "must hold one whole object",
        "bad.jsonl, row 3 (line 4): not a JSON object; each line must hold one",
        "bad.jsonl, row 4 (line 5): not JSON (a NUL byte); each line must hold one whole object",
        "bad.jsonl, row 5 (line 6): no column 'seeker_post', 'response_post'; its columns are 'turns'; name "
        "yours by the options for columns",
        "bad.jsonl, row 6 (line 7): not usable JSON: nested too deep, or a number of too many digits",
        "bad.jsonl, row 7 (line 8): not usable JSON: nested too deep, or a number of too many digits",
    ]


def test_missing_columns_are_named_beside_those_there_are(tmp_path):
    rows = [{"id": "a", "seeker": "Hello.", "response_post": "Oh."}]
    there = "its columns are 'id', 'seeker', 'response_post'"
    message = f"no column 'seeker_post'; {there}; name yours by the options for columns"
    assert problems(write_csv(tmp_path / "a.csv", rows)) == [f"a.csv: {message}"]
    assert problems(write_parquet(tmp_path / "a.parquet", rows)) == [f"a.parquet: {message}"]
    assert problems(write_jsonl(tmp_path / "a.jsonl", rows)) == [f"a.jsonl, row 1: {message}"]


def test_a_clinical_table_without_a_header_is_not_quoted(tmp_path):
    (tmp_path / "a.csv").write_text("1,I lost my job,Oh\n2,b,c\n")
    (problem,) = problems(tmp_path / "a.csv", source="clinical")
    assert problem.startswith("a.csv: no column 'seeker_post', 'response_post'; it has 3 columns, not shown")
    assert "job" not in problem


def test_columns_named_in_the_config_must_be_there(tmp_path):
    columns = Columns(id="nr", levels={ER: "warmth"}, rationales={IP: "why"})
    message = "no column 'nr', 'warmth', 'why'; its columns are 'seeker_post', 'response_post'"
    assert problems(write_csv(tmp_path / "a.csv", [row()]), columns)[0].startswith(f"a.csv: {message}")
    assert problems(write_jsonl(tmp_path / "a.jsonl", [row(why=None)]), columns) == [
        "a.jsonl: no row has a column 'nr', 'warmth'; correct the name in the config"
    ]
    with pytest.raises(UserError, match=r"columns\.levels: 'warmth' is not one of emotional_reactions"):
        Columns(levels={"warmth": "w"})


def test_csv_rows_that_are_cut_off(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,seeker_post,response_post\na,Hello.,Oh.\nb,He\nc,Hello, you,Oh.\n")
    assert problems(path) == [
        "a.csv, row 2 (line 3): 2 cells where the header names 3; the row is cut off or a cell with a delimiter or a "
        "line break is not quoted",
        "a.csv, row 3 (line 4): 4 cells where the header names 3; the row is cut off or a cell with a delimiter or a "
        "line break is not quoted",
    ]


@pytest.mark.parametrize("end", ['b,"Hello.,Oh.\nc,No,No\n', 'b,"Hello" there,Oh.\n'])
def test_csv_quotes_that_are_wrong(tmp_path, end):
    path = tmp_path / "a.csv"
    path.write_text('id,seeker_post,response_post\na,"He\nllo",\n' + end)
    empty, quote = problems(path)
    assert empty.startswith("a.csv, row 1 (line 2): column 'response_post' is empty")
    assert quote.startswith("a.csv, line 4: the record that begins here can't be read")


def test_wrong_encoding_names_the_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("seeker_post,response_post\nHello,Oh\nJosé,Oh\n".encode("latin-1"))
    assert problems(path) == ["a.csv, line 3: not UTF-8 text; save the file with the encoding UTF-8"]
    path.write_bytes("seeker_post,response_post\nHello,Oh\n".encode("utf-16"))
    assert problems(path) == ["a.csv, line 1: not UTF-8 text; save the file with the encoding UTF-8"]
    path.write_bytes("seeker_post,response_post\nHello,Oh\n".encode("utf-16-le"))
    assert problems(path)[0].startswith("a.csv: the header has NUL bytes; the file is damaged or not UTF-8 text")
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"seeker_post": "José", "response_post": "Oh"}'.encode("latin-1"))
    assert problems(path) == ["a.jsonl, line 1: not UTF-8 text; save the file with the encoding UTF-8"]


def test_parquet_with_broken_text_names_the_rows(tmp_path):
    posts = pa.array([b"Hello"] * 600 + [b"Jos\xe9"], pa.binary())
    table = pa.table({"seeker_post": posts.view(pa.string()), "response_post": [f"Reply {i}" for i in range(601)]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert problems(tmp_path / "a.parquet") == [
        "a.parquet, row 513 or one of the 511 after it: can't be read: the file is damaged or text in it is not UTF-8; "
        "write it anew"
    ]


def test_files_that_are_none(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("seeker_post,response_post\n")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    (tmp_path / "blank.csv").write_text("\n\n")
    (tmp_path / "twice.csv").write_text("seeker_post,id,response_post,id\na,b,c,d\n")
    (tmp_path / "cut.parquet").write_bytes(write_parquet(tmp_path / "a.parquet", [row()]).read_bytes()[:-20])
    write_parquet(
        tmp_path / "none.parquet", [], pa.schema([("seeker_post", pa.string()), ("response_post", pa.string())])
    )
    assert problems(tmp_path / "folder.csv") == ["folder.csv: is a folder; name a file in it"]
    assert problems(tmp_path / "absent.csv") == ["absent.csv: no such file; check the path"]
    assert problems(tmp_path / "empty.csv") == ["empty.csv: the file is empty; make it anew"]
    assert problems(tmp_path / "header.csv") == ["header.csv: the file has no rows"]
    assert problems(tmp_path / "blank.jsonl") == ["blank.jsonl: the file has no rows"]
    assert problems(tmp_path / "blank.csv")[0].startswith(
        "blank.csv: no column 'seeker_post', 'response_post'; its columns"
    )
    assert problems(tmp_path / "none.parquet") == ["none.parquet: the file has no rows"]
    assert problems(tmp_path / "twice.csv") == ["twice.csv: columns 2, 4 (counted from 1) share names; rename them"]
    assert problems(tmp_path / "cut.parquet") == ["cut.parquet: not a whole Parquet file; write it anew"]
    for name in ("a.xlsx", "a.json", "a", "a.csv.gz"):
        assert problems(tmp_path / name) == [
            f"{name}: unknown kind of file; the name must end in one of .csv, .tsv, .jsonl, .ndjson, .parquet"
        ]


# ---------------------------------------------------------------- clinical rows

MARK = "ZQXJ"


def marked_rows():
    """Every cell holds the mark; nearly every one is wrong."""
    yield dict.fromkeys(("seeker_post", "response_post", "id", *MECHANISMS), MARK)
    yield {name: f"{MARK} {name}" for name in ("seeker_post", "response_post")} | {"id": MARK}
    yield {"seeker_post": f"{MARK} \0", "response_post": "", "id": f"{MARK}\0", "group": f"{MARK}\0"}
    yield {"seeker_post": MARK, "response_post": MARK, "levels": f"{{{MARK}", "rationales": MARK}
    yield {
        "seeker_post": MARK,
        "response_post": MARK,
        "levels": f'{{"{MARK}": "{MARK}"}}',
        "rationales": f'{{"{MARK}": 0}}',
    }
    yield {"seeker_post": MARK, "response_post": MARK, f"{ER}_rationales": f'[["{MARK}", 1]]'}
    yield {"seeker_post": MARK, "response_post": MARK, f"{ER}_rationales": f"[[{MARK}"}


HEADER = ["seeker_post", "response_post", "id", "group", *MECHANISMS, "levels", "rationales", f"{ER}_rationales"]


def clinical_files(folder):
    rows = [dict.fromkeys(HEADER, "") | cells for cells in marked_rows()]
    yield write_csv(folder / "rows.csv", rows)
    yield write_jsonl(folder / "rows.jsonl", rows)
    yield write_jsonl(
        folder / "types.jsonl", [row(seeker_post=[MARK], id={MARK: 1}, levels=[MARK], group="\ud800" + MARK)]
    )
    yield write_parquet(folder / "rows.parquet", rows)
    for name, content in {
        "encoding.csv": "seeker_post,response_post\n" + f"{MARK} é,{MARK}\n",
        "encoding.jsonl": json.dumps({"seeker_post": f"{MARK} é"}, ensure_ascii=False),
    }.items():
        (folder / name).write_bytes(content.encode("latin-1"))
        yield folder / name
    for name, content in {
        "headless.csv": f"{MARK} and all that was said in the first hour,{MARK} and the answer that was given to it\n",
        "headless-twice.csv": f"{MARK},{MARK}\n",
        "quote.csv": f'seeker_post,response_post\n"{MARK},{MARK}\n',
        "stray.csv": f'seeker_post,response_post\n"{MARK}"{MARK},{MARK}\n',
        "cells.csv": f"seeker_post,response_post\n{MARK}\n{MARK},{MARK},{MARK}\n",
        "cut.jsonl": json.dumps({"seeker_post": MARK})[:-3] + "\n" + json.dumps(MARK) + "\n" + MARK,
    }.items():
        (folder / name).write_text(content)
        yield folder / name
    posts = pa.array([MARK.encode() + b"\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"seeker_post": posts, "response_post": posts}), folder / "encoding.parquet")
    yield folder / "encoding.parquet"


@pytest.mark.parametrize("read", [read_table, check_table, lambda *args: list(read_rows(*args))])
def test_no_message_quotes_a_clinical_row(tmp_path, read):
    paths = list(clinical_files(tmp_path))
    assert len(paths) == 13
    for path in paths:
        with pytest.raises(DataError) as caught:
            read(path, Columns(), "clinical")
        shown = "".join(traceback.format_exception(caught.value)) + "\n".join(caught.value.problems)
        assert MARK not in shown, path
        assert caught.value.__cause__ is None


def test_other_sources_quote_the_value(tmp_path):
    path = next(clinical_files(tmp_path))
    assert any(MARK in problem for problem in problems(path, source="reddit"))


# ---------------------------------------------------------------- streaming


def test_streams_in_order_and_keeps_duplicates(tmp_path):
    rows = [row(id="a"), row(id="a"), row(id="b", emotional_reactions=1)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert [pair.id for pair in read_rows(path, Columns(), "reddit")] == ["a", "a", "b"]
    assert check_table(path, Columns(), "reddit") == 3


def test_streaming_checks_the_header_at_once_and_a_row_when_it_is_reached(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "absent.csv", Columns(), "reddit")
    with pytest.raises(DataError, match="no column 'seeker_post'"):
        read_rows(write_csv(tmp_path / "a.csv", [{"x": "y"}]), Columns(), "reddit")
    path = write_csv(tmp_path / "b.csv", [row(id="a", explorations="1"), row(id="b", explorations="5")] * 2)
    stream = read_rows(path, Columns(), "reddit")
    assert next(stream).id == "a"
    with pytest.raises(DataError) as error:
        next(stream)
    assert len(error.value.problems) == 1
    with pytest.raises(DataError) as error:
        check_table(path, Columns(), "reddit")
    assert len(error.value.problems) == 2


def test_annotations_can_be_left_unread(tmp_path):
    path = write_csv(tmp_path / "a.csv", [row(explorations="strong"), row(explorations="2")])
    with pytest.raises(DataError, match="row 1 "):
        check_table(path, Columns(), "reddit")
    assert check_table(path, Columns(), "reddit", annotations=False) == 2
    assert [pair.levels for pair in read_rows(path, Columns(), "reddit", annotations=False)] == [{}, {}]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_streaming_takes_constant_memory(tmp_path, suffix):
    """Files of 9 MB, the Parquet one in a single row group, are read with less than 8.5 MB."""
    rows = [row(response_post=f"{i} " + random.Random(i).randbytes(1000).hex()) for i in range(4500)]
    path = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}[suffix](tmp_path / f"a.{suffix}", rows)
    assert path.stat().st_size > 9_000_000
    del rows
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        arrow = max(pa.total_allocated_bytes() for _ in read_rows(path, Columns(), "reddit")) - before
        python = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert python + arrow < 8_500_000


# ---------------------------------------------------------------- any rows survive the way through a file

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
POSTS = ANY_TEXT.filter(str.strip)
NAMES = POSTS


@st.composite
def any_pairs(draw, source):
    pairs = []
    for seeker, response in draw(st.lists(st.tuples(POSTS, POSTS), min_size=1, max_size=6, unique=True)):
        starts = st.integers(0, len(response) - 1)
        end = len(response)
        span = starts.flatmap(lambda start, end=end: st.tuples(st.just(start), st.integers(start + 1, end)))
        spans = st.lists(span, min_size=1, max_size=3, unique=True).map(sorted)
        pair = Pair(
            id=draw(NAMES),
            source=source,
            seeker_post=seeker,
            response_post=response,
            group=draw(st.just("") | NAMES),
            generator=draw(NAMES) if source == "synthetic" else "",
            levels=draw(st.dictionaries(st.sampled_from(MECHANISMS), st.integers(0, 2))),
            rationales=draw(st.dictionaries(st.sampled_from(MECHANISMS), spans)),
        )
        if pair.uid not in {other.uid for other in pairs}:
            pairs.append(pair)
    return pairs


def flat(pair, missing):
    """A pair as a row of plain columns."""
    cells = {field: getattr(pair, field) for field in ("id", "group", "generator", "seeker_post", "response_post")}
    for mechanism in MECHANISMS:
        cells[mechanism] = pair.levels.get(mechanism, missing)
        spans = pair.rationales.get(mechanism)
        cells[f"{mechanism}_rationales"] = missing if spans is None else [list(span) for span in spans]
    return cells


PARQUET_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "group", "generator", "seeker_post", "response_post")]
    + [(mechanism, pa.float64()) for mechanism in MECHANISMS]
    + [(f"{mechanism}_rationales", pa.list_(pa.list_(pa.int64()))) for mechanism in MECHANISMS]
)


@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_are_read_as_they_were_written(tmp_path, source, data):
    pairs = data.draw(any_pairs(source))
    as_text = [
        {key: json.dumps(cell) if isinstance(cell, list) else cell for key, cell in flat(pair, "").items()}
        for pair in pairs
    ]
    (tmp_path / "own.jsonl").write_text("".join(pair.to_json() + "\n" for pair in pairs), encoding="utf-8")
    for path in (
        tmp_path / "own.jsonl",
        write_csv(tmp_path / "a.csv", as_text),
        write_csv(tmp_path / "a.tsv", as_text, delimiter="\t"),
        write_csv(tmp_path / "semicolons.csv", as_text, delimiter=";"),
        write_csv(tmp_path / "tabs.csv", as_text, delimiter="\t"),
        write_jsonl(tmp_path / "a.jsonl", [flat(pair, None) for pair in pairs]),
        write_parquet(tmp_path / "a.parquet", [flat(pair, None) for pair in pairs], PARQUET_SCHEMA),
    ):
        read, report = read_table(path, Columns(), source)
        assert read == pairs
        assert (report.rows, report.dropped) == (len(pairs), {})
        assert list(read_rows(path, Columns(), source)) == pairs


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode), header=st.booleans())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_any_bytes_are_read_or_refused_with_the_file_named(tmp_path, suffix, content, header):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"seeker_post,response_post\n" * header + content)
    try:
        pairs, report = read_table(path, Columns(), "clinical")
    except DataError as error:
        found = error.problems
    else:
        found = [str(path)] * (len(pairs) == report.rows - sum(report.dropped.values()) > 0)
    assert found
    assert all(problem.startswith(str(path)) for problem in found)
