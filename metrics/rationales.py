"""How well rationales are found: by words of the whole response, and as the published code measures it.

Shapes: N rows, R response tokens, W words, K = 4 scores. Masks are bool, false on padding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.levels import FloatArray, IntArray
from metrics.row_table import GatheredRows

__all__ = [
    "RATIONALE_KEYS",
    "RationaleRows",
    "RationaleScores",
    "f1",
    "iou_f1",
    "mean_scores",
    "predicted_words",
    "published_iou_f1",
    "published_stored_length",
    "published_token_f1",
]

RATIONALE_KEYS = ("rationale_f1", "rationale_iou_f1", "rationale_f1_published", "rationale_iou_f1_published")
"""The K scores of a row, in the order of every table's columns."""

_NEVER = torch.iinfo(torch.int64).max


def predicted_words(tokens: Tensor, offsets: Tensor, words: Tensor) -> Tensor:
    """The words that a chosen token touches.

    A word is touched when more tokens begin before its end than have ended by its start: counted by binary search, so
    that a long response needs no table of tokens by words.

    Args:
        tokens: bool[N, R], the chosen tokens.
        offsets: int[N, R, 2], the tokens' character offsets, end exclusive; a token of no width touches nothing.
        words: int[N, W, 2], the words' character offsets, end exclusive; (0, 0) on padding.

    Returns:
        bool[N, W].
    """
    starts, ends = offsets.long().unbind(-1)
    chosen = tokens & (ends > starts)
    starts, ends = (torch.where(chosen, edge, _NEVER).sort(-1).values for edge in (starts, ends))
    word_starts, word_ends = (edge.contiguous() for edge in words.long().unbind(-1))
    begun = torch.searchsorted(starts, word_ends, right=False)
    ended = torch.searchsorted(ends, word_starts, right=True)
    return begun > ended


def f1(predicted: Tensor, gold: Tensor) -> Tensor:
    """F1 of the true positions of each row; two empty masks agree and score 1.

    Args:
        predicted: bool[..., W].
        gold: bool[..., W].

    Returns:
        float64[...] on the CPU.
    """
    return _f1((predicted & gold).sum(-1), predicted.sum(-1) + gold.sum(-1), empty=1.0)


def iou_f1(predicted: Tensor, gold: Tensor, threshold: float = 0.5) -> Tensor:
    """F1 of the runs of each row (DeYoung et al., 2020, "IOU F1"); two masks without a run agree and score 1.

    A predicted and a gold run are partners when the positions they share are at least `threshold` of those that either
    holds. Runs of one mask are a position apart, so from .5 on no run has two partners.

    Args:
        predicted: bool[..., W].
        gold: bool[..., W].
        threshold: Least overlap of partners, .5 to 1.

    Returns:
        float64[...] on the CPU.
    """
    assert 0.5 <= threshold <= 1, "below .5 a run can have several partners"
    runs_of_both = _starts(predicted).sum(-1) + _starts(gold).sum(-1)
    return _f1(_partners(predicted, gold, threshold), runs_of_both, empty=1.0)


def published_stored_length(response_lengths: Tensor) -> Tensor:
    """How many positions after the first the published code scores.

    It means to store the number n of tokens after the first, but stores the length of their labels joined by commas:
    2n - 1, so padding is scored too.

    Args:
        response_lengths: int64[N], tokens of the truncated response, special ones included.
    """
    return (2 * (response_lengths - 1) - 1).clamp(min=0)


def published_token_f1(predicted: Tensor, gold: Tensor, stored_length: Tensor) -> Tensor:
    """Token F1 of each row as in Sharma et al. (2020).

    The binary F1 over the first `stored_length` positions after the first token, cut at the window's end; two empty
    masks score 0, scikit-learn's value for a division by zero.

    Args:
        predicted: bool[..., window], padding included: what the model says there counts.
        gold: bool[..., window].
        stored_length: int64[...], see `published_stored_length`.

    Returns:
        float64[...] on the CPU.
    """
    inside, _ = _published_slice(predicted.shape[-1], stored_length)
    predicted, gold = predicted & inside, gold & inside
    return _f1((predicted & gold).sum(-1), predicted.sum(-1) + gold.sum(-1), empty=0.0)


def published_iou_f1(predicted: Tensor, gold: Tensor, stored_length: Tensor) -> Tensor:
    """IOU F1 of each row as in Sharma et al. (2020), on the positions of `published_token_f1`.

    A run that reaches the last position scored loses its last token. Where that was its only one, an empty run is left
    that no other overlaps: it still counts as a run, so it lowers the score, even if the other side has the same.
    Two masks without a run score 0.

    Args:
        predicted: bool[..., window].
        gold: bool[..., window].
        stored_length: int64[...].

    Returns:
        float64[...] on the CPU.
    """
    inside, last = _published_slice(predicted.shape[-1], stored_length)
    predicted, gold = predicted & inside, gold & inside
    runs_of_both = _starts(predicted).sum(-1) + _starts(gold).sum(-1)
    return _f1(_partners(predicted & ~last, gold & ~last, threshold=0.5), runs_of_both, empty=0.0)


def mean_scores(scores: FloatArray) -> dict[str, float]:
    """Means over the rows that have a score, correctly rounded, so that the order of rows doesn't matter.

    Args:
        scores: float64[N, K], nan where a row is not scored.

    Returns:
        Key of `RATIONALE_KEYS` -> mean; nan where no row is scored.
    """
    columns = (column[~np.isnan(column)] for column in scores.T)
    means = (math.fsum(column) / len(column) if len(column) else math.nan for column in columns)
    return dict(zip(RATIONALE_KEYS, means, strict=True))


def _f1(hits: Tensor, size: Tensor, empty: float) -> Tensor:
    """2 * hits / size, `size` being the predicted and gold items together; `empty` where there are none."""
    hits, size = hits.cpu().double(), size.cpu().double()
    return torch.where(size > 0, 2 * hits / size, empty)


def _starts(mask: Tensor) -> Tensor:
    """First positions of the runs: bool[..., W]."""
    return mask & ~F.pad(mask, (1, 0))[..., :-1]


def _partners(predicted: Tensor, gold: Tensor, threshold: float) -> Tensor:
    """Number of predicted runs of each row with a gold partner: int64[...]."""
    both = predicted & gold  # a run of these is what one predicted and one gold run share
    meet = _starts(both).flatten()
    run, length = _numbered_runs(predicted)
    gold_run, gold_length = _numbered_runs(gold)
    shared = _numbered_runs(both)[1]
    either = length[run[meet]] + gold_length[gold_run[meet]] - shared
    rows = meet.nonzero().flatten()[shared >= threshold * either] // max(predicted.shape[-1], 1)
    return rows.bincount(minlength=math.prod(predicted.shape[:-1])).reshape(predicted.shape[:-1])


def _numbered_runs(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The number of each position's run, over all rows and undefined outside of runs, and the length of each run."""
    number = _starts(mask).flatten().cumsum(0) - 1
    return number, number[mask.flatten()].bincount()


def _published_slice(window: int, stored_length: Tensor) -> tuple[Tensor, Tensor]:
    """The positions that the published code scores, and the last of them: bool[..., window] each."""
    positions = torch.arange(window, device=stored_length.device)
    end = (1 + stored_length).clamp(max=window).unsqueeze(-1)
    return (positions >= 1) & (positions < end), positions == end - 1


class RationaleRows(NamedTuple):
    """The rows of a split with their rationale scores, sorted by row index; scores are nan where a row isn't scored.

    Args:
        rows: int64[N], global row index in the split.
        groups: int64[N], what must not be torn apart when rows are drawn again.
        scores: float64[N, K], the model's, columns as in `RATIONALE_KEYS`.
        baseline: float64[N, K], those of the trivial baseline that calls everything rationale.
    """

    rows: IntArray
    groups: IntArray
    scores: FloatArray
    baseline: FloatArray


class RationaleScores(GatheredRows):
    """Rationale scores over a split.

    `rationale_f1` and `rationale_iou_f1` are over the words of the whole response, on rows of gold level > 0 with a
    placed rationale; the `_published` ones over tokens of the window, on every annotated row. All are means over rows.
    (The published code averages means of batches, which differs by the weight of the last, smaller batch alone.)
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(columns=2 * len(RATIONALE_KEYS))

    def update(
        self,
        *,
        predicted: Tensor,
        gold_tokens: Tensor,
        response_lengths: Tensor,
        offsets: Tensor,
        words: Tensor,
        gold_words: Tensor,
        scored: Tensor,
        annotated: Tensor,
        window: int,
        rows: Tensor,
        groups: Tensor,
    ) -> None:
        """Scores the rows of a batch.

        Args:
            predicted: bool[N, R], tokens that the model calls rationale; what it says on padding counts in the
                published scores alone. Beyond R, up to the window, it says no.
            gold_tokens: int64[N, R], token labels under the published convention; -100 (no label) counts as 0.
            response_lengths: int64[N], tokens of the truncated response, special ones included.
            offsets: int[N, R, 2], the tokens' character offsets; (0, 0) for special tokens and padding.
            words: int[N, W, 2], the words of the whole response; (0, 0) on padding.
            gold_words: int64[N, W], 1 where the gold rationale touches the word, else 0; -1 on padding.
            scored: bool[N], gold level > 0 with a placed rationale.
            annotated: bool[N], the row has a gold level.
            window: Tokens that the response encoder reads at most.
            rows: int64[N], global row index in the evaluated split.
            groups: int64[N], number of the row's group.
        """
        # On the CPU: the scores are float64, which not every device has.
        predicted, gold_tokens, lengths, offsets, words, gold_words, scored, annotated, rows, groups = (
            tensor.cpu()
            for tensor in (
                predicted, gold_tokens, response_lengths, offsets, words, gold_words, scored, annotated, rows, groups,
            )
        )  # fmt: skip
        stored = published_stored_length(lengths)
        beyond = (0, window - predicted.shape[1])
        gold = (gold_words == 1, F.pad(gold_tokens == 1, beyond))
        model = (predicted_words(predicted, offsets, words), F.pad(predicted, beyond))
        positions = torch.arange(window)
        everything = (gold_words >= 0, (positions >= 1) & (positions < lengths[:, None]))
        present = torch.stack((scored, scored, annotated, annotated), dim=1)
        scores = [
            torch.where(present, _row_scores(*words_and_tokens, *gold, stored), math.nan)
            for words_and_tokens in (model, everything)
        ]
        self._add(rows, groups, *scores)

    def compute(self) -> dict[str, Tensor]:
        """The mean scores over all devices: key of `RATIONALE_KEYS` -> float64 scalar (on the CPU)."""
        means = mean_scores(self._local().scores)
        return {key: torch.tensor(mean, dtype=torch.float64) for key, mean in means.items()}

    def table(self) -> RationaleRows:
        """The rows of all devices. A collective call: every device must make it."""
        with self.sync_context():
            return self._local()

    def _local(self) -> RationaleRows:
        count = len(RATIONALE_KEYS)
        table = self._rows()
        rows, groups = table[:, :2].long().numpy().T
        return RationaleRows(rows, groups, table[:, 2 : 2 + count].numpy(), table[:, 2 + count :].numpy())


def _row_scores(words: Tensor, tokens: Tensor, gold_words: Tensor, gold_tokens: Tensor, stored: Tensor) -> Tensor:
    """The scores of each row, columns as in `RATIONALE_KEYS`: float64[N, K]."""
    return torch.stack(
        (
            f1(words, gold_words),
            iou_f1(words, gold_words),
            published_token_f1(tokens, gold_tokens, stored),
            published_iou_f1(tokens, gold_tokens, stored),
        ),
        dim=1,
    )
