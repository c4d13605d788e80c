"""From prompts with clinical text to rows that may leave, or not: `synthesize`, `audit` and the files between them."""

import json
import random
from pathlib import Path

import pytest
import yaml

import cli
from errors import UserError
from synthesis.push import check_shareable

ROOT = Path(__file__).parents[1]
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


@pytest.fixture
def held(tmp_path, monkeypatch):
    """The folder of a run whose prompts held clinical text."""
    monkeypatch.chdir(ROOT)
    write_clinical(tmp_path / "clinic.jsonl", 1)
    write_clinical(tmp_path / "unseen.jsonl", 2)
    assert synthesize(tmp_path) == 0
    return tmp_path / "out"


def synthesize(folder, *options):
    examples = {"files": [str(folder / "clinic.jsonl")], "source": "clinical", "per_prompt": 2}
    extra = folder / "examples.yaml"
    extra.write_text(
        yaml.safe_dump({"examples": examples, "targets": {"mechanisms": ["explorations"], "dialogues": 60}})
    )
    config = ["--config", "configs/synthesis/scripted.yaml", "--config", str(extra)]
    return cli.main(["synthesize", *config, "--output", str(folder / "out"), *options])


def audit(held, *options, rows="held.jsonl"):
    output = str(held.parent / "audit")
    return cli.main(["audit", str(held / rows), "--encoder", "tfidf", "--output", output, *map(str, options)])


def export(held, *options):
    real, unseen = held.parent / "clinic.jsonl", held.parent / "unseen.jsonl"
    return audit(held, "--real", real, "--test", unseen, "--export", held / "rows.jsonl", *options)


def test_rows_are_held_until_the_audit_passes(held, capsys):
    assert sorted(path.name for path in held.iterdir()) == ["attempts.jsonl", "card.md", "held.jsonl"]
    with pytest.raises(UserError, match=r"not pushed; nothing was sent.*audit .*held\.jsonl"):
        check_shareable(held)
    assert audit(held, "--export", held / "rows.jsonl") == 2
    assert "60 rows come from prompts that held clinical text and are not exported" in capsys.readouterr().err
    assert not (held / "rows.jsonl").exists()
    assert export(held) == 0
    assert "exported to" in capsys.readouterr().err
    assert (held / "rows.jsonl").read_bytes() == (held / "held.jsonl").read_bytes()
    assert json.loads((held / "rows.jsonl.release.json").read_text())["reason"] == "audit passed"
    check_shareable(held)


def test_rows_that_copy_stay_until_someone_signs(held, capsys):
    copied = json.loads((held.parent / "clinic.jsonl").read_text().splitlines()[0])
    text = (held / "held.jsonl").read_text().splitlines()
    row = json.loads(text[0])
    row["seeker_post"] = f"{copied['seeker_post']} {copied['response_post']}"
    (held / "held.jsonl").write_text("\n".join([json.dumps(row), *text[1:]]) + "\n")
    assert export(held) == 2
    assert "not exported: copied text: 1 rows; longest run" in capsys.readouterr().err
    assert not (held / "rows.jsonl").exists()
    waiver = held.parent / "waiver.yaml"
    waiver.write_text("name: A. Person\nreason: agreed\ndate: 2025-01-31\n")
    assert export(held, "--waiver", waiver) == 0
    assert json.loads((held / "rows.jsonl.release.json").read_text())["signed"]["name"] == "A. Person"
    check_shareable(held)


def test_a_release_is_of_these_rows_only(held):
    export(held)
    assert synthesize(held.parent, "--targets.dialogues", "66") == 0
    with pytest.raises(UserError, match="not pushed"):
        check_shareable(held)
