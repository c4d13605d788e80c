"""Writing responses: batched, cached, and the same at a seed whatever else is in the batch.

Legend: B prompts, T tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from errors import UserError

__all__ = ["Decoding", "generate", "uniform_of"]


@dataclass
class Decoding:
    """How a response is written.

    Args:
        sample: Draw each token; else take the likeliest.
        temperature: Divides the logits before drawing.
        top_k: Draw among this many likeliest tokens; 0: all.
        top_p: Draw among the likeliest tokens that make up this probability; 1: all.
        repetition_penalty: Divides the positive logits of tokens that are there already; 1: none.
        no_repeat_ngram: Forbid a run of this many tokens that is there already; 0: don't.
        beams: Beams of a beam search; needs `sample: false`.
        seed: Seed of the draws.
    """

    sample: bool = True
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 0.9
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    beams: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks each value."""
        problems = []
        if not self.temperature > 0:
            problems.append(f"temperature {self.temperature} is not above 0; for the likeliest token take sample false")
        if self.top_k < 0 or self.no_repeat_ngram < 0 or self.beams < 1:
            problems.append("top_k and no_repeat_ngram are 0 or more, beams 1 or more")
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p {self.top_p} is not above 0 and at most 1")
        if not self.repetition_penalty > 0:
            problems.append(f"repetition_penalty {self.repetition_penalty} is not above 0")
        if self.beams > 1 and self.sample:
            problems.append("beams need sample false")
        if problems:
            raise UserError("\n".join(f"decoding: {problem}" for problem in problems))


def uniform_of(seed: int, key: str) -> float:
    """A number from 0 to 1 (exclusive) that seed and key fix."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _draws(seed: int, keys: Sequence[str], steps: int) -> Tensor:
    """float64 [B, steps], a stream for each key."""
    streams = [
        np.random.default_rng(np.frombuffer(hashlib.sha256(f"{seed}:{key}".encode()).digest(), np.uint32))
        for key in keys
    ]
    return torch.from_numpy(np.stack([stream.random(steps) for stream in streams]))


class _RowSampler:
    """Draws each row's token by its own numbers, by leaving no other token a chance.

    The token is where the cumulated probabilities pass the number drawn.
    """

    def __init__(self, draws: Tensor, start: int) -> None:
        self.draws = draws
        self.start = start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        cumulated = scores.double().softmax(dim=-1).cumsum(dim=-1)  # [B, V]
        number = self.draws[:, input_ids.shape[1] - self.start, None].to(cumulated.device)
        chosen = torch.searchsorted(cumulated, number * cumulated[:, -1:], right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class _Unpadded:
    """Shows a processor each row without its padding, which nobody said: how long it is depends on the other rows."""

    def __init__(self, inner: Any, padding: Sequence[int]) -> None:
        self.inner = inner
        self.padding = padding

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        beams = len(scores) // len(self.padding)
        starts = [padding for padding in self.padding for _ in range(beams)]
        rows = [self.inner(input_ids[row : row + 1, start:], scores[row : row + 1]) for row, start in enumerate(starts)]
        return torch.cat(rows)


def _processors(options: Decoding, draws: Tensor, start: int, padding: Sequence[int]) -> Any:
    """What changes the scores of each new token, in this order."""
    from transformers.generation.logits_process import (
        LogitsProcessorList,
        NoRepeatNGramLogitsProcessor,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    processors = LogitsProcessorList()
    if options.repetition_penalty != 1:
        processors.append(_Unpadded(RepetitionPenaltyLogitsProcessor(options.repetition_penalty), padding))
    if options.no_repeat_ngram:
        processors.append(_Unpadded(NoRepeatNGramLogitsProcessor(options.no_repeat_ngram), padding))
    if options.sample:
        processors.append(TemperatureLogitsWarper(options.temperature))
        if options.top_k:
            processors.append(TopKLogitsWarper(options.top_k))
        if options.top_p < 1:
            processors.append(TopPLogitsWarper(options.top_p))
        processors.append(_RowSampler(draws, start))
    return processors


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[npt.NDArray[np.int32]],
    keys: Sequence[str],
    options: Decoding,
    *,
    end_id: int,
    max_new_tokens: int,
    banned: Sequence[int] = (),
) -> list[list[int]]:
    """Continues prompts up to the end token.

    Args:
        model: A Hugging Face causal language model, in evaluation mode.
        prompts: Token ids int32 [T] each, of any lengths.
        keys: A name for each prompt that fixes its draws, together with the seed.
        options: How to choose tokens.
        end_id: Token id that ends a response.
        max_new_tokens: Tokens of a response at most.
        banned: Token ids that must not be written.

    Returns:
        The new token ids of each prompt, without the end token; at least one each.
    """
    from transformers import GenerationConfig

    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), end_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):  # padding on the left, told from true end tokens by the mask alone
        ids[row, longest - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, longest - len(prompt) :] = 1
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=options.beams,
        min_new_tokens=1,
        max_new_tokens=max_new_tokens,
        suppress_tokens=list(banned) or None,
        eos_token_id=end_id,
        pad_token_id=end_id,
        bos_token_id=end_id,
    )
    padding = [longest - len(prompt) for prompt in prompts]
    device = next(model.parameters()).device
    written = model.generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        generation_config=config,
        logits_processor=_processors(options, _draws(options.seed, keys, max_new_tokens), longest, padding),
    )
    rows = written[:, longest:].tolist()
    return [row[: row.index(end_id)] if end_id in row else row for row in rows]
