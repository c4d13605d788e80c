"""A study: a folder with tasks to judge, a sealed key that names the systems, and what raters said.

study.json     the question, and the SHA-256 of the tasks and of the key
tasks.jsonl    what raters see: a context and two responses without their systems
key.json       which system wrote which response; only `score` opens it, and it may be kept elsewhere
judgements/    a file a rater, `<number>-<name>.jsonl`, numbered in the order in which raters came
judges/        a file a model that judges, named likewise; beside it what the model is, and all of its answers
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from datamodules.records import Source
from datamodules.sources.cells import source_of
from datamodules.splits import seeded_key
from errors import DataError, UserError

__all__ = [
    "Choice",
    "Judgement",
    "Key",
    "Ratings",
    "Side",
    "Study",
    "Task",
    "Turn",
    "open_key",
    "other_side",
    "rater_name",
]

Side = Literal["first", "second"]
Choice = Literal["first", "second", "tie"]
Turn = dict[str, str]
"""`speaker` (seeker or supporter) and `text`."""

_NAME = re.compile(r"\w[\w-]{0,39}")
_FILE = re.compile(rf"[0-9]+-{_NAME.pattern}")


@dataclass(frozen=True, slots=True)
class Task:
    """Two responses to one context.

    Args:
        id: Says nothing about the systems, and differs between studies.
        context: The turns before the response, oldest first; empty where the supporter begins.
        first: One system's response.
        second: The other system's.
        source: Where the context comes from.
    """

    id: str
    context: list[Turn]
    first: str
    second: str
    source: Source = "clinical"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rater said of a task.

    Args:
        task: The task's id.
        rater: Who judged.
        choice: The better response, or a tie.
        left: Which response stood first on the page or in the prompt.
        seconds: From showing to choosing.
        at: When, UTC in ISO 8601.
        answer: What a model that judges wrote.
    """

    task: str
    rater: str
    choice: Choice
    left: Side
    seconds: float
    at: str
    answer: str = ""


@dataclass(frozen=True)
class Key:
    """Which system wrote what: the part of a study that raters must not see.

    Args:
        systems: System -> its file and the file's SHA-256, in the order in which they were given.
        tasks: Task id -> `context` (the context's id), `first` and `second` (systems).
        seed: What drew contexts, sides and ids.
    """

    systems: dict[str, dict[str, str]]
    tasks: dict[str, dict[str, str]]
    seed: int


class Ratings:
    """One rater's judgements and the file that holds them: a line each; of a task judged again, the last one counts.

    Args:
        path: `<number>-<rater>.jsonl`; a last line that a crash cut off isn't read.
        tasks: The ids that a judgement may name.
    """

    def __init__(self, path: Path, tasks: Iterable[str]) -> None:
        self.path = path
        number, _, self.rater = path.stem.partition("-")
        self.number = int(number)
        self.given = {(one.task, one.left): one for one in _read_judgements(path, set(tasks))}

    def add(self, judgement: Judgement) -> None:
        """Appends the judgement; returns when the disk has it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(judgement)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.given[judgement.task, judgement.left] = judgement

    def order(self, tasks: Iterable[Task]) -> list[tuple[Task, Side]]:
        """The tasks in this rater's order, each with the response that stands left.

        Raters 0 and 1, 2 and 3, ... see opposite orders and opposite sides, so over both neither counts.
        """
        order = sorted(tasks, key=lambda task: seeded_key(self.number // 2, task.id))
        return (
            [(task, "second") for task in reversed(order)] if self.number % 2 else [(task, "first") for task in order]
        )


class Study:
    """A study's folder without its key.

    Args:
        folder: What `compare export` wrote.

    Raises:
        UserError: No study there, or its tasks are not those that were exported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        head = _read_json(folder / "study.json", f"{folder} is no study; `compare export` makes one")
        path = folder / "tasks.jsonl"
        tasks = path.read_bytes() if path.exists() else b""
        if not isinstance(head, dict) or hashlib.sha256(tasks).hexdigest() != head.get("tasks_sha256"):
            raise UserError(f"{path} is not the file that was exported; restore it or export anew")
        self.question: str = head["question"]
        self.key_sha256: str = head["key_sha256"]
        rows = map(json.loads, tasks.decode().splitlines())
        self.tasks = {row["id"]: Task(**{**row, "source": source_of(row.get("source"))}) for row in rows}

    @property
    def sources(self) -> frozenset[str]:
        """Where the contexts come from."""
        return frozenset(task.source for task in self.tasks.values())

    def ratings(self, kind: Literal["judgements", "judges"]) -> list[Ratings]:
        """All raters' files of a kind, by number.

        Raises:
            DataError: A file isn't named `<number>-<name>.jsonl`, two are of one rater, or a line is no judgement.
        """
        files = sorted((self.folder / kind).glob("*.jsonl"))
        paths = [path for path in files if kind == "judgements" or not path.name.endswith(".answers.jsonl")]
        problems = [f"{path}: name it <number>-<rater>.jsonl" for path in paths if not _FILE.fullmatch(path.stem)]
        names = [path.stem.partition("-")[2].casefold() for path in paths]
        problems += [
            f"{path}: another file is of the same rater; rename one of them or take it out"
            for path, name in zip(paths, names, strict=True)
            if names.count(name) > 1
        ]
        if problems:
            raise DataError(problems)
        return [Ratings(path, self.tasks) for path in paths]

    def rater(self, name: str, kind: Literal["judgements", "judges"] = "judgements") -> Ratings:
        """The file of a rater, new or known; names are the same whatever their case.

        Raises:
            UserError: The name can't be used.
        """
        name = rater_name(name)
        known = self.ratings(kind)
        number = max((ratings.number for ratings in known), default=-1) + 1
        paths = [ratings.path for ratings in known if ratings.rater.casefold() == name.casefold()]
        path = paths[0] if paths else self.folder / kind / f"{number:02d}-{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # what a crash cut off
        return Ratings(path, self.tasks)


def other_side(side: Side) -> Side:
    """The response that stands right when `side` stands left."""
    return "second" if side == "first" else "first"


def rater_name(name: str) -> str:
    """The name as it is kept.

    Raises:
        UserError: It is empty, too long or has other characters than letters, digits, `_` and `-`.
    """
    name = unicodedata.normalize("NFC", name.strip())
    if not _NAME.fullmatch(name):
        raise UserError("a rater's name has 1 to 40 letters, digits, '_' or '-', such as 'anna' or 'r2'")
    return name


def open_key(study: Study, path: Path | None = None) -> Key:
    """Breaks the seal.

    Args:
        study: The study.
        path: Where the key is, if not in the study's folder.

    Raises:
        UserError: There is no key, or it isn't the one that was sealed with the study.
    """
    path = path or study.folder / "key.json"
    key = _read_json(path, f"{path}: no key there; name the file with --key")
    if hashlib.sha256(path.read_bytes()).hexdigest() != study.key_sha256:
        raise UserError(
            f"{path} is not the key that was sealed with {study.folder}; restore the one it was exported with"
        )
    return Key(**key)


def _read_json(path: Path, missing: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(missing) from None
    except ValueError:
        raise UserError(f"{path} is damaged: not JSON; restore it or export anew") from None


def _read_judgements(path: Path, tasks: set[str]) -> list[Judgement]:
    text = path.read_text(encoding="utf-8")
    judgements, problems = [], []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            judgement = Judgement(**json.loads(line))
        except (ValueError, TypeError):
            problems.append(f"{path}, line {number}: not a judgement as `compare rate` writes it; take the line out")
            continue
        if judgement.task not in tasks:
            problems.append(f"{path}, line {number}: no such task in this study; the file belongs to another one")
        elif judgement.choice not in get_args(Choice) or judgement.left not in get_args(Side):
            problems.append(f"{path}, line {number}: choice is first, second or tie, and left is first or second")
        judgements.append(judgement)
    if problems:
        raise DataError(problems)
    return judgements
