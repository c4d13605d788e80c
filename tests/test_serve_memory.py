"""What a batch needed goes back to the system when the batch is done."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import pytest

from inference.web import memory


def resident_mib() -> int:
    """What this process holds in memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked for it")
def test_freed_memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_EVERY", 0.0)

    def work(batch: Sequence[int]) -> list[bytes]:
        blocks = [b"x" * 100_000 for _ in range(2_000)]
        return [b"y" * len(blocks[0])] * len(batch)  # made last, it lies above the freed blocks and holds them in place

    def grown(run: object) -> int:
        before = resident_mib()
        results = run([1, 2])  # type: ignore[operator]
        assert results == [b"y" * 100_000] * 2
        return resident_mib() - before

    assert grown(work) > 150
    assert grown(memory.giving_back(work)) < 40
