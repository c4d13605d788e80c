"""What `test_synthesis_kills` runs in a process of its own and kills."""

import os
import sys

from synthesis import runner
from synthesis.limits import Retry
from synthesis.run import synthesize
from synthesis.scripted import ScriptedEngine
from synthesis.settings import Settings
from synthesis.targets import Targets


def make_dialogues(output, dialogues):
    # rows.jsonl is rewritten all the time, so that kills fall into its writing too
    runner.ROWS_EVERY = 0.0
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - as long as the process lives
    targets = Targets(dialogues=dialogues, methods=["standalone", "reflexion"])
    engine = ScriptedEngine(delay=0.003)
    report = synthesize(
        Settings(engine, "configs/synthesis/prompts/empathy.yaml", targets, retry=Retry(wait=0.0)), output
    )
    sys.exit(bool(report.unmet))
