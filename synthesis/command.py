"""`python cli.py synthesize`: see docs/synthesis.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthesis.card import Report

__all__ = ["main"]


def build_parser() -> Any:
    """The options of the command: those of `Settings` (a config names them) and what becomes of the result."""
    from jsonargparse import ArgumentParser

    from synthesis.settings import Settings

    parser = ArgumentParser(
        prog="cli.py synthesize",
        usage="cli.py synthesize --config FILE --output FOLDER [options]",
        description="Makes synthetic dialogues with a language model: configs/synthesis/*.yaml. Started again with the "
        "same settings and --output, it goes on where it ended.",
    )
    parser.add_argument("--config", action="config", help="A YAML file of the options below; may be given repeatedly.")
    parser.add_argument("--output", type=str, required=True, help="Folder of attempts.jsonl, rows.jsonl and card.md.")
    parser.add_argument("--push", type=str, default=None, help="Upload rows and card to this data set on the hub.")
    parser.add_argument("--push_public", action="store_true", help="Let everybody read what is pushed.")
    parser.add_class_arguments(Settings, None)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The arguments; None: those of the process.

    Returns:
        0 when every quota is met, 1 when some are not.

    Raises:
        UserError: See `synthesis.run.synthesize`.
    """
    from synthesis.push import push
    from synthesis.run import synthesize
    from synthesis.settings import Settings

    parser = build_parser()
    options = parser.instantiate(parser.parse_args(argv))
    fields = {name: getattr(options, name) for name in Settings.__dataclass_fields__}
    output = Path(options.output).expanduser()
    report = synthesize(Settings(**fields), output)
    _show(report, output)
    if options.push:
        print(push(output, options.push, public=options.push_public))
    return 1 if report.unmet else 0


def _show(report: Report, output: Path) -> None:
    from synthesis.store import HELD, ROWS

    if report.repaired:
        print(f"cut off half a line ({report.repaired} bytes) that an earlier run had left", file=sys.stderr)
    if report.stopped:
        print(f"stopped early: {report.stopped}; start the same command again to go on", file=sys.stderr)
    for cell, missing in report.unmet.items():
        print(f"unmet: {cell}: {missing} of {report.wanted[cell]} missing, {report.failed[cell]} failed")
    accepted, failed = sum(report.accepted.values()), sum(report.failed.values())
    print(f"{accepted} accepted, {failed} failed, {report.tokens:,} tokens, cost {report.cost:.2f}")
    if report.file == HELD:
        print(
            f"{HELD}: made from prompts with clinical text. Let the audit decide whether they may leave: "
            f"python cli.py audit {output / HELD} --real CLINICAL --test UNSEEN --export {output / ROWS}",
            file=sys.stderr,
        )
    print(output / report.file)
