"""`compare export|rate|judge|score`: blind pairwise comparison of systems."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datamodules.records import SOURCES
from errors import UserError

__all__ = ["main"]

_PORT = 8017


def main(argv: list[str] | None = None) -> int:
    """Runs one of the four steps; results on stdout, notes on stderr."""
    args = _parser().parse_args(argv)
    return {"export": _export, "rate": _rate, "judge": _judge, "score": _score}[args.step](args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py compare", description="Which of two systems' responses is better, blind."
    )
    steps = parser.add_subparsers(dest="step", required=True)

    export = steps.add_parser("export", help="draw a study from the systems' responses")
    export.add_argument("systems", nargs="+", metavar="[NAME=]FILE", help="rows of id and response; NAME: the file's")
    export.add_argument("--contexts", type=Path, required=True, help="the dialogues or posts that were answered")
    export.add_argument("--output", type=Path, required=True, metavar="STUDY", help="a new folder")
    export.add_argument(
        "--source",
        choices=SOURCES,
        default="clinical",
        help="what contexts are whose rows have no source (default: clinical, which `judge` keeps on this machine)",
    )
    export.add_argument("--count", type=_positive, help="contexts to draw (default: all)")
    export.add_argument("--seed", type=int, help="of the draw (default: a random one, known to the key alone)")
    export.add_argument("--key", type=Path, help="where the sealed key goes (default: STUDY/key.json)")
    export.add_argument("--question", help="what raters are asked (default: study B's question)")

    rate = steps.add_parser("rate", help="judge in a browser; nothing leaves this machine")
    rate.add_argument("study", type=Path)
    rate.add_argument("--port", type=int, default=_PORT, help="on 127.0.0.1; 0: any free one (default: %(default)s)")

    judge = steps.add_parser("judge", help="let a model judge, each task in both orders")
    judge.add_argument("study", type=Path)
    judge.add_argument(
        "--engine", type=Path, required=True, metavar="CONFIG", help="YAML: engine (class_path, init_args), sampling"
    )
    judge.add_argument("--name", help="names the judge (default: the engine's name)")
    judge.add_argument(
        "--tries", type=_positive, default=3, help="answers asked for until one holds a verdict (default: %(default)s)"
    )

    score = steps.add_parser("score", help="break the seal and print what the judgements show")
    score.add_argument("study", type=Path)
    score.add_argument("--key", type=Path, help="the key, if it is elsewhere (default: STUDY/key.json)")
    score.add_argument("--output", type=Path, metavar="FILE.json", help="the numbers under flat keys")
    return parser


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _export(args: argparse.Namespace) -> int:
    from experiments.pairwise.draw import QUESTION, System, draw_study

    systems = []
    for given in args.systems:
        name, equals, path = given.partition("=")
        systems.append(System(name, Path(path)) if equals else System(Path(given).stem, Path(given)))
    note = draw_study(
        systems,
        args.contexts,
        args.output,
        count=args.count,
        seed=args.seed,
        question=args.question or QUESTION,
        key_path=args.key,
        source=args.source,
    )
    print(note, file=sys.stderr)
    return 0


def _rate(args: argparse.Namespace) -> int:
    from experiments.pairwise.server import RatingServer
    from experiments.pairwise.study import Study

    with RatingServer(Study(args.study), args.port) as server:
        print(
            f"Judge at {server.url} ; stop with Ctrl-C. Each choice is kept at once in {args.study}.", file=sys.stderr
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nStopped; the same command goes on.", file=sys.stderr)
    return 0


def _judge(args: argparse.Namespace) -> int:
    import asyncio

    from experiments.pairwise.engine import load_judge
    from experiments.pairwise.judge import judge_study
    from experiments.pairwise.study import Study

    def progress(done: int, total: int) -> None:
        if done == total or done % 20 == 0:
            print(f"{done} of {total} answers", file=sys.stderr)

    study = Study(args.study)
    judge = load_judge(args.engine, args.name, study.sources, args.tries)
    try:
        note = asyncio.run(judge_study(study, judge, progress))
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on.", file=sys.stderr)
        return 130
    if note:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _score(args: argparse.Namespace) -> int:
    from datamodules.files import write_json
    from experiments.pairwise.report import report
    from experiments.pairwise.score import score_study
    from experiments.pairwise.study import Study, open_key

    study = Study(args.study)
    scores = score_study(study, open_key(study, args.key))
    print(report(scores))
    if args.output:
        try:
            write_json(args.output, {key: estimate._asdict() for key, estimate in scores.estimates.items()})
        except OSError as error:
            raise UserError(
                f"--output {args.output} can't be written: {error.strerror}; choose another place"
            ) from None
    return 0
