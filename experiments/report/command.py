"""`python cli.py report`: runs and experiments as one page, with figures and a model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from datamodules.files import replacing, replacing_path
from errors import UserError

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments.

    Returns:
        The exit status.

    Raises:
        UserError: A folder or an option can't be used.
    """
    options = _parser().parse_args(argv)
    if options.resamples < 100:
        raise UserError(f"--resamples {options.resamples}: intervals need 100 or more")
    if not options.runs and not options.model_card:
        raise UserError("name run folders or experiment folders, or a run for --model_card")
    out: Path = options.output
    there = next((path for path in (out, *out.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
        raise UserError(f"--output {out}: {there} is a file; name a folder")
    from experiments.report.build import build
    from experiments.report.document import markdown
    from experiments.report.page import render
    from experiments.report.runs import read_all

    card = _card(options.model_card) if options.model_card else ""
    if options.runs:
        document = build(read_all(options.runs), options.title, options.resamples, options.examples)
        page, text = render(document), markdown(document)
        for picture in document.pictures:
            for suffix, drawn in (("svg", picture.svg), ("png", picture.png)):
                if drawn:
                    with replacing_path(out / "figures" / f"{picture.name}.{suffix}") as part:
                        part.write_bytes(drawn)
        for name, content in (("report.html", page), ("report.md", text)):
            with replacing(out / name) as file:
                file.write(content)
        print("\n".join(document.caveats))
        for answer in document.answers:
            print("\n  ".join([answer.head, *answer.details]))
        print(out / "report.html")
    if card:
        with replacing(out / "model_card.md") as file:
            file.write(card)
        print(out / "model_card.md")
    return 0


def _card(folder: Path) -> str:
    from experiments.report.card import model_card
    from experiments.report.runs import read_all

    (experiment,) = read_all([folder])
    if len(experiment.runs) > 1:
        raise UserError(f"--model_card {folder}: it holds {len(experiment.runs)} runs; name one of {folder / 'runs'}")
    return model_card(experiment)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py report",
        description="One page, its Markdown and its figures of finished runs and experiments; a model card of a run.",
    )
    parser.add_argument("runs", nargs="*", type=Path, help="run folders of fit or test, folders of experiment")
    parser.add_argument("--output", type=Path, required=True, help="folder for report.html, report.md and figures/")
    parser.add_argument("--title", help="heading of the page (default: the experiments' titles)")
    parser.add_argument("--model_card", type=Path, metavar="RUN", help="write model_card.md of this run")
    parser.add_argument("--resamples", type=int, default=5000, help="draws of the bootstrap (default 5000)")
    parser.add_argument(
        "--examples", type=int, default=3, help="rationales of each mechanism, with their text (default 3; 0: none)"
    )
    return parser
