"""What `test_kills` runs in a process of its own and kills."""

import os
import sys

import synthesis.run
import synthesis.scripted
from synthesis.command import build_parser, main

build_parser()  # everything is loaded once, before the server of `test_kills` forks


def make_dialogues(output, dialogues):
    # rows.jsonl is rewritten all the time, so that kills fall into its writing too
    synthesis.run._ROWS_EVERY = 0.0
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - as long as the process lives
    options = ["--config", "configs/synthesis/scripted.yaml", "--engine.init_args.delay", "0.003"]
    sys.exit(main([*options, "--output", str(output), "--targets.dialogues", str(dialogues)]))
