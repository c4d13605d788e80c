"""What every test shares: no network, no cache outside the test's folder, tiny models."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tiny import save_tiny_encoder


@pytest.fixture(autouse=True)
def _closed_world(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only this machine can be reached, and caches lie in the test session's folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("ATTUNE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny RoBERTa with a byte-level tokenizer."""
    return str(save_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where a test keeps its runs."""
    return tmp_path / "runs"
