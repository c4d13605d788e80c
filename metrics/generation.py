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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.statistics import Interval, group_weights

__all__ = [
    "Score",
    "bert_score",
    "bleu",
    "distinct",
    "esc_bleu",
    "esc_tokens",
    "generation_intervals",
    "generation_scores",
    "obedience",
    "perplexity",
    "repetition",
    "rouge_l",
    "words",
]

Tokens = Sequence[str]
FloatArray = NDArray[np.float64]
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+")


@dataclass(frozen=True)
class Score:
    """A number and what exactly it is.

    Args:
        value: The number; nan where it isn't defined.
        variant: Its definition in a few words, for `metrics.json` and every table.
    """

    value: float
    variant: str


def words(text: str) -> list[str]:
    """Words in lower case: runs of letters and digits."""
    return re.findall(r"[^\W_]+", text.lower())


@lru_cache(maxsize=1)
def _treebank() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer  # type: ignore[import-untyped]

    return NLTKWordTokenizer()


def esc_tokens(text: str) -> list[str]:
    """Tokens of the ESConv literature: lower case, NLTK's words sentence by sentence.

    NLTK finds sentence ends by a model (Punkt) that has to be downloaded; here white space after `.`, `!` or `?` ends a
    sentence. That decides on nothing but whether a full stop is a token of its own.
    """
    return [token for part in _SENTENCE_END.split(text.lower()) for token in _treebank().tokenize(part)]


def bleu(responses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus BLEU by sacrebleu, its signature as the variant.

    Args:
        responses: N texts.
        references: N texts, one gold response each.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU()
    score = metric.corpus_score(list(responses), [list(references)]).score if responses else math.nan
    return Score(score, f"sacrebleu {metric.get_signature() if responses else ''}".strip())


def esc_bleu(responses: Sequence[Tokens], references: Sequence[Tokens]) -> list[Score]:
    """BLEU-1 to BLEU-4 as ESConv papers print them: cumulative, equal weights, NLTK's corpus BLEU with method 3.

    Args:
        responses: N texts of `esc_tokens`.
        references: N texts of `esc_tokens`.

    Returns:
        Four scores.
    """
    counts = esc_bleu_counts(responses, references).sum(0)
    values = esc_bleu_of_counts(counts[None])[0] if responses else [math.nan] * 4
    return [
        Score(float(value), f"esc bleu-{order}: nltk corpus bleu, smoothing method 3, nltk tokens, lower case")
        for order, value in enumerate(values, 1)
    ]


def esc_bleu_counts(responses: Sequence[Tokens], references: Sequence[Tokens]) -> FloatArray:
    """What `esc_bleu` is made of, a line a response: the lines' sums decide the score.

    Returns:
        float64 [N, 10]: length, reference's length, and for each order the n-grams found in the reference and all
        n-grams, at least 1 as in NLTK.
    """
    counts = np.zeros((len(responses), 10))
    for row, (response, reference) in enumerate(zip(responses, references, strict=True)):
        counts[row, :2] = len(response), len(reference)
        for order in range(1, 5):
            found, gold = Counter(_ngrams(response, order)), Counter(_ngrams(reference, order))
            counts[row, 2 * order : 2 * order + 2] = (found & gold).total(), max(found.total(), 1)
    return counts


def esc_bleu_of_counts(counts: FloatArray) -> FloatArray:
    """BLEU-1 to BLEU-4 from summed counts.

    Method 3 (Chen and Cherry, 2014) puts 1 / 2^k in the place of the k-th order without a match.

    Args:
        counts: float64 [X, 10], sums of `esc_bleu_counts`.

    Returns:
        float64 [X, 4], 0 to 100.
    """
    length, gold, matches, total = counts[:, 0], counts[:, 1], counts[:, 2::2], counts[:, 3::2]
    missing = matches == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(missing, 0.5 ** np.cumsum(missing, axis=1), matches) / total
        brevity = np.exp(np.minimum(0, 1 - gold / length))
        scores = np.exp(np.cumsum(np.log(precision), axis=1) / np.arange(1, 5)) * brevity[:, None]
    return 100 * np.where(matches[:, :1] > 0, scores, 0.0)


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


def rouge_l(responses: Sequence[Tokens], references: Sequence[Tokens], *, beta: float = 1.0) -> FloatArray:
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


def _ngrams(tokens: Tokens, order: int, short: int = 0) -> list[tuple[str, ...]]:
    return [tuple(tokens[first : first + order]) for first in range(len(tokens) - order + 1 - short)]


def distinct(responses: Sequence[Tokens], order: int, *, off_by_one: bool = False) -> float:
    """Different n-grams among all n-grams of all responses (Li et al., NAACL 2016), 0 to 100.

    Args:
        responses: N texts as tokens.
        order: n.
        off_by_one: Leave each response's last n-gram out, as the ESConv literature's code does.
    """
    found = [ngram for tokens in responses for ngram in _ngrams(tokens, order, int(off_by_one))]
    return 100 * len(set(found)) / len(found) if found else math.nan


def repetition(responses: Sequence[Tokens], order: int = 4) -> float:
    """Share of n-grams that the same response had before (Welleck et al., ICLR 2020, seq-rep-n, pooled), 0 to 100."""
    found = [_ngrams(tokens, order) for tokens in responses]
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


def generation_scores(responses: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """Everything that responses and gold responses alone decide.

    Args:
        responses: N texts.
        references: N gold texts.

    Returns:
        Key -> score: `bleu`, `bleu_1_esc` to `bleu_4_esc`, `rouge_l`, `rouge_l_esc`, `distinct_1`, `distinct_2`,
        `distinct_1_esc`, `distinct_2_esc`, `repetition_4`, `length` and `length_reference`.

    Raises:
        ValueError: There isn't one gold text for each response.
    """
    if len(responses) != len(references):
        raise ValueError(f"{len(responses)} responses and {len(references)} references; one reference each is needed")
    plain, gold = [words(text) for text in responses], [words(text) for text in references]
    esc, esc_gold = [esc_tokens(text) for text in responses], [esc_tokens(text) for text in references]
    scores = {"bleu": bleu(responses, references)}
    for order, score in enumerate(esc_bleu(esc, esc_gold), 1):
        scores[f"bleu_{order}_esc"] = score
    scores["rouge_l"] = Score(_mean(rouge_l(plain, gold)), "rouge-l f1 over words, lower case, no stemming")
    scores["rouge_l_esc"] = Score(_mean(rouge_l(esc, esc_gold, beta=1.2)), "esc rouge-l: nltk tokens, beta 1.2")
    for order in (1, 2):
        scores[f"distinct_{order}"] = Score(distinct(plain, order), f"distinct-{order} over words, corpus")
        scores[f"distinct_{order}_esc"] = Score(
            distinct(esc, order, off_by_one=True), f"esc distinct-{order}: nltk tokens, last {order}-gram left out"
        )
    scores["repetition_4"] = Score(repetition(plain), "seq-rep-4 over words, pooled")
    scores["length"] = Score(_mean(list(map(len, plain))), "words a response")
    scores["length_reference"] = Score(_mean(list(map(len, gold))), "words a gold response")
    return scores


def generation_intervals(
    responses: Sequence[str],
    references: Sequence[str],
    groups: NDArray[np.int64],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of the scores that sums over responses decide: BLEU and ROUGE-L in both variants, length.

    Args:
        responses: N texts.
        references: N gold texts.
        groups: int64 [N], the responses' dialogues, drawn as wholes (see `metrics.statistics`).
        resamples: Number of resamples.
        level: Confidence, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        Key -> interval, with the keys of `generation_scores`.
    """
    from sacrebleu.metrics.bleu import BLEU

    if len(np.unique(groups)) < 2:
        return {}
    plain, gold = [words(text) for text in responses], [words(text) for text in references]
    esc, esc_gold = [esc_tokens(text) for text in responses], [esc_tokens(text) for text in references]
    metric = BLEU()
    # sacrebleu's own bootstrap draws single responses; its row statistics, summed over drawn dialogues, do it right.
    official = np.array(metric._extract_corpus_statistics(list(responses), [list(references)]), np.float64)
    rows = {
        "bleu": official,
        "esc": esc_bleu_counts(esc, esc_gold),
        "means": np.column_stack(
            (rouge_l(plain, gold), rouge_l(esc, esc_gold, beta=1.2), list(map(len, plain)), np.ones(len(plain)))
        ),
    }
    names, members = np.unique(groups, return_inverse=True)
    weights = group_weights(groups, resamples, seed).astype(np.float64)
    drawn = {}
    for key, values in rows.items():
        sums = np.zeros((len(names), values.shape[1]))
        np.add.at(sums, members, values)
        drawn[key] = weights @ sums
    samples = {
        "bleu": np.array([metric._compute_score_from_stats(list(map(int, line))).score for line in drawn["bleu"]])
    }
    samples |= {f"bleu_{order}_esc": line for order, line in enumerate(esc_bleu_of_counts(drawn["esc"]).T, 1)}
    means = drawn["means"][:, :3] / drawn["means"][:, 3:]
    samples |= dict(zip(("rouge_l", "rouge_l_esc", "length"), means.T, strict=True))
    ends = ((1 - level) / 2, (1 + level) / 2)
    return {key: Interval(*map(float, np.quantile(values, ends))) for key, values in samples.items()}


def _mean(values: Sequence[float] | FloatArray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def bert_score(
    responses: Sequence[str],
    references: Sequence[str],
    embed: Callable[[str], Any],
    name: str,
) -> Score:
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
    return Score(100 * total / len(responses) if responses else math.nan, f"bertscore f1, {name}, no idf, no rescaling")
