"""Session transcripts to pairs: `python cli.py prepare transcripts FILES... --output FILE.jsonl` (the rule: `RULE`)."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from datamodules.files import replacing_path
from datamodules.records import Pair
from datamodules.sources.transcript_formats import TranscriptColumns, Turn, folded, read_turns
from errors import DataError, UserError

__all__ = ["RULE", "Role", "Session", "guess_roles", "main", "make_pairs", "split_sessions"]

Role = Literal["seeker", "supporter", "other"]

RULE = """Turns of other speakers are left out. A supporter's turn of fewer than --min_words words is a backchannel
("mm-hm"): it is left out too, so that the seeker goes on. Then what one side says in a row is one turn, and each
supporter turn with the seeker turn right before it is a pair. A supporter who opens the session answers nobody, and a
seeker's last turn has no answer: neither makes a pair. All pairs of a session are one group. What is left out is
counted. Nothing leaves the machine."""

_SUPPORTERS = frozenset(
    (
        *(
            "advisor",
            "clinician",
            "coach",
            "counselor",
            "counsellor",
            "doctor",
            "dr",
            "helper",
            "interviewer",
            "listener",
        ),
        *(
            "nurse",
            "provider",
            "psychiatrist",
            "psychologist",
            "psychotherapist",
            "supporter",
            "therapist",
            "volunteer",
        ),
        *("t", "th"),
    )
)
_SEEKERS = frozenset(
    ("caller", "client", "member", "participant", "patient", "seeker", "user", "visitor", "c", "cl", "p", "pt")
)


@dataclass(frozen=True)
class Session:
    """One session.

    Args:
        path: The file.
        name: What the group and the ids of its pairs are called.
        turns: What was said, in order.
    """

    path: Path
    name: str
    turns: Sequence[Turn]


def split_sessions(path: Path, turns: Sequence[Turn], *, keep_names: bool) -> list[Session]:
    """The sessions of a file in the order in which they begin.

    Args:
        path: The file.
        turns: Its turns.
        keep_names: Call sessions what the file's session column, or else the file's name without its ending, calls
            them. Otherwise they are called by a hash of what is said in them: names of files often name people.

    Returns:
        The sessions.
    """
    by_session: dict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        by_session[turn.session].append(turn)
    sessions = []
    for given, own in by_session.items():
        said = "\n".join(f"{turn.speaker}\0{turn.text}" for turn in own)
        pseudonym = f"session-{hashlib.sha256(said.encode()).hexdigest()[:10]}"
        sessions.append(Session(path, (given or path.stem) if keep_names else pseudonym, own))
    return sessions


def guess_roles(turns: Sequence[Turn]) -> dict[str, Role]:
    """Who helps and who seeks help, by what the speakers are called, else by who asks.

    A name with a word such as "therapist" or "client" says it. Where one of two speakers is known, the other has the
    other role. Where neither is, the one with the larger share of turns with a question mark is the supporter.

    Args:
        turns: The turns of one file.

    Returns:
        Folded name -> role, without those for whom there is no guess.
    """
    roles: dict[str, Role] = {}
    speakers = list(dict.fromkeys(folded(turn.speaker) for turn in turns))
    for name in speakers:
        words = set(re.findall(r"[^\W\d_]+", name))
        if bool(words & _SUPPORTERS) != bool(words & _SEEKERS):
            roles[name] = "supporter" if words & _SUPPORTERS else "seeker"
    if len(speakers) != 2 or len(roles) == 2:
        return roles
    if not roles:
        asking = {name: _share_of_questions(turns, name) for name in speakers}
        if asking[speakers[0]] == asking[speakers[1]]:
            return roles
        roles[max(speakers, key=asking.__getitem__)] = "supporter"
    (known,) = roles
    (unknown,) = set(speakers) - {known}
    roles[unknown] = "seeker" if roles[known] == "supporter" else "supporter"
    return roles


def _share_of_questions(turns: Sequence[Turn], name: str) -> float:
    own = [turn for turn in turns if folded(turn.speaker) == name]
    return sum("?" in turn.text for turn in own) / len(own)


def make_pairs(session: Session, roles: Mapping[str, Role], *, min_words: int = 1) -> tuple[list[Pair], Counter[str]]:
    """A session's pairs by `RULE`.

    Args:
        session: The session.
        roles: Folded name -> role of every speaker.
        min_words: Words below which a supporter's turn is a backchannel.

    Returns:
        The pairs in order, with ids `<session>-001` and so on, and counts: `turns`, `pairs`, `other_speakers`,
        `backchannels`, `opening` and `unanswered`.
    """
    counts = Counter(turns=len(session.turns), other_speakers=0, backchannels=0)
    kept: list[tuple[Role, str]] = []
    for turn in session.turns:
        role = roles[folded(turn.speaker)]
        if role == "other":
            counts["other_speakers"] += 1
        elif role == "supporter" and len(turn.text.split()) < min_words:
            counts["backchannels"] += 1
        else:
            kept.append((role, turn.text))
    merged = [(role, " ".join(text for _, text in said)) for role, said in groupby(kept, key=lambda turn: turn[0])]
    counts["opening"] = int(bool(merged) and merged[0][0] == "supporter")
    counts["unanswered"] = int(bool(merged) and merged[-1][0] == "seeker")
    sides = [text for _, text in merged[counts["opening"] : len(merged) - counts["unanswered"]]]
    pairs = [
        Pair(f"{session.name}-{number:03d}", "clinical", seeker, response, group=session.name)
        for number, (seeker, response) in enumerate(zip(sides[::2], sides[1::2], strict=True), 1)
    ]
    counts["pairs"] = len(pairs)
    return pairs, counts


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: What follows `prepare transcripts` on the command line; None takes it from the process.

    Returns:
        Exit status 0.

    Raises:
        UserError: A file can't be used, a speaker has no role, or the guess was not confirmed.
    """
    args = _parser().parse_args(argv)
    if args.output.exists():
        raise UserError(f"--output {args.output}: there is such a file; move it away or give another name")
    given = _given_roles(args.seekers, args.supporters, args.others)
    columns = TranscriptColumns(args.speaker_column, args.text_column, args.session_column)
    transcripts = _read_all(args.files, columns, given, {folded(name) for name in args.not_speakers})
    roles = {path: guess_roles(turns) | given for path, turns in transcripts.items()}
    _check_roles(transcripts, roles)
    if not args.accept_guess and any(set(roles[path]) - set(given) for path in transcripts):
        _confirm(transcripts, roles)
    pairs: list[Pair] = []
    total: Counter[str] = Counter()
    sessions = [
        session
        for path, turns in transcripts.items()
        for session in split_sessions(path, turns, keep_names=args.keep_names)
    ]
    _check_names(sessions)
    for session in sessions:
        found, counts = make_pairs(session, roles[session.path], min_words=args.min_words)
        print(f"{session.path}: {session.name}: {counts['turns']} turns, {len(found)} pairs", file=sys.stderr)
        pairs += found
        total += counts
    if not pairs:
        raise UserError("no session has a seeker's turn that a supporter answers; check who is who")
    _write(pairs, args.output)
    left_out = ", ".join(f"{total[key]} {key}" for key in ("other_speakers", "backchannels", "opening", "unanswered"))
    print(
        f"{len(pairs)} pairs of {len(sessions)} sessions from {total['turns']} turns; left out: {left_out}",
        file=sys.stderr,
    )
    print(args.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py prepare transcripts",
        description=f"Session transcripts to pairs. {RULE}",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".txt, .vtt, .csv, .tsv, .jsonl, .parquet")
    output = Path("data/transcripts.jsonl")
    parser.add_argument("--output", type=Path, default=output, metavar="FILE.jsonl", help=f"where rows go ({output})")
    parser.add_argument(
        "--seekers", nargs="+", default=[], metavar="NAME", help="who seeks help, as the files call them"
    )
    parser.add_argument("--supporters", nargs="+", default=[], metavar="NAME", help="who helps")
    parser.add_argument("--others", nargs="+", default=[], metavar="NAME", help="speakers whose turns are left out")
    parser.add_argument(
        "--not_speakers", nargs="+", default=[], metavar="WORDS", help="words before a colon that name no speaker"
    )
    parser.add_argument("--accept_guess", action="store_true", help="take the guess of who is who without asking")
    parser.add_argument(
        "--min_words", type=int, default=1, metavar="N", help="a supporter's turn of fewer words is a backchannel (1)"
    )
    parser.add_argument(
        "--keep_names", action="store_true", help="call sessions as the files do instead of by a hash of their text"
    )
    for column in ("speaker", "text", "session"):
        parser.add_argument(
            f"--{column}_column", default=column, metavar="NAME", help=f"a table's column of that meaning ({column})"
        )
    return parser


def _given_roles(seekers: Iterable[str], supporters: Iterable[str], others: Iterable[str]) -> dict[str, Role]:
    roles: dict[str, Role] = {}
    named: tuple[tuple[Role, Iterable[str]], ...] = (("seeker", seekers), ("supporter", supporters), ("other", others))
    for role, names in named:
        for name in names:
            if roles.setdefault(folded(name), role) != role:
                raise UserError(
                    f"--{role}s {name!r}: that speaker has the role {roles[folded(name)]} already; give one"
                )
    return roles


def _read_all(
    paths: Sequence[Path], columns: TranscriptColumns, given: Mapping[str, Role], not_speakers: set[str]
) -> dict[Path, list[Turn]]:
    transcripts: dict[Path, list[Turn]] = {}
    problems: list[str] = []
    known = {*given, *_SUPPORTERS, *_SEEKERS}
    for path in paths:
        try:
            turns, unclear = read_turns(path, columns, known, not_speakers)
        except DataError as error:
            problems += error.problems
            continue
        transcripts[path] = turns
        if unclear:
            print(
                f"{path}: {unclear} lines begin with words before a colon that begin no other line; they were read as "
                "what is said: name speakers with --seekers, --supporters or --others",
                file=sys.stderr,
            )
    if problems:
        raise DataError(problems)
    return transcripts


def _check_roles(transcripts: Mapping[Path, Sequence[Turn]], roles: Mapping[Path, Mapping[str, Role]]) -> None:
    problems = []
    for path, turns in transcripts.items():
        counts = Counter(turn.speaker for turn in turns if folded(turn.speaker) not in roles[path])
        problems += [
            f"{path}: who is {name!r} ({count} turns)? Name each speaker with --seekers, --supporters or --others, or "
            "with --not_speakers where that is part of what is said"
            for name, count in counts.items()
        ]
    if problems:
        raise DataError(problems)


def _check_names(sessions: Sequence[Session]) -> None:
    first: dict[str, Path] = {}
    problems = []
    for session in sessions:
        if session.name in first:
            same = f"session {session.name} is in {first[session.name]} too"
            problems.append(f"{session.path}: {same}; leave out one, or rename it where the files are different")
        first.setdefault(session.name, session.path)
    if problems:
        raise DataError(problems)


def _confirm(transcripts: Mapping[Path, Sequence[Turn]], roles: Mapping[Path, Mapping[str, Role]]) -> None:
    print("Who is who, as far as the names and the questions show:", file=sys.stderr)
    for path, turns in transcripts.items():
        for name, count in Counter(turn.speaker for turn in turns).items():
            asking = _share_of_questions(turns, folded(name))
            line = f"  {path}: {name}: {roles[path][folded(name)]} ({count} turns, {asking:.0%} with a question)"
            print(line, file=sys.stderr)
    if not sys.stdin.isatty():
        raise UserError("nobody is there to confirm this guess: give --seekers and --supporters, or --accept_guess")
    print("Is that right? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("the guess was not confirmed: give --seekers NAME... and --supporters NAME...")


def _write(pairs: Sequence[Pair], output: Path) -> None:
    try:
        with replacing_path(output) as part:
            part.write_text("".join(f"{pair.to_json()}\n" for pair in pairs), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output {output}: {error.strerror}; check room and rights there") from None
