"""From prompts with clinical text to rows that may leave, or not: `synthesize`, `audit` and the files between them."""

import json
import re
from pathlib import Path

import pytest
from clinic import synthesize, write_clinical

import cli
from errors import UserError
from synthesis.engines import Engine, Reply, Usage
from synthesis.examples import ExampleOptions
from synthesis.push import check_shareable
from synthesis.run import synthesize as run
from synthesis.settings import Settings
from synthesis.targets import Targets

ROOT = Path(__file__).parents[1]


@pytest.fixture
def held(tmp_path, monkeypatch):
    """The folder of a run whose prompts held clinical text."""
    monkeypatch.chdir(ROOT)
    write_clinical(tmp_path / "clinical.jsonl", 1)
    write_clinical(tmp_path / "unseen.jsonl", 2)
    assert synthesize(tmp_path, tmp_path / "out") == 0
    return tmp_path / "out"


def audit(held, *options, rows="held.jsonl"):
    output = str(held.parent / "audit")
    return cli.main(["audit", str(held / rows), "--encoder", "tfidf", "--output", output, *map(str, options)])


def export(held, *options):
    real, unseen = held.parent / "clinical.jsonl", held.parent / "unseen.jsonl"
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
    copied = json.loads((held.parent / "clinical.jsonl").read_text().splitlines()[0])
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


class Parrot(Engine):
    """Repeats the first post that it is shown, secret and all, as the seeker's turn."""

    name, concurrency = "parrot", 4

    def identity(self):
        return {"engine": "parrot", "model": "parrot", "revision": ""}

    def outside(self):
        return []

    async def complete(self, request):
        shown = re.search(r'"seeker_post": "([^"]*)"', request.messages[-1]["content"])
        return Reply(json.dumps({"seeker_post": shown[1], "response_post": "I see."}), Usage())


def test_canaries_of_the_prompts_are_found_in_rows_that_repeat_them(held):
    secrets = held.parent / "canaries.jsonl"
    assert cli.main(["audit", "--new_canaries", str(secrets)]) == 0
    examples = ExampleOptions([str(held.parent / "clinical.jsonl")], "clinical", 1, str(secrets))
    targets = Targets(dialogues=90, methods=["standalone"], mechanisms=["explorations"])
    folder = held.parent / "parrot"
    settings = Settings(Parrot(), "configs/synthesis/prompts/empathy.yaml", targets, "none", examples=examples)
    assert run(settings, folder).unmet == {}
    assert audit(folder, "--canaries", secrets) == 0
    content = json.loads((held.parent / "audit" / "audit.json").read_text())
    assert content["values"]["privacy/canaries/said_aloud"]["value"] > 0.9
    assert content["values"]["privacy/canaries/auc"]["value"] > 0.9
    assert not next(check for check in content["checks"] if check["name"] == "canaries")["passed"]
    assert audit(held, "--canaries", secrets) == 0
    content = json.loads((held.parent / "audit" / "audit.json").read_text())
    assert content["values"]["privacy/canaries/said_aloud"]["value"] == 0
    assert next(check for check in content["checks"] if check["name"] == "canaries")["passed"]


def test_a_release_is_of_these_rows_only(held):
    export(held)
    assert synthesize(held.parent, held, "--targets.dialogues", "66") == 0
    with pytest.raises(UserError, match="not pushed"):
        check_shareable(held)
