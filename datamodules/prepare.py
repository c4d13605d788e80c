"""`python cli.py prepare`: fetch the public corpora, or take them from a folder, and verify them."""

from __future__ import annotations

import argparse
import http.client
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.sources.report import sha256_of
from errors import UserError

__all__ = ["CORPORA", "EPITOME", "ESCONV", "Corpus", "main", "prepare"]

_TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""


@dataclass(frozen=True)
class Corpus:
    """A public corpus of a few files.

    Args:
        title: Its name for people.
        address: Where the files are, without the last slash.
        files: File name -> SHA-256 of the published file; empty where none is known and `check` says whether it is it.
        dest: Where it goes by default.
        licence: What it may be used for.
        citation: What to cite.
    """

    title: str
    address: str
    files: Mapping[str, str]
    dest: Path
    licence: str
    citation: str
    check: Callable[[Path], str] | None = None


def _check_esconv(path: Path) -> str:
    """Whether a file holds what ESConv's page counts; raises `UserError` where not."""
    from datamodules.sources.esconv import read_esconv

    dialogues, _ = read_esconv(path)
    strategies = sum(bool(turn.strategy) for dialogue in dialogues for turn in dialogue.turns)
    found = f"{len(dialogues):,} dialogues and {strategies:,} strategies"
    if (len(dialogues), strategies) != (1300, 18376):
        raise UserError(f"holds {found}, the published file 1,300 and 18,376")
    return f"{found}, as published"


EPITOME = Corpus(
    title="EPITOME Reddit corpus",
    address="https://raw.githubusercontent.com/behavioral-data/Empathy-Mental-Health/master/dataset",
    files={
        "emotional-reactions-reddit.csv": "225b28ffdc257f8a997d557eb937e78b68235e6203c87c7e2203d00fef8545cc",
        "interpretations-reddit.csv": "2cedbe4252c919d22a6f46685afa16d3192a91e3306c2d4a386be12a30ad3f29",
        "explorations-reddit.csv": "9efa1af8e0537c16894379598f2076cb380ae18aacd9a8d26ebd381f5b7f9645",
    },
    dest=Path("data/epitome-reddit"),
    licence="University of Washington academic licence: non-profit research only",
    citation=(
        "Sharma, Miner, Atkins and Althoff (2020): A Computational Approach to Understanding Empathy Expressed in "
        "Text-Based Mental Health Support. EMNLP 2020."
    ),
)

ESCONV = Corpus(
    title="ESConv",
    address="https://raw.githubusercontent.com/thu-coai/Emotional-Support-Conversation/main",
    files={
        "ESConv.json": "",
        "FailedESConv.json": "d21bad5409d88ecbca18abfee26a8c188d09c34b03962cb53a4c30d8de95b279",
    },
    dest=Path("data/esconv"),
    licence="CC BY-NC 4.0: non-commercial use",
    citation=(
        "Liu, Zheng, Demasi, Sabour, Li, Yu, Jiang and Huang (2021): Towards Emotional Support Dialog Systems. "
        "ACL 2021."
    ),
    check=_check_esconv,
)

CORPORA = {"epitome": EPITOME, "esconv": ESCONV}


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: What follows `prepare` on the command line; None takes it from the process.

    Returns:
        Exit status: 0 when every file is in place and verified (or accepted), 2 otherwise.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["transcripts"]:
        from datamodules.sources import transcripts

        return transcripts.main(words[1:])
    parser = argparse.ArgumentParser(
        prog="python cli.py prepare",
        usage="python cli.py prepare CORPUS [--dest DIR] [--from DIR] [--allow_modified] | transcripts FILE...",
        description="Fetch a public corpus and verify it; safe to repeat and to interrupt. "
        "Or turn session transcripts into rows: `prepare transcripts --help`.",
        allow_abbrev=False,
    )
    parser.add_argument("corpus", choices=CORPORA, help="which corpus")
    parser.add_argument(
        "--dest", type=Path, metavar="DIR", help="where it goes (default: data/epitome-reddit, data/esconv)"
    )
    parser.add_argument(
        "--from", type=Path, metavar="DIR", dest="folder", help="take the files from this folder instead"
    )
    parser.add_argument("--allow_modified", action="store_true", help="accept files that differ from the published")
    args = parser.parse_args(words)
    corpus = CORPORA[args.corpus]
    problems = prepare(corpus, args.dest or corpus.dest, args.folder, allow_modified=args.allow_modified)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2 if problems else 0


def prepare(corpus: Corpus, dest: Path, folder: Path | None = None, *, allow_modified: bool = False) -> list[str]:
    """Bring a corpus's files into a folder and verify them; print what was done, the licence and the citation.

    A file stands under its name only when it is whole and verified. Until then it is `<name>.part`, with which a later
    download goes on. Files that are there already are verified and never overwritten.

    Args:
        corpus: Which.
        dest: Where the files go.
        folder: Take them from here; None downloads them.
        allow_modified: Accept files whose SHA-256 is not the published one.

    Returns:
        A problem for each file that is not in place; empty when all are.
    """
    problems = []
    for name in corpus.files:
        try:
            print(f"{name}: {_prepare_file(corpus, name, dest, folder, allow_modified=allow_modified)}", flush=True)
        except UserError as error:
            problems.append(f"{name}: {error}")
    print(f"{corpus.title}: {'not complete' if problems else 'complete'} in {dest}")
    print(f"licence: {corpus.licence}\ncite: {corpus.citation}")
    return problems


def _prepare_file(corpus: Corpus, name: str, dest: Path, folder: Path | None, *, allow_modified: bool) -> str:
    """Bring one file into place and say how; raise `UserError` where that fails."""
    final, part = dest / name, dest / f"{name}.part"
    published = corpus.files[name]
    try:
        dest.mkdir(parents=True, exist_ok=True)
        if final.exists():
            way_out = "move it away and run this again, or keep it with --allow_modified"
            return f"already there, {_verdict(corpus, final, published, allow_modified, way_out)}"
        if folder is None:
            _download(f"{corpus.address}/{name}", part, published)
        elif (folder / name).is_file():
            shutil.copyfile(folder / name, part)
        else:
            raise UserError(f"not in {folder}; put it there")
        try:
            verdict = _verdict(
                corpus, part, published, allow_modified, "fetch it anew, or accept it with --allow_modified"
            )
        except UserError:
            part.unlink()
            raise
        part.replace(final)
    except OSError as error:
        if part.is_file():
            part.unlink()
        where = error.filename or part
        raise UserError(f"{where}: {error.strerror}; check room and rights there, or name another folder") from None
    return f"{'downloaded' if folder is None else f'copied from {folder}'}, {verdict}"


def _verdict(corpus: Corpus, path: Path, published: str, allow_modified: bool, way_out: str) -> str:
    """What the file's SHA-256 says of it; raise `UserError` where it can't be accepted."""
    size, sha256 = path.stat().st_size, sha256_of(path)
    if sha256 == published:
        return f"{size:,} bytes, verified"
    if not size:
        raise UserError("is empty; fetch it anew")
    difference = f"differs from the published file (SHA-256 {sha256}, published {published or 'not known'})"
    if not published and corpus.check is not None:
        try:
            return f"{size:,} bytes, SHA-256 {sha256}, {corpus.check(path)}"
        except UserError as error:
            difference = str(error)
    if not allow_modified:
        raise UserError(f"{difference}; {way_out}")
    return f"{size:,} bytes; {difference}: accepted as you ask"


def _download(url: str, part: Path, published: str) -> None:
    """Fetch a file, going on with what an earlier run left where that leads to the published file."""
    if part.exists() and (start := part.stat().st_size):
        _fetch(url, part, start)
        if sha256_of(part) == published:
            return
    _fetch(url, part, start=0)


def _fetch(url: str, part: Path, start: int) -> None:
    """Write what the server has from byte `start` on; all of it where the server knows no ranges."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    failed = f"can't be fetched from {url}"
    by_hand = "run this again to go on, or save the file into a folder by other means and name that with --from"
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing
        raise UserError(f"{failed} ({error.code} {error.reason}); {by_hand}") from None
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{failed} ({getattr(error, 'reason', error)}); {by_hand}") from None
    appending = response.status == http.client.PARTIAL_CONTENT
    with response, part.open("ab" if appending else "wb") as file:
        for block in _blocks(response, f"{failed} to its end", by_hand):
            file.write(block)
            if sys.stderr.isatty():
                print(f"\r{part.stem}: {file.tell():,} bytes", end="\r", file=sys.stderr, flush=True)


def _blocks(response: Any, failed: str, by_hand: str) -> Iterator[bytes]:
    """The answer's body. Errors of the network, which are `OSError`s like those of the disk, are told apart here."""
    while True:
        try:
            block = response.read(1 << 16)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(f"{failed} ({error}); {by_hand}") from None
        if not block and response.length:
            raise UserError(f"{failed} ({response.length:,} bytes are missing); {by_hand}")
        if not block:
            return
        yield block
