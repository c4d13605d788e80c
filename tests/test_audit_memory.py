"""A hundred thousand rows: stored, read again and audited within two gigabytes."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from synthesis.store import Store

ROOT = Path(__file__).parents[1]
ROWS = 100_000
GIGABYTE = 1024**2  # in kilobytes, as the kernel counts


def a_text(dice, words):
    return " ".join(dice.choices(words, k=dice.randint(8, 30))) + "."


def peak_of(code, *arguments):
    """Runs code in a process of its own and returns the most memory that this one had, in kilobytes."""
    code += "\nprint(open('/proc/self/status').read())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_hundred_thousand_rows(tmp_path):
    dice = random.Random(0)
    words = ["".join(dice.choices("aeioulmnrst", k=dice.randint(3, 9))) for _ in range(5000)]
    with Store(tmp_path) as store:
        for number in range(ROWS):
            row = {
                "id": f"d{number}",
                "source": "synthetic",
                "generator": "g",
                "seeker_post": a_text(dice, words),
                "response_post": a_text(dice, words),
                "levels": {"explorations": number % 3},
                "target": {"mechanism": "explorations", "level": number % 3},
            }
            store.append({"kind": "dialogue", "dialogue": f"d{number}", "accepted": True, "rows": [row]})
    reopen = (
        "import sys, pathlib; from synthesis.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])) as store:\n"
        f"    store.write_rows('rows.jsonl', [f'd{{n}}' for n in range({ROWS})])"
    )
    assert peak_of(reopen, str(tmp_path)) < 0.25 * GIGABYTE
    rows = tmp_path / "rows.jsonl"
    lines = rows.read_text().splitlines()
    assert len(lines) == ROWS
    (tmp_path / "real.jsonl").write_text("".join(f"{line}\n" for line in dice.sample(lines, 3000)))
    options = ["--encoder", "tfidf", "--select", "420", "--output", str(tmp_path / "audit")]
    audit = "import sys, cli; assert cli.main(['audit', *sys.argv[1:]]) == 0"
    peak = peak_of(audit, str(rows), "--real", str(tmp_path / "real.jsonl"), *options)
    print(f"peak of the audit: {peak / GIGABYTE:.2f} GB")
    assert peak < 2 * GIGABYTE, f"{peak / GIGABYTE:.2f} GB"
    values = json.loads((tmp_path / "audit" / "audit.json").read_text())["values"]
    assert values["privacy/copied_rows"]["n"] == ROWS
    assert values["privacy/longest_run"]["value"] >= 30, "the real rows are copies of synthetic ones"
