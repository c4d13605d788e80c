"""Who said what in a transcript: plain text, WebVTT and tables (CSV, TSV, JSON Lines, Parquet).

No message here quotes what was said. Names of speakers are quoted: without them nobody could say who is who.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.sources.cells import CellError, parse_name, parse_text
from datamodules.sources.formats import SUFFIXES, column_names, raw_rows
from datamodules.sources.transcript_labels import TIME_ALONE, Names, find_labels
from errors import DataError

__all__ = ["TEXT_SUFFIXES", "Transcript", "TranscriptColumns", "Turn", "read_transcript"]

TEXT_SUFFIXES = (".txt", ".vtt")

_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says without a break, as the file has it.

    Args:
        session: What the file calls the session; empty where the file is one.
        speaker: The name it gives.
        text: What is said, white space collapsed.
    """

    session: str
    speaker: str
    text: str


@dataclass(frozen=True)
class Transcript:
    """What a file holds.

    Args:
        turns: The turns that have text, in order.
        unclear: Lines that begin with what may be a name and were read as text.
        without_speaker: Lines with text that belong to no turn: before the first name, and outside WebVTT's cues.
    """

    turns: Sequence[Turn]
    unclear: int = 0
    without_speaker: int = 0


@dataclass(frozen=True)
class TranscriptColumns:
    """Names of the columns in a table of turns.

    Args:
        speaker: Who speaks.
        text: What is said.
        session: Which session; without this column the file is one.
    """

    speaker: str = "speaker"
    text: str = "text"
    session: str = "session"


def read_transcript(path: Path, columns: TranscriptColumns, names: Names) -> Transcript:
    """Read a transcript.

    In plain text, and in WebVTT without voice tags, a turn begins with `NAME:` and goes on to the next such line; see
    `find_labels` for what a name is.

    Args:
        path: A `.txt` or `.vtt` file or a table.
        columns: The table's columns.
        names: What is known of the speakers' names.

    Returns:
        What it holds.

    Raises:
        DataError: The file can't be read or has no turns.
    """
    if path.suffix.lower() in TEXT_SUFFIXES:
        plain = path.suffix.lower() == ".txt"
        lines, outside = ([("", line) for line in _text(path).splitlines()], 0) if plain else _vtt_lines(path)
        transcript = _labelled(lines, outside, names)
        missing = (
            "no speaker's name found: a turn must begin with 'NAME:' (the name at least twice in the file, or given)"
        )
    else:
        transcript = Transcript(_table_turns(path, columns))
        missing = "no row has both a speaker and text"
    if not transcript.turns:
        raise DataError([f"{path}: {missing}"])
    return transcript


def _text(path: Path) -> str:
    if path.is_dir():
        problem = "is a folder; name the files in it"
    elif not path.is_file():
        problem = "no such file; check the path"
    else:
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            problem = "not UTF-8 text; save the file with the encoding UTF-8"
        else:
            if "\0" not in text and text.strip():
                return text
            problem = "is empty" if not text.strip() else "has NUL bytes; the file is damaged or is not text"
    raise DataError([f"{path}: {problem}"])


def _vtt_lines(path: Path) -> tuple[list[tuple[str, str]], int]:
    """The cues' lines with the speaker where a voice tag names one (https://www.w3.org/TR/webvtt1/).

    Returns:
        The lines, and how many there are outside cues, as after a blank line within one.
    """
    blocks = re.split(r"\n[ \t]*\n", _text(path).replace("\r\n", "\n").replace("\r", "\n"))
    if not blocks[0].startswith("WEBVTT"):
        raise DataError([f"{path}: not WebVTT: the file must begin with 'WEBVTT'; name plain text .txt"])
    lines: list[tuple[str, str]] = []
    outside = 0
    for block in blocks[1:]:
        _, arrow, payload = block.partition("-->")
        if block.lstrip().startswith(("NOTE", "STYLE", "REGION")):
            continue
        if not arrow:
            outside += sum(bool(line.strip()) for line in block.split("\n"))
            continue
        pieces = _VOICE.split(payload.partition("\n")[2])
        voiced = zip(["", *pieces[1::2]], pieces[::2], strict=True)
        for speaker, text in voiced:
            plain = html.unescape(re.sub(r"<[^>]*>", "", text))
            said = [plain] if speaker else plain.splitlines()
            lines += [(html.unescape(speaker), line) for line in said if line.strip()]
    return lines, outside


def _labelled(lines: Sequence[tuple[str, str]], outside: int, names: Names) -> Transcript:
    """Turns from lines, each with its speaker where that is certain."""
    labels, unclear = find_labels(["" if voice else line for voice, line in lines], names)
    turns: list[tuple[str, list[str]]] = []
    for (voice, line), label in zip(lines, labels, strict=True):
        speaker, text = label or (" ".join(voice.split()), line)
        if speaker:
            turns.append((speaker, [text]))
        elif not text.strip() or TIME_ALONE.fullmatch(text):
            continue
        elif turns:
            turns[-1][1].append(text)
        else:
            outside += 1
    spoken = ((speaker, " ".join(" ".join(said).split())) for speaker, said in turns)
    return Transcript([Turn("", speaker, text) for speaker, text in spoken if text], unclear, outside)


def _table_turns(path: Path, columns: TranscriptColumns) -> list[Turn]:
    if path.suffix.lower() not in SUFFIXES:
        raise DataError([f"{path}: unknown kind of file; name it {', '.join((*TEXT_SUFFIXES, *SUFFIXES))}"])
    names = column_names(path)
    wanted = [columns.speaker, columns.text] + [columns.session] * (columns.session != TranscriptColumns.session)
    if names is not None and (missing := [name for name in wanted if name not in names]):
        options = "--speaker_column, --text_column, --session_column"
        raise DataError([f"{path}: no column {', '.join(map(repr, missing))}; name yours with {options}"])
    problems: list[str] = []
    turns = list(_rows(path, columns, problems))
    if problems:
        raise DataError(problems)
    return turns


def _rows(path: Path, columns: TranscriptColumns, problems: list[str]) -> Iterator[Turn]:
    for row in raw_rows(path, {columns.speaker, columns.text, columns.session}):
        problem = row.problem
        try:
            column = columns.text
            text = " ".join(parse_text(row.cells.get(column)).split())
            column = columns.speaker
            speaker = " ".join(parse_name(row.cells.get(column)).split())
            column = columns.session
            session = parse_name(row.cells.get(column))
        except CellError as error:
            problem = problem or f"column '{column}' {error}"
        if not problem and "\0" in text:
            problem = f"column '{columns.text}' has a NUL byte; the file is damaged or is not text"
        if not problem and text and not speaker:
            problem = f"column '{columns.speaker}' is empty; say who speaks"
        if problem:
            problems.append(f"{row.where(path)}: {problem}")
        elif text:
            yield Turn(session, speaker, text)
