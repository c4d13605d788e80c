"""How good written responses are, each number with the variant that it is.

Two families of numbers that look alike and aren't:

- sacrebleu's BLEU and ROUGE-L F1, which anyone can reproduce from the texts and the variant's name;
- those of the ESConv literature (the evaluation code that came with Liu et al., ACL 2021), which lower-cases,
  tokenises by NLTK, smooths BLEU by Chen and Cherry's method 3, weighs ROUGE-L's recall by beta 1.2 and leaves each
  response's last n-gram out of distinct-n. Its variants begin with `esc`.

All scores but perplexity and lengths are on a scale from 0 to 100.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.esc_bleu import Tokens, esc_bleu, esc_bleu_counts, esc_tokens, ngrams
from metrics.statistics import group_weights

__all__ = [
    "TextScore",
    "bert_score",
    "distinct",
    "generation_scores",
    "obedience",
    "perplexity",
    "repetition",
    "rouge_l",
    "words",
]

Texts = Sequence[Tokens]
FloatArray = NDArray[np.float64]


class TextScore(NamedTuple):
    """A number and what exactly it is.

    Args:
        value: The number; nan where it isn't defined.
        variant: Its definition in a few words, for `metrics.json` and every table.
        low: Where its interval begins; nan where there is none.
        high: Where it ends.
    """

    value: float
    variant: str
    low: float = math.nan
    high: float = math.nan


def words(text: str) -> list[str]:
    """Words in lower case: runs of letters and digits."""
    return re.findall(r"[^\W_]+", text.lower())


def _common_subsequence(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for left in first:
        diagonal = 0
        for column, right in enumerate(second, 1):
            above = row[column]
            row[column] = diagonal + 1 if left == right else max(above, row[column - 1])
            diagonal = above
    return row[-1]


def rouge_l(responses: Texts, references: Texts, *, beta: float = 1.0) -> FloatArray:
    """F of the longest common subsequence (Lin, 2004) of each response, 0 to 100; the score is their mean.

    Args:
        responses: N texts as tokens.
        references: N texts as tokens.
        beta: Weight of recall: 1 is F1, 1.2 is the ESConv literature's.

    Returns:
        float64 [N].
    """
    scores = np.zeros(len(responses))
    for row, (response, reference) in enumerate(zip(responses, references, strict=True)):
        common = _common_subsequence(response, reference)
        if common:
            precision, recall = common / len(response), common / len(reference)
            scores[row] = 100 * (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return scores


def distinct(responses: Texts, order: int, *, off_by_one: bool = False) -> float:
    """Different n-grams among all n-grams of all responses (Li et al., NAACL 2016), 0 to 100.

    Args:
        responses: N texts as tokens.
        order: n.
        off_by_one: Leave each response's last n-gram out, as the ESConv literature's code does.
    """
    found = [ngram for tokens in responses for ngram in ngrams(tokens, order, int(off_by_one))]
    return 100 * len(set(found)) / len(found) if found else math.nan


def repetition(responses: Texts, order: int = 4) -> float:
    """Share of n-grams that the same response had before (Welleck et al., ICLR 2020, seq-rep-n, pooled), 0 to 100."""
    found = [ngrams(tokens, order) for tokens in responses]
    total = sum(map(len, found))
    return 100 * (1 - sum(len(set(ngrams)) for ngrams in found) / total) if total else math.nan


def perplexity(loss_sum: float, tokens: int) -> float:
    """Exp of the mean negative log-likelihood over all tokens.

    Args:
        loss_sum: Sum over the tokens, in nats.
        tokens: Number of tokens.
    """
    return math.exp(loss_sum / tokens) if tokens else math.nan


def obedience(asked: Sequence[str | None], recognised: Sequence[str]) -> float:
    """Share of the responses written under a strategy in which a classifier recognises it, 0 to 100.

    Args:
        asked: The strategy that each response was to use; None where there was none: left out.
        recognised: The classifier's label of each response.
    """
    pairs = [(want, got) for want, got in zip(asked, recognised, strict=True) if want is not None]
    return 100 * sum(want == got for want, got in pairs) / len(pairs) if pairs else math.nan


class _Family(NamedTuple):
    """Scores that sums over responses decide.

    Args:
        rows: float64 [N, C], what is summed.
        score: Sums [X, C] -> scores [X, K].
        variants: The K keys -> variants.
    """

    rows: FloatArray
    score: Callable[[FloatArray], FloatArray]
    variants: Mapping[str, str]


def _families(responses: Sequence[str], references: Sequence[str], plain: Texts, esc: Texts) -> list[_Family]:
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU()
    gold, esc_gold = [words(text) for text in references], [esc_tokens(text) for text in references]
    # sacrebleu's own bootstrap draws single responses; its row statistics, summed over drawn dialogues, do it right.
    official = metric._extract_corpus_statistics(list(responses), [list(references)])
    in_esc = "nltk corpus bleu, smoothing method 3, nltk tokens, lower case"
    means: list[Any] = [
        rouge_l(plain, gold), rouge_l(esc, esc_gold, beta=1.2), list(map(len, plain)), list(map(len, gold)),
        np.ones(len(plain)),
    ]  # fmt: skip
    return [
        _Family(
            np.array(official, np.float64).reshape(len(responses), -1),
            lambda sums: np.array([[metric._compute_score_from_stats(list(map(int, line))).score] for line in sums]),
            {"bleu": f"sacrebleu {metric.get_signature()}"},
        ),
        _Family(
            esc_bleu_counts(esc, esc_gold),
            esc_bleu,
            {f"bleu_{order}_esc": f"esc bleu-{order}: {in_esc}" for order in range(1, 5)},
        ),
        _Family(
            np.column_stack(means),
            lambda sums: sums[:, :-1] / sums[:, -1:],
            {
                "rouge_l": "rouge-l f1 over words, lower case, no stemming",
                "rouge_l_esc": "esc rouge-l: nltk tokens, beta 1.2",
                "length": "words a response",
                "length_reference": "words a gold response",
            },
        ),
    ]


def generation_scores(
    responses: Sequence[str],
    references: Sequence[str],
    groups: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, TextScore]:
    """Everything that responses and gold responses alone decide.

    Args:
        responses: N texts.
        references: N gold texts, one a response.
        groups: int64 [N], the responses' dialogues, drawn as wholes for bootstrap intervals (see
            `metrics.statistics`); None, or a single one: no intervals.
        resamples: Number of resamples.
        level: Confidence, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        Key -> score: `bleu` (sacrebleu's), `bleu_1_esc` to `bleu_4_esc`, `rouge_l`, `rouge_l_esc`, `length` and
        `length_reference`, with intervals; `distinct_1`, `distinct_2`, `distinct_1_esc`, `distinct_2_esc` and
        `repetition_4`, which sums over responses don't decide, without.

    Raises:
        ValueError: There isn't one gold text for each response.
    """
    if len(responses) != len(references):
        raise ValueError(f"{len(responses)} responses and {len(references)} references; one reference each is needed")
    plain, esc = [words(text) for text in responses], [esc_tokens(text) for text in responses]
    scores: dict[str, TextScore] = {}
    for family in _families(responses, references, plain, esc) if responses else ():
        values = family.score(family.rows.sum(axis=0)[None])[0]
        ends = np.full((2, len(values)), math.nan)
        if groups is not None and len(np.unique(groups)) > 1:
            samples = family.score(_resampled(family.rows, groups, resamples, seed))
            ends = np.quantile(samples, ((1 - level) / 2, (1 + level) / 2), axis=0)
        for place, (key, variant) in enumerate(family.variants.items()):
            scores[key] = TextScore(float(values[place]), variant, *map(float, ends[:, place]))
    for order in (1, 2):
        scores[f"distinct_{order}"] = TextScore(distinct(plain, order), f"distinct-{order} over words, corpus")
        scores[f"distinct_{order}_esc"] = TextScore(
            distinct(esc, order, off_by_one=True), f"esc distinct-{order}: nltk tokens, last {order}-gram left out"
        )
    scores["repetition_4"] = TextScore(repetition(plain), "seq-rep-4 over words, pooled")
    return scores


def _resampled(rows: FloatArray, groups: NDArray[np.int64], resamples: int, seed: int) -> FloatArray:
    """Sums of the rows in each resample of whole groups: float64 [resamples, C]."""
    names, members = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, members, rows)
    drawn: FloatArray = group_weights(groups, resamples, seed).astype(np.float64) @ sums
    return drawn


def bert_score(
    responses: Sequence[str],
    references: Sequence[str],
    embed: Callable[[str], Any],
    name: str,
) -> TextScore:
    """BERTScore F1 (Zhang et al., ICLR 2020) without idf weights and rescaling, 0 to 100.

    Args:
        responses: N texts.
        references: N texts.
        embed: Gives a text's token vectors, float [T, D], without special tokens.
        name: The encoder's name and layer, for the variant.
    """
    import torch.nn.functional as F

    total = 0.0
    for response, reference in zip(responses, references, strict=True):
        similarity = F.normalize(embed(response), dim=-1) @ F.normalize(embed(reference), dim=-1).T
        if similarity.numel():
            precision, recall = similarity.amax(1).mean().item(), similarity.amax(0).mean().item()
            total += 2 * precision * recall / (precision + recall)
    return TextScore(
        100 * total / len(responses) if responses else math.nan, f"bertscore f1, {name}, no idf, no rescaling"
    )
