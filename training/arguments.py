"""What stands on the command line, before LightningCLI reads it, and what was wrong with it, in one line."""

from __future__ import annotations

import json
import re

from jsonargparse import ArgumentError

from errors import UserError
from lightning_modules.checkpoints import find_checkpoint, run_of

__all__ = ["one_line", "said_to_user", "with_lists", "with_run_config"]

_FRAME = re.compile(
    r"Does not validate|Subtypes:|Errors:|Given value|Problem with|Expected a path but|Expected a <class 'NoneType'>"
    r"|Subclass types expect|an? (class path|dict)\b"
)
"""Lines of jsonargparse's messages that hold the others together, and say nothing."""


_FILES = {
    f"--data.{name}" for name in ("esconv", "synthetic", "clinical", "split.validation_files", "split.test_files")
}
"""Options that take one file or several."""


def _config_files(argv: list[str]) -> list[str]:
    """What stands behind `--config`, each time that it is given."""
    files = []
    for word, after in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config"):
            files.append(value if equals else after)
    return files


def with_run_config(argv: list[str]) -> list[str]:
    """`--ckpt_path RUN` without `--config` takes the run's own configuration."""
    if _config_files(argv):
        return argv
    for place, word in enumerate(argv):
        name, _, value = word.partition("=")
        if name == "--ckpt_path":
            value = value or (argv[place + 1] if place + 1 < len(argv) else "")
            run = run_of(find_checkpoint(value)) if value and value != "last" else None
            if run is not None:
                return [argv[0], "--config", str(run / "config.yaml"), *argv[1:]]
    return argv


def with_lists(argv: list[str]) -> list[str]:
    """`--data.esconv A B`: several files become the list that the option takes."""
    words: list[str] = []
    files: list[str] = []
    for word in reversed(argv):
        if word.startswith("-"):
            words += [json.dumps(files[::-1])] if word in _FILES and len(files) > 1 else files
            words.append(word)
            files = []
        else:
            files.append(word)
    return [*files[::-1], *reversed(words)]


def one_line(error: ArgumentError, argv: list[str]) -> str:
    """The part of jsonargparse's message that tells a person what to change: the option, and what is wrong with it."""
    text = str(error)
    option = ".".join(re.findall(r'Parser key "([^"]+)"', text))
    lines = [line.strip(" -") for line in re.sub(r'Parser key "[^"]+":', "", text).splitlines()]
    reasons = [line for line in lines if line and not _FRAME.match(line)]
    chosen = next((line for line in reasons if not line.startswith("Expected")), reasons[0])
    given = re.search(r"Given value: (.*)", text)
    if chosen.startswith("Expected") and given and "Got" not in chosen:
        chosen += f". Got value: {given[1]}"
    chosen = chosen.replace("Expected a typing.Literal", "Expected one of ")
    chosen = re.sub(r"a <class '(?:\w+\.)*(\w+)'>", r"\1", chosen)
    if "parsing config" in text or "Unexpected config" in text:
        return f"{' or '.join(_config_files(argv))}: {' '.join(text.split())}"
    if "not accept" in text or "unrecognized" in text:
        classes = re.findall(r"Problem with given class_path '([^']+)'", text)
        lists = f"--{option.split('.')[0]}.help {classes[0]}" if classes else "--help"
        chosen += f"; python cli.py {argv[0]} {lists} lists the options"
    elif "are required" in text:
        chosen += "; a config brings them: --config configs/empathy.yaml"
    return f"--{option}: {chosen}" if option else chosen


def said_to_user(error: BaseException) -> UserError | None:
    """The message to the user that jsonargparse wrapped into an error of its own, if there is one."""
    reason: BaseException | None = error
    while reason is not None and not isinstance(reason, UserError):
        reason = reason.__cause__ or reason.__context__
    return reason
