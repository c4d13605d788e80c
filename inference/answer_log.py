"""Every answer of an engine, kept as it comes: none is paid for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import UserError
from inference.engines import Answer, Asked

__all__ = ["AnswerLog", "seed_of"]


@dataclass(frozen=True)
class _Kept:
    """An answer from the log."""

    text: str
    finish: str
    model: str
    revision: str
    usage: None = None


class AnswerLog:
    """Every answer ever paid for, a JSON line each, found by what was asked; a half last line is dropped.

    Args:
        path: The file; made where it is missing.

    Raises:
        UserError: The file is something else.
    """

    def __init__(self, path: Path) -> None:
        self.paid = 0
        self._answers: dict[str, _Kept | None] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                fields = (entry[name] for name in ("answer", "finish", "model", "revision"))
                self._answers[entry["request"]] = None if entry["rejected"] else _Kept(*fields)
            except (ValueError, TypeError, KeyError):
                raise UserError(f"{path} is no log of answers; move that file elsewhere") from None
            whole += len(line)
        self._file.truncate(whole)

    async def ask(
        self,
        asked: Asked,
        messages: Sequence[dict[str, str]],
        seed: int,
        about: Mapping[str, Any],
        *,
        role: str,
        target: Mapping[str, Any],
        sources: frozenset[str],
    ) -> Answer | None:
        """An answer, from the log where it is there.

        Args:
            asked: The engine.
            messages: What it reads.
            seed: Of the draw.
            about: What the log is to say of the request.
            role: See `Engine.ask`, as the rest.
            target: See `Engine.ask`.
            sources: See `Engine.ask`.

        Returns:
            The answer; None where the request was rejected.

        Raises:
            UserError: The engine refuses or doesn't answer.
        """
        request = _digest([asked.identity(), messages, seed])
        if request in self._answers:
            return self._answers[request]
        answer = await asked.engine.ask(messages, asked.sampling, seed, role=role, target=target, sources=sources)
        self.paid += 1
        self._add({**about, "seed": seed, **asked.identity(), "request": request}, answer)
        return answer

    def _add(self, entry: dict[str, Any], answer: Answer | None) -> None:
        said = {"answer": "", "finish": "rejected", "model": "", "revision": ""}
        if answer:
            said = {"answer": answer.text, **{name: getattr(answer, name) for name in ("finish", "model", "revision")}}
            entry |= {name: getattr(answer.usage, name) for name in ("prompt_tokens", "completion_tokens")}
        self._file.write(json.dumps({**entry, "rejected": answer is None, **said}, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def seed_of(*what: Any) -> int:
    """The seed of an answer, from all that tells it from the others."""
    return int(_digest(what)[:7], 16)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
