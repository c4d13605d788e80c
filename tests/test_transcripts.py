"""Transcripts to pairs: every format, the rule, who is who, and what can't be read."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.transcript_formats import TranscriptColumns, Turn, read_transcript
from datamodules.sources.transcript_labels import Names
from datamodules.sources.transcript_pairs import Session, guess_roles, make_pairs, split_sessions
from datamodules.sources.transcripts import main
from errors import DataError, UserError

PLAIN = """\
Intake, first meeting
00:00:01 Therapist: What brings you here?
[00:00:09] Client: I don't sleep.
It began at 3:00 one night.

I told him: go away.
Therapist: Mm-hm.
Client: And then
00:01:10
I stopped eating.
THERAPIST:
That sounds exhausting.
Therapist: Who knows about this?
Client: Nobody.
"""

VTT = """\
WEBVTT - a meeting

NOTE made by a recorder

1
00:00:01.000 --> 00:00:04.000 align:start
<v Dr. Ada>How was <i>your</i> week?

00:00:04.500 --> 00:00:08.000
<v.loud Ben>Bad &amp; long.</v>
<v Dr. Ada>Long?

00:00:08.000 --> 00:00:09.000
<v Ben>Endless,
really.
"""


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _turns(path: Path, **names) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in read_transcript(path, TranscriptColumns(), Names(**names)).turns]


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_plain_text(tmp_path):
    transcript = read_transcript(_file(tmp_path, "a.txt", PLAIN), TranscriptColumns(), Names())
    assert [(turn.speaker, turn.text) for turn in transcript.turns] == [
        ("Therapist", "What brings you here?"),
        ("Client", "I don't sleep. It began at 3:00 one night. I told him: go away."),
        ("Therapist", "Mm-hm."),
        ("Client", "And then I stopped eating."),
        ("THERAPIST", "That sounds exhausting."),
        ("Therapist", "Who knows about this?"),
        ("Client", "Nobody."),
    ]
    assert transcript.unclear == 1  # "I told him"
    assert transcript.without_speaker == 1  # "Intake, first meeting"


TIGHT = """\
T:Hello there
C: I lost my job at

12:30 or so.
T:That is hard
C:
yes :)
00:01:10 T:why?
"""


@pytest.mark.parametrize("encode", [str.encode, lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()])
@pytest.mark.parametrize("names", [{}, {"given": {"t", "c"}}], ids=["repeated", "given"])
def test_names_without_a_space_after_the_colon(tmp_path, encode, names):
    path = tmp_path / "a.txt"
    path.write_bytes(encode(TIGHT))
    assert _turns(path, **names) == [
        ("T", "Hello there"),
        ("C", "I lost my job at 12:30 or so."),
        ("T", "That is hard"),
        ("C", "yes :)"),
        ("T", "why?"),
    ]


@pytest.mark.parametrize("name", ["Therapist (Ada)", "1", "Dr. Anna Maria von Trapp", "Weiß, Ada", "Dr: Ada", "?"])
@pytest.mark.parametrize("space", ["", " "])
def test_a_given_name_is_found_whatever_it_is_made_of(tmp_path, name, space):
    text = f"{name.upper()}:{space}Hello\nC:{space}So I went.\n[00:02] {name} (00:02:03) :{space}Where?\n"
    path = _file(tmp_path, "a.txt", text)
    assert _turns(path, given={name.casefold(), "c"}) == [
        (name.upper(), "Hello"),
        ("C", "So I went."),
        (name, "Where?"),
    ]


@pytest.mark.parametrize(
    ("said", "unclear"),
    [
        ("at 12:30\nat 12:45", 0),
        ("https://a.org\nhttps://b.org", 0),
        ("thanks :)\nthanks :)", 0),
        ("1:20 years\n1:20", 1),  # of the speaker 1, or a time
        ("That is what my mother said: go\nthat is what my mother said: go", 2),
        ("he said:go", 1),
        ("T1:20 years", None),
        ("A 00:02:30 away", 0),
    ],
)
def test_colons_of_times_and_addresses_begin_no_turn(tmp_path, said, unclear):
    text = f"T1: Well?\n1: So.\n{said}\nT1: Hm.\nA: Yes.\n"
    transcript = read_transcript(_file(tmp_path, "a.txt", text), TranscriptColumns(), Names({"t1", "1", "a"}))
    turns = [("T1", "Well?"), ("1", "So."), ("T1", "Hm."), ("A", "Yes.")]
    if unclear is None:
        turns.insert(2, ("T1", "20 years"))
    else:
        turns[1] = ("1", "So. " + " ".join(line for line in said.split("\n") if line != "1:20"))
    assert [(turn.speaker, turn.text) for turn in transcript.turns] == turns
    assert transcript.unclear == (unclear or 0)


AROUND = [
    *("Client (crying):", "Client (crying, softly):", "Client [crying]:", "Client <crying>:", "Client, crying:"),
    *("[crying] Client:", "(pause) Client:", "[Client] (crying):", "[Client]:", "(Client):", "CLIENT [00:05] (low):"),
    *(
        "- Client:",
        "– Client:",
        '"Client:',
        "> **Client**:",
        "Client\uff1a",
        "#12 Client:",
        "12. Client:",
        "12) Client:",
    ),
    *("[00:00:05 - 00:00:06] Client:", "00:05 | Client:", "(00:05): Client:", "00:00:05.000 --> 00:00:06.000 Client:"),
]


@pytest.mark.parametrize("names", [{}, {"given": {"client", "t"}}], ids=["found", "given"])
@pytest.mark.parametrize("around", AROUND)
def test_a_known_name_with_something_around_it_begins_a_turn(tmp_path, around, names):
    text = f"T: Hm.\nClient: Bad.\nT: Why?\n{around} I lost him: my friend.\n{around} Gone.\nT: Oh.\nClient: Yes.\n"
    transcript = read_transcript(_file(tmp_path, "a.txt", text), TranscriptColumns(), Names(**names))
    said = [(turn.speaker.capitalize(), turn.text) for turn in transcript.turns]
    assert said[2:5] == [("T", "Why?"), ("Client", "I lost him: my friend."), ("Client", "Gone.")]
    assert transcript.unclear == 0


@pytest.mark.parametrize(
    ("line", "unclear"),
    [
        ("Jane Doe said: no.", 1),
        ("I heard what (so to say) Jane Doe, then at home, said: no.", 1),
        ("Jane Doe, listen: go on.", 1),
        ("Jane Doe's mother: no.", 1),
        ("(Jane Doe: mm)", 1),
        ("Jane Doe - I lost him.", 1),
        ("[low] JANE DOE", 1),
        ("- C", 1),
        ("C, crying", 1),
        ("C'est la vie, and C-reactive", 0),
        ("C major is what Jane Doe plays.", 0),
        ("Jane Doe's mother", 0),
        ("Jane Doering was there.", 0),
    ],
)
def test_a_known_name_that_begins_no_turn_is_counted(tmp_path, line, unclear):
    text = f"C: Hm.\nJane Doe: Bad.\nC: Why?\n{line}\nJane Doe: Yes.\n"
    transcript = read_transcript(_file(tmp_path, "a.txt", text), TranscriptColumns(), Names({"jane doe"}))
    assert [turn.text for turn in transcript.turns] == ["Hm.", "Bad.", f"Why? {line}", "Yes."]
    assert transcript.unclear == unclear


def test_names_in_other_code_points(tmp_path):
    path = _file(tmp_path, "a.txt", "E\u0301lise: So.\nT: Hm.\nT: Oh.\n")
    argv = [str(path), "--output", str(tmp_path / "o.jsonl"), "--seekers", "\u00c9lise", "--supporters", "T"]
    assert main(argv) == 0
    (row,) = _rows(tmp_path / "o.jsonl")
    assert (row["seeker_post"], row["response_post"]) == ("So.", "Hm. Oh.")


def test_head_lines_are_no_turns(tmp_path):
    head = "Therapist: Dr. Smith\nClient: J. D.\n"
    said = "T: Hello.\nC: Bad.\nT: Why?\nC: So.\n"
    transcript = read_transcript(_file(tmp_path, "a.txt", head + said), TranscriptColumns(), Names())
    assert [turn.text for turn in transcript.turns] == ["Hello.", "Bad.", "Why?", "So."]
    assert transcript.without_speaker == 2
    assert len(_turns(_file(tmp_path, "b.txt", head + said), given={"therapist", "client"})) == 6
    assert len(_turns(_file(tmp_path, "c.txt", "Client: Bad.\nT: Why?\nT: When?\n"))) == 3
    assert len(_turns(_file(tmp_path, "d.txt", said + head))) == 6


def test_web_vtt(tmp_path):
    assert _turns(_file(tmp_path, "a.vtt", VTT)) == [
        ("Dr. Ada", "How was your week?"),
        ("Ben", "Bad & long."),
        ("Dr. Ada", "Long?"),
        ("Ben", "Endless, really."),
    ]


def test_web_vtt_with_names_before_colons(tmp_path):
    cue = "\n\n00:00:01.000 --> 00:00:02.000\n"
    text = f"WEBVTT{cue}Ada: Hello{cue}there.{cue}Ben: Hi.{cue}Ada: So?{cue}Ben: Well.\n".replace("\n", "\r\n")
    found = [("Ada", "Hello there."), ("Ben", "Hi."), ("Ada", "So?"), ("Ben", "Well.")]
    assert _turns(_file(tmp_path, "a.vtt", text)) == found


def test_web_vtt_text_outside_cues_is_counted(tmp_path):
    path = _file(tmp_path, "a.vtt", VTT + "\nand so on\nand on\n")
    assert read_transcript(path, TranscriptColumns(), Names()).without_speaker == 2


def test_tables_with_sessions(tmp_path):
    path = _file(
        tmp_path, "a.csv", 'who,said,visit\nC,"I, well,\nam lost.",1\nT,Where?,1\nC,Here.,2\nT, ,2\nT,I see.,2\n'
    )
    turns = read_transcript(path, TranscriptColumns("who", "said", "visit"), Names()).turns
    assert turns == [
        Turn("1", "C", "I, well, am lost."),
        Turn("1", "T", "Where?"),
        Turn("2", "C", "Here."),
        Turn("2", "T", "I see."),
    ]
    sessions = split_sessions(path, turns, keep_names=True)
    assert [(session.name, len(session.turns)) for session in sessions] == [("1", 2), ("2", 2)]


def test_names_are_pseudonyms_that_hang_on_the_text_alone(tmp_path):
    turns = [Turn("", "C", "I am lost.")]
    (first,) = split_sessions(tmp_path / "Jane Doe.txt", turns, keep_names=False)
    (second,) = split_sessions(tmp_path / "other.txt", turns, keep_names=False)
    assert first.name == second.name
    assert first.name.startswith("session-")
    assert "Jane" not in first.name


ROLES = {"t": "supporter", "c": "seeker", "m": "other"}


def _pairs(turns: str, **kwargs):
    said = [Turn("", line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in turns.split("|")]
    pairs, counts = make_pairs(Session(Path("x"), "s", said), ROLES, **kwargs)
    return [(pair.seeker_post, pair.response_post) for pair in pairs], pairs, counts


def test_the_rule():
    texts, pairs, counts = _pairs("T hello|C I am|M no|C sad|T oh|T why so|C rain|T mm|C all day|T it pours|C yes")
    assert texts == [("I am sad", "oh why so"), ("rain", "mm"), ("all day", "it pours")]
    assert counts == {"turns": 11, "pairs": 3, "other_speakers": 1, "backchannels": 0, "opening": 1, "unanswered": 1}
    assert [(pair.id, pair.group, pair.source) for pair in pairs] == [
        ("s-001", "s", "clinical"),
        ("s-002", "s", "clinical"),
        ("s-003", "s", "clinical"),
    ]


def test_backchannels_let_the_seeker_go_on():
    texts, _, counts = _pairs("C I am|T mm|C sad|T oh|T why so|C rain|T mm", min_words=2)
    assert texts == [("I am sad", "why so")]
    assert counts["backchannels"] == 3
    assert counts["unanswered"] == 1


def test_a_session_of_nothing_but_backchannels_makes_no_pair():
    texts, _, counts = _pairs("T mm|T hm", min_words=2)
    assert texts == []
    assert counts["opening"] == 0


@given(st.lists(st.tuples(st.sampled_from("TCM"), st.sampled_from(["a", "b c"])), max_size=15), st.integers(0, 2))
def test_every_word_is_in_a_pair_or_left_out_by_the_rule(said, min_words):
    turns = [Turn("", name, text) for name, text in said]
    pairs, counts = make_pairs(Session(Path("x"), "s", turns), ROLES, min_words=min_words)
    kept = [
        turn for turn in turns if turn.speaker == "C" or (turn.speaker == "T" and len(turn.text.split()) >= min_words)
    ]
    while kept and counts["opening"] and kept[0].speaker == "T":
        kept.pop(0)
    while kept and counts["unanswered"] and kept[-1].speaker == "C":
        kept.pop()
    assert " ".join(f"{pair.seeker_post} {pair.response_post}" for pair in pairs) == " ".join(t.text for t in kept)
    assert len(turns) - counts["other_speakers"] - counts["backchannels"] >= len(kept)


@pytest.mark.parametrize(
    ("said", "roles"),
    [
        ([("Therapist 1", "Hm."), ("Anna", "What?")], {"therapist 1": "supporter", "anna": "seeker"}),
        ([("P", "Hm."), ("K", "Hm.")], {"p": "seeker", "k": "supporter"}),
        ([("Therapeut", "Hm."), ("Klient", "Was?")], {"therapeut": "supporter", "klient": "seeker"}),
        ([("Beraterin A", "Hm."), ("Ratsuchende", "Was?")], {"beraterin a": "supporter", "ratsuchende": "seeker"}),
        ([("A\u0308RZTIN", "Hm."), ("Patientin", "Was?")], {"ärztin": "supporter", "patientin": "seeker"}),
        ([("Thérapeute", "Hm."), ("Cliente", "Quoi?")], {"thérapeute": "supporter", "cliente": "seeker"}),
        ([("Therapy", "Hm."), ("B", "Why?")], {"therapy": "seeker", "b": "supporter"}),
        ([("A", "Why? When?"), ("B", "So."), ("A", "Oh.")], {"a": "supporter", "b": "seeker"}),
        ([("A", "Why?"), ("B", "What?")], {}),
        ([("Client", "Hm."), ("A", "Why?"), ("B", "Oh.")], {"client": "seeker"}),
        ([("Client doctor", "Why?"), ("B", "Oh.")], {"client doctor": "supporter", "b": "seeker"}),
    ],
)
def test_guesses(said, roles):
    assert guess_roles([Turn("", name, text) for name, text in said]) == roles


def test_who_is_known_says_who_the_other_is():
    turns = [Turn("", name, text) for name, text in (("Ann", "Why? Now?"), ("Ben", "So."), ("Ann", "Oh."))]
    assert guess_roles(turns) == {"ann": "supporter", "ben": "seeker"}
    assert guess_roles(turns, {"ben": "supporter", "eve": "other"}) == {"ann": "seeker", "ben": "supporter"}
    assert guess_roles(turns, {"ann": "seeker"}) == {"ann": "seeker", "ben": "supporter"}
    assert guess_roles(turns, {"ann": "other"}) == {"ann": "other"}


def test_command_with_names_given(tmp_path, capsys):
    first = _file(tmp_path, "one.txt", PLAIN)
    second = _file(tmp_path, "two.vtt", VTT)
    output = tmp_path / "rows" / "out.jsonl"
    argv = [str(first), str(second), "--output", str(output), "--min_words", "2", "--keep_names"]
    assert main([*argv, "--seekers", "client", "Ben", "--supporters", "Therapist", "dr. ada"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{output}\n"
    assert (
        "1 pairs of 2 sessions from 11 turns; left out: 0 other_speakers, 2 backchannels, 2 opening, 2 unanswered, "
        "1 lines_without_speaker"
    ) in err
    assert f"{first}: 1 lines stand before the first speaker's turn" in err
    assert f"{first}: 1 lines begin with what may be a name before a colon, or with a speaker's; they were read" in err
    (row,) = _rows(output)
    assert row == {
        "id": "one-001",
        "source": "clinical",
        "group": "one",
        "seeker_post": ("I don't sleep. It began at 3:00 one night. I told him: go away. And then I stopped eating."),
        "response_post": "That sounds exhausting. Who knows about this?",
    }


def test_nobody_to_confirm_the_guess(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    argv = [str(_file(tmp_path, "one.txt", PLAIN)), "--output", str(tmp_path / "out.jsonl")]
    with pytest.raises(UserError, match="--accept_guess"):
        main(argv)
    assert "Therapist: supporter (3 turns" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
    assert main([*argv, "--accept_guess"]) == 0
    assert "Therapist: supporter (3 turns" in capsys.readouterr().err
    assert len(_rows(tmp_path / "out.jsonl")) == 2


def test_a_speaker_without_a_role_is_refused(tmp_path):
    text = PLAIN + "Mother: I agree.\nTherapist: Yes?\nMother: Yes.\n"
    with pytest.raises(DataError, match=r"one.txt: who is 'Mother' \(2 turns\)"):
        main([str(_file(tmp_path, "one.txt", text)), "--output", str(tmp_path / "out.jsonl"), "--accept_guess"])


def test_words_that_are_no_speaker(tmp_path):
    text = "A: One thing: no.\nB: Why?\nPoint one: this.\nA: So.\nB: Hm.\nPoint one: that.\n"
    path = _file(tmp_path, "one.txt", text)
    assert _turns(path)[2] == ("Point one", "this.")
    assert _turns(path, not_speakers={"point one"})[1] == ("B", "Why? Point one: this.")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"A: x\0\nA: y", "NUL bytes"),
        ("a.txt", b"A: \xff\nA: y", "not UTF-8"),
        ("a.txt", b"nobody speaks here", "no speaker's name found"),
        ("a.vtt", b"A: x\nA: y\n", "must begin with 'WEBVTT'"),
        ("a.csv", b"who,text\nA,x\n", "no column 'speaker'"),
        ("a.csv", b"speaker,text\n,secret words\n", "row 1 .line 2.: column 'speaker' is empty"),
        ("a.csv", b"speaker,text\nA\n", "1 cells where the header names 2"),
        ("a.jsonl", b'{"speaker": "A", "text": 3}\n', "column 'text' is of type int"),
        ("a.doc", b"A: x", "unknown kind of file"),
        ("missing.txt", None, "no such file"),
        ("folder.txt", "folder", "is a folder"),
    ],
)
def test_unusable_files(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        main([str(path), "--output", str(tmp_path / "out.jsonl"), "--accept_guess"])
    assert str(path) in str(error.value)
    assert "secret" not in str(error.value)
    assert not list(tmp_path.glob("out*"))


def test_all_problems_at_once(tmp_path):
    with pytest.raises(DataError) as error:
        main([str(tmp_path / "a.txt"), str(tmp_path / "b.vtt"), "--output", str(tmp_path / "o")])
    assert len(error.value.problems) == 2


def test_the_same_session_twice(tmp_path):
    files = [str(_file(tmp_path, name, PLAIN)) for name in ("a.txt", "b.txt")]
    argv = [*files, "--output", str(tmp_path / "o.jsonl"), "--accept_guess"]
    with pytest.raises(DataError, match=r"b.txt: session session-\w+ is in .*a.txt too.*leave out one.*--keep_names"):
        main(argv)
    assert main([*argv, "--keep_names"]) == 0
    assert {row["group"] for row in _rows(tmp_path / "o.jsonl")} == {"a", "b"}
    (tmp_path / "more").mkdir()
    more = str(_file(tmp_path / "more", "a.txt", PLAIN))
    with pytest.raises(DataError, match=r"more/a.txt: session a is in .*a.txt too; rename one"):
        main([files[0], more, "--output", str(tmp_path / "p.jsonl"), "--accept_guess", "--keep_names"])


def test_the_same_session_twice_in_a_table(tmp_path):
    path = _file(tmp_path, "a.csv", "speaker,text,session\nC,Hm.,1\nT,Oh.,1\nC,Hm.,2\nT,Oh.,2\n")
    with pytest.raises(DataError, match=r"a.csv, session '2': session session-\w+ is in .*a.csv, session '1' too"):
        main([str(path), "--output", str(tmp_path / "o.jsonl"), "--accept_guess"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--seekers", "Client", "Typo"], r"'Typo' speaks in no file; the speakers there are .*'Client'.*: correct"),
        (["--others", "typo"], "'typo' speaks in no file"),
        (["--min_words", "-3"], "--min_words -3: give a number of words, 0 or more"),
    ],
)
def test_options_that_can_t_be_meant(tmp_path, option, message):
    path = str(_file(tmp_path, "a.txt", PLAIN))
    with pytest.raises(UserError, match=message):
        main([path, "--output", str(tmp_path / "o.jsonl"), "--accept_guess", *option])
    assert not (tmp_path / "o.jsonl").exists()


def test_an_output_that_is_there_is_kept(tmp_path):
    output = _file(tmp_path, "o.jsonl", "mine")
    with pytest.raises(UserError, match="there is such a file"):
        main([str(_file(tmp_path, "a.txt", PLAIN)), "--output", str(output), "--accept_guess"])
    assert output.read_text() == "mine"


def test_one_name_with_two_roles(tmp_path):
    with pytest.raises(UserError, match="has the role seeker already"):
        main(["x.txt", "--output", "o", "--seekers", "Ann", "--supporters", "ann "])
