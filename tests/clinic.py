"""Rows of a clinic that never was, and a run of `synthesize` whose prompts hold them."""

import json
import random
from pathlib import Path

import yaml

import cli

CONFIGS = Path(__file__).parents[1] / "configs" / "synthesis"
WHO = ["sister", "neighbour", "teacher", "cousin", "landlord", "coach", "boss", "aunt", "flatmate", "doctor"]
WHAT = ["left", "shouts", "drinks", "moved", "lied", "cried", "called", "waits", "smokes", "sings"]
WHERE = ["kitchen", "station", "garden", "office", "hall", "bus", "attic", "clinic", "school", "shop"]
SAY = ["heavy", "lonely", "unfair", "sad", "loud", "strange", "quiet", "bitter", "tiring", "grim"]


def write_clinical(path, seed):
    """240 pairs of the clinic, of one source whatever the seed."""
    dice = random.Random(seed)
    rows = []
    for number in range(240):
        who, what, where, say = (dice.choice(words) for words in (WHO, WHAT, WHERE, SAY))
        moods = " and ".join(dice.choice(SAY) for _ in range(5))
        rows.append(
            {
                "id": f"{seed}-{number}",
                "source": "clinical",
                "seeker_post": f"My {who} {what} near the {where}, {moods}.",
                "response_post": f"That is {say}. Does the {dice.choice(WHERE)} feel {dice.choice(SAY)} to your {who}?",
                "levels": {"explorations": number % 3},
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def synthesize(folder, output, *options):
    """Sixty dialogues by the scripted engine, whose prompts hold pairs of `clinical.jsonl` in the folder."""
    examples = {"files": [str(folder / "clinical.jsonl")], "source": "clinical", "per_prompt": 2}
    extra = folder / "examples.yaml"
    extra.write_text(
        yaml.safe_dump({"examples": examples, "targets": {"mechanisms": ["explorations"], "dialogues": 60}})
    )
    config = ["--config", str(CONFIGS / "scripted.yaml"), "--config", str(extra)]
    config += ["--prompts", str(CONFIGS / "prompts" / "empathy.yaml")]
    return cli.main(["synthesize", *config, "--output", str(output), *options])
