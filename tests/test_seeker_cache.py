"""Cached states of the frozen seeker encoder."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_pairs, write_epitome, write_jsonl

from datamodules.empathy import EmpathyDataModule
from datamodules.files import replacing_path
from lightning_modules.empathy import EmpathyModule
from lightning_modules.seeker_cache import SeekerCache, save_states

CPU = torch.device("cpu")
POSTS = [np.array(ids, np.int32) for ids in ([0, 40, 41, 2], [0, 50, 2], [0, 60, 61, 62, 63, 2], [0, 40, 41, 42, 2])]


def build(module: EmpathyModule, private: bool, cache: Path | None) -> SeekerCache:
    parts = [(np.array([2, 0]), False), (np.array([3, 1]), private)]
    return SeekerCache.build(module.network, POSTS, parts, 1, CPU, cache)


def test_states_are_those_of_the_encoder(encoder: str, tmp_path: Path) -> None:
    module = EmpathyModule(encoder)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    ids = torch.tensor([[0, 40, 41, 42, 2], [0, 50, 2, 1, 1]])
    with torch.no_grad():
        wanted = module.network.eval().encode_seeker(ids, mask) * mask[..., None]
    for cache in (build(module.train(), False, tmp_path), build(module, False, tmp_path), build(module, True, None)):
        found = cache.batch(torch.tensor([3, 1]), mask)
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_states_on_disk_are_the_same_to_the_last_bit(encoder: str, tmp_path: Path) -> None:
    module = EmpathyModule(encoder)
    mask = torch.ones(4, 6, dtype=torch.bool) & (torch.arange(6) < torch.tensor([[len(post)] for post in POSTS]))
    fresh, stored, apart = (build(module, False, place) for place in (tmp_path, tmp_path, None))
    for cache in (stored, apart):
        assert torch.equal(cache.batch(torch.arange(4), mask), fresh.batch(torch.arange(4), mask))
    assert len(list(tmp_path.glob("seeker/*.safetensors"))) == 2


def test_other_weights_have_other_states(encoder: str, tmp_path: Path) -> None:
    module = EmpathyModule(encoder)
    build(module, False, tmp_path)
    with torch.no_grad():
        next(module.network.seeker.parameters()).add_(0.1)
    build(module, False, tmp_path)
    assert len(list(tmp_path.glob("seeker/*.safetensors"))) == 4


def test_clinical_posts_are_never_written(encoder: str, tmp_path: Path) -> None:
    module = EmpathyModule(encoder)
    build(module, True, tmp_path)
    assert len(list(tmp_path.glob("seeker/*.safetensors"))) == 1


def test_a_post_of_a_clinical_row_is_private_whoever_shares_it(encoder: str, tmp_path: Path) -> None:
    reddit, clinical = tiny_pairs(8), tiny_pairs(4, "clinical")
    clinical[0].seeker_post = reddit[5].seeker_post
    data = EmpathyDataModule(
        reddit=str(write_epitome(tmp_path / "reddit", reddit)),
        clinical=str(write_jsonl(tmp_path / "c.jsonl", clinical)),
        encoder=encoder,
        max_tokens=48,
        leakage="report",
        cache="",
    )
    data.setup()
    private = {int(post) for numbers, is_private in data.post_parts() if is_private for post in numbers}
    shared = {int(post) for post, pair in zip(data.posts, data.pairs, strict=True) if pair.source == "clinical"}
    assert private == shared
    assert {int(post) for numbers, _ in data.post_parts() for post in numbers} == set(data.posts.tolist())


def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path):
    """The limit on a file's size stands for the disk."""
    file = tmp_path / "states.safetensors"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught, replacing_path(file) as temporary:
            save_states(torch.zeros(10_000), temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(file)
    assert list(tmp_path.iterdir()) == []
