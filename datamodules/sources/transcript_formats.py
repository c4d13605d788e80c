"""Who said what in a transcript: plain text, WebVTT and tables (CSV, TSV, JSON Lines, Parquet).

No message here quotes what was said. Names of speakers are quoted: without them nobody could say who is who.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.sources.cells import CellError, parse_name, parse_text
from datamodules.sources.formats import SUFFIXES, column_names, raw_rows
from errors import DataError

__all__ = ["TEXT_SUFFIXES", "TranscriptColumns", "Turn", "folded", "read_turns"]

TEXT_SUFFIXES = (".txt", ".vtt")

_TIME = r"[\[(<]?\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?[\])>]?"
_LABEL = re.compile(
    rf"""\s*(?:{_TIME}\s*[-–]?\s*)?                       # [00:01:02]
    (?P<speaker>[^\W\d_][^:?!,;<>()\[\]\n]{{0,39}}?)\s*   # a name begins with a letter
    (?:{_TIME}\s*)?:(?:\s+(?P<text>.*)|\s*)""",
    re.VERBOSE | re.DOTALL,
)
_TIME_ALONE = re.compile(rf"\s*{_TIME}(?:\s*[-–>]+\s*{_TIME})?\s*")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_MOST_WORDS = 4
"""Words in a speaker's name; more of them before a colon are a sentence."""


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


def folded(name: str) -> str:
    """A speaker's name as it is compared: without case and extra white space."""
    return " ".join(name.split()).casefold()


def read_turns(
    path: Path, columns: TranscriptColumns, known: Collection[str], not_speakers: Collection[str]
) -> tuple[list[Turn], int]:
    """Read a transcript.

    In plain text, and in WebVTT without voice tags, a turn begins with `NAME:` and goes on to the next such line. A
    name is one that is `known`, or that begins at least two lines; other lines go on with the turn.

    Args:
        path: A `.txt` or `.vtt` file or a table.
        columns: The table's columns.
        known: Names of speakers, as `folded` gives them.
        not_speakers: Words that stand before colons and name nobody, as `folded` gives them.

    Returns:
        The turns that have text, in order, and how many lines begin with what may be a name but occurs only once: they
        were read as text.

    Raises:
        DataError: The file can't be read or has no turns.
    """
    if path.suffix.lower() in TEXT_SUFFIXES:
        lines = _vtt_lines(path) if path.suffix.lower() == ".vtt" else [("", line) for line in _text(path).splitlines()]
        turns, unclear = _labelled(lines, known, not_speakers)
        missing = (
            "no speaker's name found: a turn must begin with 'NAME:' (the name at least twice in the file, or given)"
        )
    else:
        turns, unclear = _table_turns(path, columns), 0
        missing = "no row has both a speaker and text"
    if not turns:
        raise DataError([f"{path}: {missing}"])
    return turns, unclear


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


def _vtt_lines(path: Path) -> list[tuple[str, str]]:
    """The cues' lines with the speaker where a voice tag names one (https://www.w3.org/TR/webvtt1/)."""
    blocks = re.split(r"\n[ \t]*\n", _text(path).replace("\r\n", "\n").replace("\r", "\n"))
    if not blocks[0].startswith("WEBVTT"):
        raise DataError([f"{path}: not WebVTT: the file must begin with 'WEBVTT'; name plain text .txt"])
    lines: list[tuple[str, str]] = []
    for block in blocks[1:]:
        _, arrow, payload = block.partition("-->")
        if not arrow or block.lstrip().startswith(("NOTE", "STYLE", "REGION")):
            continue
        pieces = _VOICE.split(payload.partition("\n")[2])
        voiced = zip(["", *pieces[1::2]], pieces[::2], strict=True)
        for speaker, text in voiced:
            plain = html.unescape(re.sub(r"<[^>]*>", "", text))
            said = [plain] if speaker else plain.splitlines()
            lines += [(html.unescape(speaker), line) for line in said if line.strip()]
    return lines


def _labelled(
    lines: Sequence[tuple[str, str]], known: Collection[str], not_speakers: Collection[str]
) -> tuple[list[Turn], int]:
    """Turns from lines, each with its speaker where that is certain; and the number of unclear lines."""
    labels = [None if speaker else _label(line) for speaker, line in lines]
    counts = Counter(folded(label[0]) for label in labels if label)
    candidates = counts.keys() - {*not_speakers}
    names = {name for name in candidates if counts[name] > 1 or name in known}
    turns: list[tuple[str, list[str]]] = []
    for (voice, line), label in zip(lines, labels, strict=True):
        named = label is not None and folded(label[0]) in names
        speaker, text = label if label and named else (voice, line)
        if speaker:
            turns.append((speaker, [text]))
        elif turns and not _TIME_ALONE.fullmatch(text):
            turns[-1][1].append(text)
    spoken = ((speaker, " ".join(" ".join(said).split())) for speaker, said in turns)
    return [Turn("", " ".join(speaker.split()), text) for speaker, text in spoken if text], len(candidates - names)


def _label(line: str) -> tuple[str, str] | None:
    match = _LABEL.fullmatch(line)
    if match is None or len(match["speaker"].split()) > _MOST_WORDS:
        return None
    return match["speaker"], match["text"] or ""


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
