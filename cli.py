"""The one door: `python cli.py COMMAND ...`. Nothing heavy is imported before a command is known."""

from __future__ import annotations

import importlib
import os
import sys
from difflib import get_close_matches

from errors import STORAGE, UserError

COMMANDS = {
    "fit": ("training.command:main", "train a model, test it, print the scores"),
    "validate": ("training.command:main", "score a trained model on the validation rows"),
    "test": ("training.command:main", "score a trained model on the test rows"),
    "predict": ("training.command:main", "write a trained model's predictions of its DataModule's rows"),
    "prepare": ("datamodules.prepare:main", "fetch and verify a public corpus, or turn transcripts into rows"),
    "score": ("inference.score:main", "levels and rationales, or strategies, for any file, by a finished run"),
    "respond": ("inference.respond:main", "responses to dialogues, by a finished responder or a prompted large model"),
    "strategies": ("datamodules.strategy_table:main", "our merged corpus of strategies beside study B's table"),
    "responders": ("inference.responder_table:main", "tested responders side by side, as study B prints them"),
    "serve": ("inference.serve:main", "a page and endpoints on this machine: score as one writes, talk to a responder"),
    "synthesize": ("synthesis.command:main", "make synthetic dialogues with a language model"),
    "audit": ("audit.command:main", "quality, privacy and bias of synthetic rows"),
    "annotate": ("experiments.annotation.command:main", "tasks for annotators, and their answers back as rows"),
    "agreement": ("experiments.agreement:main", "how far annotators agree, and a model with them"),
    "experiment": ("experiments.command:main", "run a grid of trainings into one table, resumable"),
    "sweep": ("experiments.sweep:main", "run a W&B sweep file without an account"),
    "report": ("experiments.report.command:main", "one page, figures and a model card of runs and experiments"),
    "compare": ("experiments.pairwise.command:main", "blind pairwise judgement of two systems' responses"),
}
"""Command -> (where its `main(argv)` is, what it does)."""

_TRAINING = "training.command:main"


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python cli.py COMMAND [options]",
            "",
            "attune: empathy and support-strategy models for counselling text.",
            "",
            "commands:",
            *lines,
            "",
            "python cli.py COMMAND --help lists a command's options.",
        ]
    )


def _complain(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def main(argv: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The arguments after the program's name; None: the process's own.

    Returns:
        The exit status: 0, or 2 where the arguments or the data are at fault.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    name = arguments[0]
    if name.startswith("-"):
        return _complain(f"'{name}' stands before the command; write: python cli.py COMMAND {name} ...")
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; the commands are {', '.join(COMMANDS)}"
        return _complain(f"there is no command '{name}'{hint}")
    place = COMMANDS[name][0]
    module, function = place.split(":")
    try:
        command = getattr(importlib.import_module(module), function)
        status: int = command(arguments if place == _TRAINING else arguments[1:])
        sys.stdout.flush()
    except UserError as error:
        return _complain(str(error))
    except BrokenPipeError:  # whoever read the output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        return _complain(
            f"{error.strerror}: {error.filename or 'while writing'}; nothing half-written has a final name"
        )
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
