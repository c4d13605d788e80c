"""Making a study: contexts are drawn, every two systems meet on each, and a sealed key balances the sides."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

from datamodules.files import replacing_path
from datamodules.records import Source
from datamodules.sources.report import sha256_of
from datamodules.splits import seeded_key
from errors import UserError
from experiments.pairwise.inputs import Context, read_contexts, read_responses
from experiments.pairwise.study import Key, Task

__all__ = ["QUESTION", "System", "draw_study"]

QUESTION = "Which response is more helpful and supportive?"
"""What study B asked."""

_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class System:
    """A system under comparison.

    Args:
        name: What tables call it.
        path: Its responses, rows of `id` and `response` as `respond` writes them.
    """

    name: str
    path: Path


def draw_study(
    systems: Sequence[System],
    contexts_path: Path,
    folder: Path,
    *,
    count: int | None = None,
    seed: int | None = None,
    question: str = QUESTION,
    key_path: Path | None = None,
    source: Source = "clinical",
) -> str:
    """Writes a study: a task for each drawn context and pair of systems.

    Contexts are drawn at random and spread over dialogues, since those of one dialogue are not independent. Of two
    systems, each is a task's first response in half of the contexts, drawn at random.

    Args:
        systems: Two or more.
        contexts_path: Rows of dialogues (`id`, `turns`) or posts (`id`, `seeker_post`).
        folder: Where the study goes.
        count: Contexts to draw from those that every system answered; null: all of them.
        seed: Of the draws; null: a number that nobody knows, kept in the key.
        question: What raters are asked.
        key_path: Where the key goes; null: into the folder.
        source: What contexts are whose own rows don't say.

    Returns:
        What was drawn and what was left out, for the user.

    Raises:
        UserError: Fewer than two systems, a name twice, unusable files, fewer contexts than asked for, or a place that
            exists or can't be written.
    """
    _check_names([system.name for system in systems])
    seed = secrets.randbits(64) if seed is None else seed
    responses = {system.name: read_responses(system.path) for system in systems}
    contexts = read_contexts(contexts_path, set.intersection(*map(set, responses.values())), source)
    drawn = _drawn(contexts, seed)[:count]
    if not drawn:
        raise UserError(
            f"no id has a response in each of {', '.join(str(system.path) for system in systems)} and a context in "
            f"{contexts_path} (an id is a dialogue's own, or <dialogue>:<turn>): give responses to the same contexts, "
            "and with --contexts the file that was answered"
        )
    if len(drawn) < (count or 0):
        raise UserError(
            f"--count asks for {count} contexts; {len(contexts)} have a response of every system and stand in "
            f"{contexts_path}: lower it"
        )
    tasks, sides = [], {}
    for context, first, second in _sides(list(responses), drawn, seed):
        texts = responses[first][context], responses[second][context]
        name = seeded_key(seed, "\0".join((first, second, context, *texts))).hex()[:12]
        tasks.append(Task(name, contexts[context].turns, *texts, contexts[context].source))
        sides[name] = {"context": context, "first": first, "second": second}
    tasks.sort(key=lambda task: task.id)
    files = {system.name: {"file": str(system.path), "sha256": sha256_of(system.path)} for system in systems}
    _write(folder, question, tasks, Key(files, sides, seed), key_path or folder / "key.json")
    lost = len(set.union(*map(set, responses.values()))) - len(contexts)
    clinical = sum(contexts[name].source == "clinical" for name in drawn)
    same = sum(task.first.split() == task.second.split() for task in tasks)
    return (
        f"{folder}: {len(tasks)} tasks from {len(drawn)} of {len(contexts)} contexts, {len(systems)} systems. "
        f"{lost} ids left out that a system or {contexts_path.name} lacks; {clinical} contexts count as clinical; in "
        f"{same} tasks both responses are the same."
    )


def _write(folder: Path, question: str, tasks: Sequence[Task], key: Key, key_path: Path) -> None:
    """Writes the folder and the key, both or neither."""
    for path in (folder, key_path):
        if path.exists():
            raise UserError(f"{path} exists; choose another place, since a study is never overwritten")
    lines = "".join(json.dumps(asdict(task)) + "\n" for task in tasks).encode()
    sealed = json.dumps(asdict(key), ensure_ascii=False, indent=1).encode()
    head = {
        "question": question,
        "tasks_sha256": hashlib.sha256(lines).hexdigest(),
        "key_sha256": hashlib.sha256(sealed).hexdigest(),
    }
    with _naming(folder):
        folder.mkdir(parents=True)
    try:
        with _naming(folder):
            (folder / "tasks.jsonl").write_bytes(lines)
            (folder / "study.json").write_text(json.dumps(head, ensure_ascii=False, indent=1), encoding="utf-8")
        with _naming(key_path), replacing_path(key_path) as path:
            path.write_bytes(sealed)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Says what couldn't be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}; choose another place") from None


def _check_names(names: Sequence[str]) -> None:
    problems = [
        f"'{name}' is no name of a system: letters, digits and . + - _" for name in names if not _NAME.fullmatch(name)
    ]
    if len(names) < 2 or len(set(names)) < len(names):
        problems.append(f"the systems are {', '.join(names)}: two or more with different names are needed")
    if problems:
        raise UserError("\n".join([*problems, "write NAME=FILE for each"]))


def _drawn(contexts: Mapping[str, Context], seed: int) -> list[str]:
    """All contexts at random, but a dialogue's second one only after each dialogue's first, and so on."""
    ranks: Counter[str] = Counter()
    order: list[tuple[int, int, str]] = []
    for name in sorted(contexts, key=lambda name: seeded_key(seed, f"context:{name}")):
        ranks[contexts[name].dialogue] += 1
        order.append((ranks[contexts[name].dialogue], len(order), name))
    return [name for _, _, name in sorted(order)]


def _sides(systems: Sequence[str], contexts: Sequence[str], seed: int) -> Iterator[tuple[str, str, str]]:
    """Context, first and second system of each task: of two systems, each is first in half of the contexts."""
    for number, (one, other) in enumerate(combinations(systems, 2)):
        for place, context in enumerate(sorted(contexts, key=partial(_side_key, seed, one, other))):
            first = place < (len(contexts) + number % 2) // 2
            yield (context, one, other) if first else (context, other, one)


def _side_key(seed: int, one: str, other: str, context: str) -> bytes:
    return seeded_key(seed, f"side:{one}:{other}:{context}")
