"""What a responder's test says: perplexity, and scores of what was written under each policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.dialogue import DialogueDataModule
from lightning_modules.evaluation_record import EvaluationRecord, text_table
from lightning_modules.networks.decoding import Decoding
from metrics.evaluation import Score
from metrics.generation import bert_score, generation_scores, obedience, perplexity
from metrics.statistics import group_weights
from pretrained import encoder_window, load_encoder, load_tokenizer

__all__ = ["Written", "responder_record", "token_embedder"]

_SHOWN = (
    "bleu",
    "bleu_2_esc",
    "rouge_l",
    "distinct_2",
    "repetition_4",
    "length",
    "obedience",
    "bert_score",
    "agreement",
)
_NAN = float("nan")


class Written(NamedTuple):
    """A response.

    Args:
        response: The text.
        label: The strategy it was to use.
        recognised: The strategy that the judge sees in it; None without a judge.
    """

    response: str
    label: str | None
    recognised: str | None


def responder_record(
    stage: str,
    losses: NDArray[np.float64],
    written: Mapping[int, Mapping[str, Written]],
    data: DialogueDataModule,
    policies: Sequence[str],
    decoding: Decoding,
    encoder: str | None = None,
) -> EvaluationRecord:
    """Puts the record together.

    Args:
        stage: `test` or `validation`.
        losses: float64 [N, 6]: row, group, loss and tokens of the response, loss and tokens of the tag.
        written: Row -> policy -> response.
        data: Knows the gold responses.
        policies: In the order of the table.
        decoding: How the responses were written.
        encoder: Name of an encoder for BERTScore; None: none.
    """
    scores, variants = _perplexities(stage, losses)
    by_policy: dict[str, dict[str, Score]] = {}
    rows = sorted(written)
    embed = token_embedder(encoder) if encoder else None
    how = ", ".join(f"{name} {value}" for name, value in asdict(decoding).items())
    for policy in policies:
        found, stamps = _policy_scores(data, rows, [written[row][policy] for row in rows])
        if embed is not None:
            texts = [written[row][policy].response for row in rows], _gold(data, rows)
            similar = bert_score(*texts, embed, f"{encoder}, last layer")
            found["bert_score"] = Score(similar.value, _NAN, _NAN, len(rows))
            stamps["bert_score"] = similar.variant
        by_policy["oracle (gold)" if policy == "oracle" else policy] = found
        scores |= {f"{stage}/{policy}/{key}": score for key, score in found.items()}
        variants |= {f"{stage}/{policy}/{key}": f"{stamp}; decoding: {how}" for key, stamp in stamps.items()}
    table = f"{stage}: {len(losses)} rows"
    for key in ("perplexity", "perplexity_with_tag"):
        score = scores.get(f"{stage}/{key}")
        if score is not None:
            table += f"; {key.replace('_', ' ')} {score.value:.2f} ({score.low:.2f} - {score.high:.2f})"
    if policies and rows:
        shown = [key for key in _SHOWN if any(key in found for found in by_policy.values())]
        lines = [["policy", *shown]]
        for name, found in by_policy.items():
            lines.append([name, *(_cell(found[key].value) if key in found else "-" for key in shown)])
        table = f"{text_table(lines)}\n{len(rows)} responses a policy, 0 to 100 but for length; {table}"
    return EvaluationRecord(scores, table, "see variants", variants)


def token_embedder(name: str) -> Callable[[str], Tensor]:
    """Gives a text's token vectors by an encoder's last layer, float32 [T, D], without special tokens."""
    encoder, tokenizer = load_encoder(name), load_tokenizer(name)
    encoder.train(False)
    window = encoder_window(encoder.config.to_dict())

    @torch.inference_mode()
    def embed(text: str) -> Tensor:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=window, return_special_tokens_mask=True)
        inside = ids.pop("special_tokens_mask")[0] == 0
        states: Tensor = encoder(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state
        return states[0][inside]

    return embed


def _gold(data: DialogueDataModule, rows: Sequence[int]) -> list[str]:
    examples = [data.examples[row] for row in rows]
    return [data.dialogues[example.dialogue].turns[example.turn].text for example in examples]


def _cell(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"


def _perplexities(stage: str, losses: NDArray[np.float64]) -> tuple[dict[str, Score], dict[str, str]]:
    names, members = np.unique(losses[:, 1], return_inverse=True)
    sums = np.zeros((len(names), 4))
    np.add.at(sums, members, losses[:, 2:])
    drawn = group_weights(losses[:, 1].astype(np.int64)).astype(np.float64) @ sums
    scores, variants = {}, {}
    kinds = {"perplexity": (0, 1)} | ({"perplexity_with_tag": (0, 1, 2, 3)} if sums[:, 3].any() else {})
    for key, columns in kinds.items():
        value = perplexity(float(sums[:, columns[::2]].sum()), int(sums[:, columns[1::2]].sum()))
        low, high = _NAN, _NAN
        if len(names) > 1:
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                samples = np.exp(drawn[:, columns[::2]].sum(axis=1) / drawn[:, columns[1::2]].sum(axis=1))
            low, high = map(float, np.nanquantile(samples, (0.025, 0.975)))
        scores[f"{stage}/{key}"] = Score(value, low, high, len(losses))
        kind = "response, end token and tag" if len(columns) > 2 else "response and end token"
        after = " after the gold tag" if sums[:, 3].any() and len(columns) == 2 else ""
        variants[f"{stage}/{key}"] = f"per token of the model's own tokenizer, {kind}{after}"
    return scores, variants


def _policy_scores(
    data: DialogueDataModule, rows: Sequence[int], written: Sequence[Written]
) -> tuple[dict[str, Score], dict[str, str]]:
    examples = [data.examples[row] for row in rows]
    gold = _gold(data, rows)
    responses = [entry.response for entry in written]
    found, stamps = {}, {}
    for key, score in generation_scores(responses, gold, data.row_groups[list(rows)]).items():
        found[key] = Score(score.value, score.low, score.high, len(rows))
        stamps[key] = score.variant
    labels = [entry.label for entry in written]
    if any(label is not None for label in labels):
        known = [
            (label, example.gold) for label, example in zip(labels, examples, strict=True) if label and example.gold
        ]
        agreement = 100 * sum(label in golds for label, golds in known) / len(known) if known else _NAN
        found["agreement"] = Score(agreement, _NAN, _NAN, len(known))
        stamps["agreement"] = "the strategy asked for is one of the gold turn's, 0 to 100"
        recognised = [entry.recognised for entry in written if entry.recognised is not None]
        if recognised:
            asked = sum(label is not None for label in labels)
            found["obedience"] = Score(obedience(labels, recognised), _NAN, _NAN, asked)
            stamps["obedience"] = "the judge recognises the strategy asked for, 0 to 100"
    return found, stamps
