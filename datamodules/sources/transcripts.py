"""`python cli.py prepare transcripts FILES... --output FILE.jsonl`: session transcripts to pairs."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datamodules.files import replacing_path
from datamodules.records import Pair
from datamodules.sources.transcript_formats import Transcript, TranscriptColumns, Turn, read_transcript
from datamodules.sources.transcript_labels import Names, folded
from datamodules.sources.transcript_pairs import (
    RULE,
    Session,
    guess_roles,
    make_pairs,
    share_of_questions,
    split_sessions,
)
from datamodules.sources.transcript_roles import Role
from errors import DataError, UserError

__all__ = ["main"]


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
    if args.min_words < 0:
        raise UserError(f"--min_words {args.min_words}: give a number of words, 0 or more")
    given = _given_roles(args.seekers, args.supporters, args.others)
    columns = TranscriptColumns(args.speaker_column, args.text_column, args.session_column)
    names = Names(given, {folded(name) for name in args.not_speakers})
    read = _read_all(args.files, columns, names)
    transcripts = {path: transcript.turns for path, transcript in read.items()}
    roles = {path: guess_roles(turns, given) for path, turns in transcripts.items()}
    _check_roles(transcripts, roles, [*args.seekers, *args.supporters, *args.others])
    if any(set(roles[path]) - set(given) for path in transcripts):
        _show_guess(transcripts, roles)
        if not args.accept_guess:
            _confirm()
    sessions = [
        session
        for path, turns in transcripts.items()
        for session in split_sessions(path, turns, keep_names=args.keep_names)
    ]
    _check_names(sessions, keep_names=args.keep_names)
    pairs, counts = _all_pairs(sessions, roles, args.min_words)
    _write(pairs, args.output)
    counts["lines_without_speaker"] = sum(transcript.without_speaker for transcript in read.values())
    reasons = ("other_speakers", "backchannels", "opening", "unanswered", "lines_without_speaker")
    left_out = ", ".join(f"{counts[reason]} {reason}" for reason in reasons)
    print(
        f"{len(pairs)} pairs of {len(sessions)} sessions from {counts['turns']} turns; left out: {left_out}",
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
    parser.add_argument("--accept_guess", action="store_true", help="show the guess of who is who, and take it")
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


def _read_all(paths: Sequence[Path], columns: TranscriptColumns, names: Names) -> dict[Path, Transcript]:
    transcripts: dict[Path, Transcript] = {}
    problems: list[str] = []
    for path in paths:
        try:
            read = transcripts[path] = read_transcript(path, columns, names)
        except DataError as error:
            problems += error.problems
            continue
        if read.unclear:
            print(
                f"{path}: {read.unclear} lines begin with what may be a name before a colon, or with a speaker's; they "
                "were read as what is said: name speakers with --seekers, --supporters or --others, and write 'NAME:' "
                "before what they say",
                file=sys.stderr,
            )
        if read.without_speaker:
            where = "stand before the first speaker's turn, or outside the cues of WebVTT"
            print(f"{path}: {read.without_speaker} lines {where}; they are left out", file=sys.stderr)
    if problems:
        raise DataError(problems)
    return transcripts


def _check_roles(
    transcripts: Mapping[Path, Sequence[Turn]], roles: Mapping[Path, Mapping[str, Role]], given: Iterable[str]
) -> None:
    speakers = {folded(turn.speaker): turn.speaker for turns in transcripts.values() for turn in turns}
    there = ", ".join([*map(repr, list(speakers.values())[:20]), *["..."] * (len(speakers) > 20)])
    problems = [
        f"{name!r} speaks in no file; the speakers there are {there}: correct the name, or leave it out"
        for name in given
        if folded(name) not in speakers
    ]
    for path, turns in transcripts.items():
        counts = Counter(turn.speaker for turn in turns if folded(turn.speaker) not in roles[path])
        problems += [
            f"{path}: who is {name!r} ({count} turns)? Name each speaker with --seekers, --supporters or --others, or "
            "with --not_speakers where that is part of what is said"
            for name, count in counts.items()
        ]
    if problems:
        raise DataError(problems)


def _check_names(sessions: Sequence[Session], *, keep_names: bool) -> None:
    first: dict[str, Session] = {}
    problems = []
    for session in sessions:
        other = first.setdefault(session.name, session)
        if other is session:
            continue
        if keep_names:
            problem = f"session {session.name} is in {other.path} too; rename one of the two, or leave it out"
        else:
            problem = (
                f"session {session.name} is in {_place(other)} too, word for word; leave out one, or call sessions as "
                "the files do with --keep_names"
            )
        problems.append(f"{_place(session)}: {problem}")
    if problems:
        raise DataError(problems)


def _place(session: Session) -> str:
    own = session.turns[0].session
    return f"{session.path}, session {own!r}" if own else str(session.path)


def _all_pairs(
    sessions: Sequence[Session], roles: Mapping[Path, Mapping[str, Role]], min_words: int
) -> tuple[list[Pair], Counter[str]]:
    pairs: list[Pair] = []
    total: Counter[str] = Counter()
    for session in sessions:
        found, counts = make_pairs(session, roles[session.path], min_words=min_words)
        print(f"{session.path}: {session.name}: {counts['turns']} turns, {len(found)} pairs", file=sys.stderr)
        pairs += found
        total += counts
    if not pairs:
        raise UserError("no session has a seeker's turn that a supporter answers; check who is who")
    return pairs, total


def _show_guess(transcripts: Mapping[Path, Sequence[Turn]], roles: Mapping[Path, Mapping[str, Role]]) -> None:
    print("Who is who, as far as the names and the questions show:", file=sys.stderr)
    for path, turns in transcripts.items():
        for name, count in Counter(turn.speaker for turn in turns).items():
            asking = share_of_questions(turns, folded(name))
            line = f"  {path}: {name}: {roles[path][folded(name)]} ({count} turns, {asking:.0%} with a question)"
            print(line, file=sys.stderr)


def _confirm() -> None:
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
