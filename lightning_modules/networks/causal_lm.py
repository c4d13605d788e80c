"""A causal language model that reads packed rows and knows strategy tags, and its loss.

Legend: B rows, P lines of packed rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TokenLosses", "add_tags", "attention_mask", "packed_logits", "token_losses"]


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


def packed_logits(model: nn.Module, ids: Tensor, positions: Tensor, members: Tensor) -> Tensor:
    """Logits of packed rows, each as if it stood alone.

    Args:
        model: A Hugging Face causal language model.
        ids: int64 [P, T].
        positions: int64 [P, T], places within the row.
        members: int64 [P, T], see `attention_mask`.

    Returns:
        [P, T, V].
    """
    dtype = torch.get_autocast_dtype(ids.device.type) if torch.is_autocast_enabled(ids.device.type) else None
    mask = attention_mask(members, dtype or next(model.parameters()).dtype)
    logits: Tensor = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return logits


def token_losses(logits: Tensor, labels: Tensor, members: Tensor, tag_ids: Tensor, count: int) -> TokenLosses:
    """Cross-entropy of the next token, summed by row, tags apart from responses.

    Args:
        logits: [P, T, V].
        labels: int64 [P, T], -100 where a token doesn't count.
        members: int64 [P, T], the row of each token.
        tag_ids: int64 [K], token ids of the tags.
        count: B.
    """
    targets = labels[:, 1:].flatten()  # the logits at t are about the token at t + 1
    losses = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets, ignore_index=-100, reduction="none")
    known = (targets != -100).to(losses.dtype)
    is_tag = torch.isin(targets, tag_ids).to(losses.dtype)
    owners = members[:, 1:].flatten().clamp(min=0)

    def by_row(values: Tensor) -> Tensor:
        return torch.zeros(count, dtype=losses.dtype, device=losses.device).index_add(0, owners, values)

    return TokenLosses(
        by_row(losses * (1 - is_tag)), by_row(known * (1 - is_tag)), by_row(losses * is_tag), by_row(is_tag)
    )


def add_tags(model: Any, tokenizer: Any, tags: Mapping[str, str]) -> dict[str, int]:
    """Adds one token for each label, and only their rows to the embeddings.

    A tag's embedding is the mean of those of the words of its label; so is its output row where the model doesn't share
    the two.

    Args:
        model: A Hugging Face causal language model; changed.
        tokenizer: Its tokenizer; changed.
        tags: Label -> the tag's text, such as "[Comforting]", which must be no token yet.

    Returns:
        Label -> token id.
    """
    words = {label: tokenizer(f" {label}", add_special_tokens=False)["input_ids"] for label in tags}
    known = [text for text in tags.values() if text in tokenizer.get_vocab()]
    assert not known, f"tags that are tokens already: {known}"
    tokenizer.add_tokens(list(tags.values()), special_tokens=True)
    ids = {label: int(tokenizer.convert_tokens_to_ids(text)) for label, text in tags.items()}
    if max(ids.values()) >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(max(ids.values()) + 1, mean_resizing=False)
    tables = {id(table.weight): table for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for table in tables.values():
            for label, tag_id in ids.items():
                table.weight[tag_id] = table.weight[words[label]].mean(dim=0)
    return ids
