"""`serve` under load: many clients, no failure, flat memory. A short version of `benchmarks/serve_load.py`."""

from __future__ import annotations

import sys

import pytest
from running import ROOT, Ran

sys.path.insert(0, str(ROOT / "benchmarks"))

from serve_load import measure


@pytest.mark.slow
def test_fifty_clients_get_their_answers_and_memory_stays_flat(trained: Ran) -> None:
    found = measure(trained.folder, clients=50, seconds=15, cores=2)
    assert found["failures"] == 0
    assert found["requests"] > 500
    memory = found["memory_mib"]
    half = len(memory) // 2
    assert max(memory[half:]) < 1.05 * max(memory[:half])
