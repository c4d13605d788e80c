"""States of a frozen seeker encoder, computed once for every distinct seeker post.

Legend: B pairs, S seeker tokens, D width, P distinct posts, T tokens of all posts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from datamodules.files import replacing_path
from lightning_modules.networks.bi_encoder import BiEncoder
from sharing import shared

__all__ = ["SeekerCache", "save_states"]

_BATCH_TOKENS = 8192
_ON_DEVICE = 4 << 30


class SeekerCache:
    """Seeker states by post number, on the model's device where they are small, in mapped memory where they aren't.

    Args:
        states: float32 [T, D], posts one after the other in any order.
        starts: int64 [P], where each post's states begin.
        device: Where batches are wanted.
    """

    def __init__(self, states: Tensor, starts: Tensor, device: torch.device) -> None:
        fits = device.type != "cpu" and states.numel() * states.element_size() <= _ON_DEVICE
        self.states = states.to(device) if fits else states
        self.starts = starts.to(self.states.device)
        self.device = device

    def batch(self, posts: Tensor, mask: Tensor) -> Tensor:
        """The states of a batch.

        Args:
            posts: int64 [B], post numbers.
            mask: bool [B, S], True at the posts' tokens.

        Returns:
            float32 [B, S, D], zeros at padding.
        """
        here = self.states.device
        mask = mask.to(here)
        place = self.starts[posts.to(here)][:, None] + torch.arange(mask.shape[1], device=here)  # [B, S]
        states = self.states[torch.where(mask, place, 0)] * mask[..., None]
        return states.to(self.device, non_blocking=True)

    @classmethod
    def build(
        cls,
        network: BiEncoder,
        posts: Sequence[npt.NDArray[np.int32]],
        parts: Sequence[tuple[npt.NDArray[np.int64], bool]],
        pad_id: int,
        device: torch.device,
        folder: Path | None,
    ) -> SeekerCache:
        """Encodes all posts, or takes them from the disk.

        Args:
            network: With its seeker encoder.
            posts: Token ids of each distinct post.
            parts: Post numbers that are stored together, and whether they are private: states of clinical posts are
                never written. Each post is in one part.
            pad_id: Token id of padding.
            device: Where to compute.
            folder: Folder of the cache; None: no disk.

        Returns:
            The cache; the same states, to the last bit, whoever built it on this kind of device.
        """
        starts = torch.zeros(len(posts), dtype=torch.int64)
        states = []
        filled = 0
        for numbers, private in parts:
            members = [posts[number] for number in numbers]
            states.append(_states(network, members, pad_id, device, None if private else folder))
            lengths = torch.tensor([len(post) for post in members])
            starts[torch.from_numpy(numbers)] = filled + torch.cumsum(lengths, 0) - lengths
            filled += int(lengths.sum())
        return cls(torch.cat(states) if len(states) > 1 else states[0], starts, device)


def _states(
    network: BiEncoder, posts: Sequence[npt.NDArray[np.int32]], pad_id: int, device: torch.device, folder: Path | None
) -> Tensor:
    key = cache(lambda: _key(network, posts, device))  # hashes all weights: once, and not where nothing is kept

    def stored() -> Tensor:
        if folder is None:
            return _encode(network, posts, pad_id, device)
        file = folder / "seeker" / f"{key()}.safetensors"
        if not file.is_file():
            with replacing_path(file) as temporary:
                save_states(_encode(network, posts, pad_id, device), temporary)
        return load_file(file)["states"]

    return shared("seeker states", key, stored)


def save_states(states: Tensor, file: Path) -> None:
    """Writes states; a full disk is the `OSError` that it is everywhere else."""
    try:
        save_file({"states": states}, file)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def _key(network: BiEncoder, posts: Sequence[npt.NDArray[np.int32]], device: torch.device) -> str:
    digest = hashlib.sha256(f"{device.type}:{torch.__version__}".encode())
    assert network.seeker is not None
    for name, values in network.seeker.state_dict().items():
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    for post in posts:
        digest.update(post.tobytes() + b"|")
    return digest.hexdigest()


@torch.no_grad()
def _encode(network: BiEncoder, posts: Sequence[npt.NDArray[np.int32]], pad_id: int, device: torch.device) -> Tensor:
    """float32 [T, D] in the order of the posts; batches by length, so that padding is small."""
    assert network.seeker is not None
    training = network.seeker.training
    network.seeker.eval()
    order = sorted(range(len(posts)), key=lambda post: (len(posts[post]), post))
    encoded: list[Tensor] = [torch.empty(0)] * len(posts)
    first = 0
    while first < len(order):
        longest, last = 0, first
        while last < len(order):
            longest = max(longest, len(posts[order[last]]))
            if last > first and longest * (last - first + 1) > _BATCH_TOKENS:
                break
            last += 1
        batch = order[first:last]
        width = max(len(posts[post]) for post in batch)
        ids = torch.full((len(batch), width), pad_id, dtype=torch.int64)
        mask = torch.zeros((len(batch), width), dtype=torch.bool)
        for row, post in enumerate(batch):
            ids[row, : len(posts[post])] = torch.from_numpy(posts[post].astype(np.int64))
            mask[row, : len(posts[post])] = True
        states = network.encode_seeker(ids.to(device), mask.to(device)).float().cpu()
        for row, post in enumerate(batch):
            encoded[post] = states[row, : len(posts[post])]
        first = last
    network.seeker.train(training)
    return torch.cat(encoded)
