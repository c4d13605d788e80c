"""What every test shares: no network, no cache outside the test's folder, tiny models and one trained run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # asked for when the hub's client is imported

from running import Ran, config, succeed
from tiny import save_tiny_encoder, tiny_pairs, write_epitome


@pytest.fixture(autouse=True, scope="session")
def _closed_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Only this machine can be reached, and caches lie in the test session's folder."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("ATTUNE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny RoBERTa with a byte-level tokenizer."""
    return str(save_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="session")
def reddit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with three files of 80 pairs, like EPITOME's."""
    return write_epitome(tmp_path_factory.mktemp("reddit"), tiny_pairs(80))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, encoder: str, reddit: Path) -> Ran:
    """A finished run of two epochs of 8 steps: 60 rows train, 4 validate, 16 test. Tests must not write into it."""
    file = config(tmp_path_factory.mktemp("trained") / "tiny.yaml", encoder, data={"reddit": str(reddit)})
    return succeed("fit", "--config", file)


@pytest.fixture(scope="session")
def talkers(tmp_path_factory: pytest.TempPathFactory, encoder: str) -> dict[str, Path]:
    """Finished runs of a strategy classifier and of responders with tags (`tagged`) and without (`plain`)."""
    from tiny_dialogues import train_talkers

    return train_talkers(tmp_path_factory.mktemp("talkers"), encoder)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where a test keeps its runs."""
    return tmp_path / "runs"
