"""Prompts of study B's three conditions, as data: plain, with thinking that is cut, with a strategy."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal, get_args

from datamodules.dialogues import Turn
from errors import DataError, UserError
from inference.engines import Answer

__all__ = ["ENDS", "PROMPTINGS", "Prompting", "PromptingName", "load_prompting", "without_thinking"]

PromptingName = Literal["plain", "cot", "strategy"]
PROMPTINGS: tuple[PromptingName, ...] = get_args(PromptingName)

_OWN = Path(__file__).parent.parent / "configs" / "prompting"
_KEYS = {"plain": set(), "cot": {"marker"}, "strategy": {"strategies"}}
_PLACES = {"plain": set(), "cot": {"marker"}, "strategy": {"strategy", "meaning"}}
_TAG = "(?:think|thinking|reasoning)>"
_THINKING = re.compile(rf"(?:<{_TAG}.*?|\A(?:(?!<{_TAG}).)*?)</{_TAG}", re.DOTALL | re.IGNORECASE)
"""A model's thoughts; where the chat template has opened the tag, the answer holds its end alone."""
_OPENED = re.compile(f"<{_TAG}", re.IGNORECASE)
_EMPHASIS = re.compile(r"\A(?P<marks>[*_]+)(?P<said>[^*_]+)(?P=marks)\Z")
_SPEAKER = re.compile(
    r"\A(?P<marks>[*_]*)(?:supporter|assistant)(?:(?P=marks)\s*:|\s*:(?P=marks))\s*(?P<said>.*)\Z",
    re.DOTALL | re.IGNORECASE,
)
_QUOTES = re.compile(r'\A["“](?P<said>[^"“”]*)["”]\Z')
"""What stands around a whole message, or before it."""

ENDS = {"length": "cut off at max_tokens", "refusal": "refused"}
"""What is wrong with an answer that ended so."""


@dataclass(frozen=True)
class Prompting:
    """A prompts file, checked.

    Args:
        name: Which of study B's conditions it is.
        system: What the model is told first.
        user: The template of the task.
        marker: What begins the response after the thinking; empty: there is no thinking.
        strategies: Label -> what it means.
        hash: Of all of the above: the version.
    """

    name: PromptingName
    system: str
    user: str
    marker: str
    strategies: Mapping[str, str]
    hash: str

    def messages(self, turns: Sequence[Turn], strategy: str | None) -> list[dict[str, str]]:
        """The messages that ask for the turn after `turns`."""
        said = "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)
        values = {"conversation": said or "(nothing was said yet)", "marker": self.marker}
        if strategy is not None:
            values |= {"strategy": strategy, "meaning": self.strategies[strategy]}
        task = Template(self.user).substitute(values).strip()
        return [{"role": "system", "content": self.system.strip()}, {"role": "user", "content": task}]

    def read(self, answer: Answer | None) -> tuple[str, str]:
        """The response in an answer, its thinking cut, and what is wrong where there is none."""
        if answer is None:
            return "", "rejected"
        if answer.finish in ENDS:
            return "", ENDS[answer.finish]
        text = without_thinking(answer.text)
        if text is None:
            return "", "thinking without an end"
        if self.marker:
            before, found, text = text.rpartition(self.marker)
            if not found:
                return "", f"no '{self.marker}' in it"
            text = _without_end_of(before[len(before.rstrip("*_")) :], text.strip())
        for around in (_EMPHASIS, _SPEAKER, _QUOTES):
            text = around.sub(r"\g<said>", text.strip())
        text = text.strip()
        return text, "" if text else "empty"


def without_thinking(text: str) -> str | None:
    """What a model wrote besides its thoughts; None where they have no end."""
    said = _THINKING.sub("", text)
    return None if _OPENED.search(said) else said


def _without_end_of(marks: str, text: str) -> str:
    """A text without the end of an emphasis that began before it."""
    return text.removeprefix(marks) if text.startswith(marks) else text.removesuffix(marks)


def load_prompting(name: PromptingName, path: Path | None = None, labels: Sequence[str] = ()) -> Prompting:
    """Reads a prompts file and checks that nothing will be missing on the way.

    Args:
        name: The condition.
        path: YAML as in `configs/prompting`; None: ours.
        labels: What the classifier may say.

    Raises:
        DataError: With all that is wrong.
    """
    import yaml

    file = path or _OWN / f"{name}.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"prompts '{file}' can't be read: {' '.join(str(error).split())}") from None
    wanted = {"system", "user"} | _KEYS[name]
    if not isinstance(content, dict) or content.keys() != wanted:
        raise UserError(f"prompts '{file}' for {name} need {', '.join(sorted(wanted))} and nothing else")
    problems = [
        f"'{key}' is not a text, or empty" for key in sorted(wanted - {"strategies"}) if not _is_text(content[key])
    ]
    meanings = content.get("strategies", {})
    if not isinstance(meanings, dict) or not all(map(_is_text, meanings.values())):
        problems.append("'strategies' is not a mapping of labels to texts")
        meanings = {}
    problems += [f"'strategies' has no meaning of '{label}'" for label in labels if label not in meanings]
    if not problems:
        problems = _placeholder_problems(content["user"], {"conversation"} | _PLACES[name])
    if problems:
        raise DataError([f"{file}: {problem}" for problem in problems])
    canonical = json.dumps([name, content], sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    return Prompting(name, content["system"], content["user"], content.get("marker", ""), meanings, digest)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _placeholder_problems(template: str, wanted: set[str]) -> list[str]:
    if not Template(template).is_valid():
        return ["'user' has a dollar sign that begins no placeholder; write $$ for one"]
    found = set(Template(template).get_identifiers())
    return [f"'user' has no ${name}" for name in sorted(wanted - found)] + [
        f"'user' has ${name}, which nothing fills" for name in sorted(found - wanted)
    ]
