"""A causal language model that reads packed rows and knows strategy tags, and its loss.

Legend: B rows, P lines of packed rows, T tokens, V vocabulary, K labels, N places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TokenLosses", "add_tags", "attention_mask", "logits_at", "token_losses"]


class TokenLosses(NamedTuple):
    """Negative log-likelihood by row, in nats.

    Args:
        response: float32 [B], summed over response and end tokens.
        response_tokens: float32 [B].
        tag: float32 [B], of the tag; 0 without one.
        tag_tokens: float32 [B].
    """

    response: Tensor
    response_tokens: Tensor
    tag: Tensor
    tag_tokens: Tensor


def attention_mask(members: Tensor, dtype: torch.dtype) -> Tensor:
    """Who may see whom: a token sees itself and the tokens before it of its own row.

    Args:
        members: int64 [P, T], the row of each token; -1 is padding, which sees itself alone so that no line of the
            softmax is empty.
        dtype: Of the mask.

    Returns:
        [P, 1, T, T], 0 where the column may be seen and the lowest number where not, to be added to the scores.
    """
    length = members.shape[1]
    same = (members[:, :, None] == members[:, None, :]) & (members[:, :, None] >= 0)
    causal = torch.ones(length, length, dtype=torch.bool, device=members.device).tril()
    seen = (same & causal) | torch.eye(length, dtype=torch.bool, device=members.device)
    blocked = torch.zeros(seen.shape, dtype=dtype, device=members.device).masked_fill(~seen, torch.finfo(dtype).min)
    return blocked[:, None]


def logits_at(model: Any, ids: Tensor, positions: Tensor, members: Tensor, places: Tensor) -> Tensor:
    """Logits at some places of packed rows, each row as if it stood alone.

    The vocabulary is the widest layer of all, and most tokens are context: it is computed at the places alone, by
    handing the model's own output layer those states and no others.

    Args:
        model: A Hugging Face causal language model.
        ids: int64 [P, T].
        positions: int64 [P, T], places within the row.
        members: int64 [P, T], see `attention_mask`.
        places: int64 [N], flat indices into [P, T].

    Returns:
        [N, V].
    """

    def choose(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return inputs[0].flatten(0, 1)[places][None], *inputs[1:]  # [1, N, D]

    kind = ids.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else _float_type(model)
    mask = attention_mask(members, dtype)
    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        logits: Tensor = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    finally:
        hook.remove()
    assert logits.shape[:2] == (1, len(places)), "the language model doesn't use its output layer"
    return logits[0]


def _float_type(model: nn.Module) -> torch.dtype:
    return next(values.dtype for values in model.parameters() if values.is_floating_point())


def token_losses(
    model: Any, ids: Tensor, positions: Tensor, members: Tensor, labels: Tensor, tag_ids: Tensor, count: int
) -> TokenLosses:
    """Cross-entropy of the next token, summed by row, tags apart from responses.

    Args:
        model: A Hugging Face causal language model.
        ids: int64 [P, T].
        positions: int64 [P, T], places within the row.
        members: int64 [P, T], the row of each token.
        labels: int64 [P, T], -100 where a token doesn't count; never at the first of a line.
        tag_ids: int64 [K], token ids of the tags.
        count: B.
    """
    counted = (labels.flatten() != -100).nonzero().flatten()
    targets, owners = labels.flatten()[counted], members.flatten()[counted]
    logits = logits_at(model, ids, positions, members, counted - 1)  # those at t are about the token at t + 1
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    is_tag = torch.isin(targets, tag_ids).to(losses.dtype)

    def by_row(values: Tensor) -> Tensor:
        return torch.zeros(count, dtype=losses.dtype, device=losses.device).index_add(0, owners, values)

    return TokenLosses(by_row(losses * (1 - is_tag)), by_row(1 - is_tag), by_row(losses * is_tag), by_row(is_tag))


def add_tags(model: Any, words: Sequence[Sequence[int]]) -> list[int]:
    """Adds a token for each label, and only their rows to the embeddings.

    The tokenizer doesn't learn of them: no text can be taken for a tag. A tag's embedding is the mean of those of its
    label's words; so is its output row where the model doesn't share the two.

    Args:
        model: A Hugging Face causal language model; changed.
        words: Token ids of each label's words.

    Returns:
        A token id for each label.
    """
    size = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(size + len(words), mean_resizing=False)
    tables = {id(table.weight): table.weight for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for weight in tables.values():
            for place, ids in enumerate(words):
                weight[size + place] = weight[list(ids)].mean(dim=0)
    return list(range(size, size + len(words)))
