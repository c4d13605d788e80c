"""Small studies for the tests of `experiments.pairwise`."""

import json

from experiments.pairwise.draw import System, draw_study
from experiments.pairwise.study import Judgement, Study, open_key


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_study(folder, systems=("plain", "tagged"), contexts=6, **options):
    """Dialogues d0, d1, ... of one seeker turn; system s answers d3 with `s answers 3`."""
    folder.mkdir(parents=True, exist_ok=True)
    dialogues = [{"id": f"d{n}", "turns": [{"speaker": "seeker", "text": f"worry {n}"}]} for n in range(contexts)]
    files = [
        System(name, write_rows(folder / f"{name}.jsonl", [answer(name, n) for n in range(contexts)]))
        for name in systems
    ]
    options = {"seed": 1, **options}
    note = draw_study(files, write_rows(folder / "contexts.jsonl", dialogues), folder / "study", **options)
    return Study(folder / "study"), note


def answer(system, number):
    return {"id": f"d{number}:1", "response": f"{system} answers {number}", "strategy": None}


def judge(study, rater, preferred, kind="judgements", sides=None, key=None):
    """Judges every task: `preferred(key row, left)` names the better system, None for a tie."""
    key = key or open_key(study)
    ratings = study.rater(rater, kind)
    for left in sides or [None]:
        for task, side in ratings.order(study.tasks.values()):
            row = key.tasks[task.id]
            system = preferred(row, left or side)
            choice = "tie" if system is None else "first" if row["first"] == system else "second"
            ratings.add(Judgement(task.id, ratings.rater, choice, left or side, 2.0, "2026-01-01T00:00:00+00:00"))
    return ratings
