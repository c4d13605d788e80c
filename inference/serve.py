"""`python cli.py serve`: a page on this machine that scores pairs as one writes, and talks through a responder."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from errors import UserError
from inference.listening import HOST, listening

__all__ = ["main"]

_PORT = 8018


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python cli.py serve",
        usage="python cli.py serve --run EMPATHY [--responder RUN] [--classifier RUN] [options]",
        description="Serve a page and JSON endpoints on this machine, 127.0.0.1.",
        allow_abbrev=False,
    )
    parser.add_argument("--run", required=True, help="an empathy model's run folder or checkpoint file")
    parser.add_argument("--responder", metavar="RUN", help="a responder's, to talk to")
    parser.add_argument(
        "--classifier", metavar="RUN", help="a strategy classifier's, to choose the responder's strategy"
    )
    parser.add_argument("--port", type=int, default=_PORT, help=f"0: any free one (default: {_PORT})")
    parser.add_argument(
        "--store", metavar="FILE", help="keep what is asked and answered in this .jsonl (default: nothing)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command until it is interrupted.

    Args:
        argv: Its arguments.

    Returns:
        The exit status.

    Raises:
        UserError: A run, the port or the file can't be used, or the extra is missing.
    """
    options = _parser().parse_args(argv)
    if options.classifier and not options.responder:
        raise UserError("--classifier chooses a responder's strategy: name one with --responder")
    store = Path(options.store) if options.store else None
    if store and (store.suffix != ".jsonl" or store.is_dir() or not store.parent.is_dir()):
        raise UserError(f"--store {store}: name a .jsonl file in a folder that exists")
    try:
        import uvicorn

        from inference.web.app import build_app
    except ImportError as error:
        raise UserError(f"serve needs the extra 'serve' ({error.name}): pip install 'attune[serve]'") from None
    from inference.scorer import EmpathyScorer
    from inference.web.talking import Talker

    # oneDNN keeps a compiled GELU for each batch size and length, 1024 of them; the layers of a batch need one
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    with listening(options.port) as listener:
        scorer = EmpathyScorer.load(options.run, options.device)
        talker = Talker(options.responder, options.classifier, options.device) if options.responder else None
        app = build_app(scorer, talker, store)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3))
        kept = f"what is asked is kept in {store}" if store else "nothing is kept"
        url = f"http://{HOST}:{listener.getsockname()[1]}/"
        print(f"Serving at {url} ; endpoints at {url}docs ; {kept}; stop with Ctrl-C.", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return 0
