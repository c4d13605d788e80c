import csv
import dataclasses
import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodules.records import MECHANISMS, Pair
from datamodules.sources.epitome import FILES, read_epitome
from errors import DataError

ER, IP, EX = MECHANISMS
HEADER = ["sp_id", "rp_id", "seeker_post", "response_post", "level", "rationales"]
SEEKER = "My dog died."
REPLY = "I am so sorry. I lost mine too. Was he old?"


def write_file(folder, mechanism, rows):
    with (folder / FILES[mechanism]).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def write(folder, emotional_reactions=(), interpretations=(), explorations=()):
    for mechanism, rows in zip(MECHANISMS, (emotional_reactions, interpretations, explorations), strict=True):
        write_file(folder, mechanism, rows)
    return folder


def row(ids, level, rationales="", seeker=SEEKER, response=REPLY):
    return [*ids, seeker, response, level, rationales]


def problems(folder):
    with pytest.raises(DataError) as error:
        read_epitome(folder)
    return [problem.replace(f"{folder}/", "").replace("-reddit.csv", "") for problem in error.value.problems]


def test_three_files_become_one_row_a_pair(tmp_path):
    write(
        tmp_path,
        [row("ab", 1, "I am so sorry.|"), row("cd", 0, "", "Hello?", "Hello.")],
        # other white space and a word left out: the text of the first file counts
        [row("ab", 2, "I lost mine too", response="I am so sorry.  I lost mine too. Was he very old?"), row("cd", 0)],
        [
            row("ab", 2, "Was  he very old?", response="I am so sorry.  I lost mine too. Was  he very old?"),
            row("cd", 1, "x"),
        ],
    )
    pairs, report = read_epitome(tmp_path)
    assert pairs == [
        Pair(
            id="a_b",
            source="reddit",
            seeker_post=SEEKER,
            response_post=REPLY,
            levels={ER: 1, IP: 2, EX: 2},
            rationales={ER: [(0, 14)], IP: [(15, 30)]},
        ),
        Pair("c_d", "reddit", "Hello?", "Hello.", levels={ER: 0, IP: 0, EX: 1}),
    ]
    assert report.path == str(tmp_path)
    assert (
        report.sha256 == hashlib.sha256(b"".join((tmp_path / name).read_bytes() for name in FILES.values())).hexdigest()
    )
    assert (report.rows, report.dropped) == (2, {})
    assert report.counts == {"differing_texts": 2, "without_rationale_explorations": 2}
    assert report.rationales == {
        "given": 4,
        "offsets": 0,
        "placed_exact": 2,
        "placed_loose": 0,
        "placed_aligned": 0,
        "unplaced": 2,
        f"{ER}/given": 1,
        f"{ER}/placed_exact": 1,
        f"{IP}/given": 1,
        f"{IP}/placed_exact": 1,
        f"{EX}/given": 2,
        f"{EX}/unplaced": 2,
    }
    json.dumps(dataclasses.asdict(report))


def test_rationales_are_placed_by_each_rule(tmp_path):
    reply = "So sorry &lt;3. I was there for a year, too. Write me if you like."
    theirs = "So  sorry &lt;3.  I was there in LA for a year, too.  Write me if you like."
    write(
        tmp_path,
        [row("ab", 2, "So sorry <3|Write me if you like", response=reply)],
        [row("ab", 1, "I was there in LA for a year, too.", response=theirs)],
        [row("ab", 0, response=theirs)],
    )
    [pair], report = read_epitome(tmp_path)
    assert {m: [reply[slice(*span)] for span in spans] for m, spans in pair.rationales.items()} == {
        ER: ["So sorry &lt;3", "Write me if you like"],
        IP: ["I was there for a year, too."],
    }
    assert {key: n for key, n in report.rationales.items() if "/" not in key and n} == {
        "given": 3,
        "placed_exact": 1,
        "placed_loose": 1,
        "placed_aligned": 1,
    }


def test_a_rationale_is_placed_where_its_own_file_has_it(tmp_path):
    reply = "Ann: we are here for you all day yes. Bob: we are here for you all day ok."
    theirs = reply.replace("day ok", "day long ok")
    said = "we are here for you all day long"
    write(
        tmp_path, [row("ab", 0, response=reply)], [row("ab", 1, said, response=theirs)], [row("ab", 0, response=reply)]
    )
    assert read_epitome(tmp_path)[0][0].rationales == {IP: [(43, 70)]}


def test_files_are_matched_by_ids_not_by_position(tmp_path):
    write(
        tmp_path,
        [row("ab", 1), row("cd", 0)],
        [row("cd", 2), row("ef", 1, response="Only here."), row("ab", 0)],
        [row("gh", 2, response="And here."), row("ef", 0, response="Here with  a word more.")],
    )
    pairs, report = read_epitome(tmp_path)
    assert [(pair.id, pair.response_post, pair.levels) for pair in pairs] == [
        ("a_b", REPLY, {ER: 1, IP: 0}),
        ("c_d", REPLY, {ER: 0, IP: 2}),
        ("e_f", "Only here.", {IP: 1, EX: 0}),
        ("g_h", "And here.", {EX: 2}),
    ]
    assert report.rows == 4
    assert {key: n for key, n in report.counts.items() if key.startswith("missing")} == {
        f"missing_{ER}": 2,
        f"missing_{IP}": 1,
        f"missing_{EX}": 2,
    }


def test_pairs_annotated_more_than_once(tmp_path):
    write(
        tmp_path,
        # ab: the same twice; cd: of two levels the higher; ef: the most frequent of three, its rationales joined
        [
            row("ab", 1, "sorry"),
            row("ab", 1, "sorry"),
            row("cd", 0),
            row("cd", 2, "sorry"),
            row("ef", 1, "so sorry|old?"),
            row("ef", 2, "I lost mine"),
            row("ef", 1, "am so|mine too"),
        ],
        [row("ab", 0), row("ab", 0), row("cd", 2, "lost"), row("cd", 1, "mine"), *[row("ef", 0)] * 3],
        [row("ab", 0), row("ab", 0), row("cd", 0), row("cd", 0), *[row("ef", 0)] * 3],
    )
    pairs, report = read_epitome(tmp_path)
    assert [(pair.id, pair.levels, pair.rationales) for pair in pairs] == [
        ("a_b", {ER: 1, IP: 0, EX: 0}, {ER: [(8, 13)]}),
        ("c_d", {ER: 2, IP: 2, EX: 0}, {ER: [(8, 13)], IP: [(17, 21)]}),
        ("e_f", {ER: 1, IP: 0, EX: 0}, {ER: [(2, 13), (22, 30), (39, 43)]}),
    ]
    assert report.rows == 7
    assert report.dropped == {"duplicate": 1, "annotated_twice": 3}
    assert report.counts == {f"disagreeing_{ER}": 2, f"disagreeing_{IP}": 1}
    assert report.rationales["given"] == 1 + 1 + 1 + 4  # a repeated annotation counts once, those overruled don't


def test_a_pair_is_a_duplicate_only_if_all_three_files_say_the_same(tmp_path):
    write(tmp_path, [row("ab", 0)] * 2, [row("ab", 0)] * 2, [row("ab", 1, "Was he"), row("ab", 1, "old")])
    [pair], report = read_epitome(tmp_path)
    assert report.dropped == {"annotated_twice": 1}
    assert report.counts == {}
    assert pair.rationales == {EX: [(32, 38), (39, 42)]}


def test_all_problems_of_all_files_at_once(tmp_path):
    write(
        tmp_path,
        [row("ab", 3), row("cd", "strong"), row("ef", 1, response=" ")],
        [row(("", "b"), 1), row("cd", ""), row("ef", 1)[:4]],
        [row("ab", 1), row("cd", 0, seeker="a\0")],
    )
    with (tmp_path / FILES[EX]).open("a") as file:
        file.write('g,h,"never closed\n')
    assert problems(tmp_path) == [
        "emotional-reactions, row 1 (line 2): column 'level': level 3 is not 0 (none), 1 (weak) or 2 (strong)",
        "emotional-reactions, row 2 (line 3): column 'level': level 'strong' is not 0 (none), 1 (weak) or 2 (strong)",
        "emotional-reactions, row 3 (line 4): column 'response_post' is empty; give the text or take the row out",
        "interpretations, row 1 (line 2): column 'sp_id' is empty",
        "interpretations, row 2 (line 3): column 'level' is empty; give 0 (none), 1 (weak) or 2 (strong)",
        "interpretations, row 3 (line 4): 4 cells where the header names 6; the row is cut off or a cell with "
        "a delimiter or a line break is not quoted",
        "explorations, row 2 (line 3): column 'seeker_post' has a NUL byte; the file is damaged or is not text",
        "explorations, line 4: the record that begins here can't be read (unexpected end of data): a quote "
        "left open, a stray quote or a truncated file; close the quote (a quote within quotes is doubled) or write the "
        "file anew",
    ]


def test_files_that_are_missing_or_no_such_files(tmp_path):
    assert problems(tmp_path / "absent")[0].endswith(
        "absent: no such folder; `python cli.py prepare epitome` makes one with the three files"
    )
    write_file(tmp_path, ER, [])
    (tmp_path / FILES[EX]).write_text("sp_id,rp_id,post,response_post,level\n")
    assert problems(tmp_path) == [
        "emotional-reactions: the file has no rows",
        "interpretations: no such file; check the path",
        "explorations: no column seeker_post, rationales; the header must be "
        "sp_id,rp_id,seeker_post,response_post,level,rationales",
    ]


ANNOTATIONS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["", "sorry", "so sorry", "lost|old", "mine too"])),
    min_size=1,
    max_size=8,
)


@given(files=st.tuples(ANNOTATIONS, ANNOTATIONS, ANNOTATIONS), data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_rows_changes_nothing_but_the_order_of_pairs(tmp_path, files, data):
    def read(files):
        write(tmp_path, *([row(f"s{pair}", level, text) for pair, level, text in rows] for rows in files))
        return read_epitome(tmp_path)

    pairs, report = read(files)
    assert len(pairs) == len({pair for rows in files for pair, *_ in rows})
    assert report.rows - sum(report.dropped.values()) == len(pairs)
    assert report.rationales["given"] == sum(report.rationales[f"placed_{r}"] for r in ("exact", "loose", "aligned"))
    again, other = read([data.draw(st.permutations(rows)) for rows in files])
    assert sorted(again, key=lambda pair: pair.id) == sorted(pairs, key=lambda pair: pair.id)
    assert (other.rows, other.counts, other.rationales) == (report.rows, report.counts, report.rationales)
