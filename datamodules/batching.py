"""Length-bucketed batches that are the same on any number of devices, and the collation of pairs.

A batch is planned globally: one seed and epoch fix which rows form which batch, and every process takes its part of
each. So the weights after a step don't depend on how many processes made it, and a run resumes at any batch.
Legend: B pairs, R response tokens, S seeker tokens, W words, M mechanisms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from datamodules.tokenised import Ragged, TokenisedPairs
from errors import UserError

__all__ = [
    "EmpathyBatch",
    "EvaluationBatches",
    "PairCollator",
    "RowNumbers",
    "TrainBatches",
    "pad",
    "token_mask",
    "training_position",
]

IntArray = npt.NDArray[np.int64]
BUCKET = 50
"""Batches whose rows are sorted by length together; enough to fill a batch with rows of one length."""


class EmpathyBatch(TypedDict):
    """Tensors of a batch of pairs.

    The last five are there in evaluation only.
    """

    rows: Tensor
    """int64 [B]: row numbers in the DataModule."""
    groups: Tensor
    """int64 [B]: numbers of the groups."""
    posts: Tensor
    """int64 [B]: numbers of the distinct seeker posts."""
    response_ids: Tensor
    """int64 [B, R]."""
    response_mask: Tensor
    """bool [B, R]: True at tokens."""
    seeker_ids: Tensor
    """int64 [B, S]."""
    seeker_mask: Tensor
    """bool [B, S]."""
    levels: Tensor
    """int64 [B, M]: -1 where the mechanism is not annotated."""
    token_labels: Tensor
    """int64 [B, M, R]: 1 rationale, 0 not; -100 on special and blank tokens, padding, rows without one."""
    offsets: NotRequired[Tensor]
    """int64 [B, R, 2]."""
    clauses: NotRequired[Tensor]
    """int64 [B, R]: number of the token's clause, -1 on special tokens and padding."""
    words: NotRequired[Tensor]
    """int64 [B, W, 2]: bounds of the response's words; (0, 0) is padding."""
    gold_words: NotRequired[Tensor]
    """int64 [B, M, W]: -1 is padding."""
    has_rationale: NotRequired[Tensor]
    """bool [B, M]: a rationale is placed in the response."""


def _process() -> tuple[int, int]:
    """Rank and number of processes, asked late: the group is not there when a DataModule is built."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class RowNumbers(Dataset[int]):
    """A dataset whose items are row numbers; the collator holds the rows.

    Args:
        size: Number of rows.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        """Number of rows."""
        return self.size

    def __getitem__(self, row: int) -> int:
        """The number itself."""
        return row


class TrainBatches(Sampler[list[int]]):
    """Shuffled batches of rows of similar length, balanced in size.

    Rows are shuffled by seed and epoch, cut into buckets of `BUCKET` batches, sorted by length within a bucket and cut
    into batches, whose order is shuffled again. Batch sizes differ by at most one, so there is no small last batch.

    Args:
        rows: Row numbers that train; repeats are allowed.
        lengths: Length of every row in tokens, indexed by row number.
        batch_size: Rows in a batch over all processes together.
        seed: Seed of the order.
        bucketed: False leaves the rows of a bucket unsorted.
    """

    def __init__(
        self, rows: Sequence[int], lengths: npt.NDArray[np.integer], batch_size: int, seed: int, bucketed: bool = True
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.bucketed = bucketed
        self.epoch = 0
        self.start = 0

    @property
    def sampler(self) -> TrainBatches:
        """Itself: Lightning announces the epoch to `batch_sampler.sampler` only."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch's order; a start within the epoch that was resumed holds for that epoch alone."""
        if epoch != self.epoch:
            self.start = 0
        self.epoch = epoch

    def resume(self, epoch: int, start: int) -> None:
        """Makes the next pass begin at batch `start` of `epoch`."""
        self.epoch, self.start = epoch, start

    def plan(self, epoch: int) -> list[IntArray]:
        """Every batch of an epoch, over all processes together."""
        generator = np.random.default_rng([self.seed, epoch])
        shuffled = generator.permutation(self.rows)
        count = len(self)
        batches: list[IntArray] = []
        for first in range(0, count, BUCKET):
            last = min(first + BUCKET, count)
            bucket = shuffled[first * len(shuffled) // count : last * len(shuffled) // count]
            if self.bucketed:
                bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            batches += np.array_split(bucket, last - first)
        return [batches[index] for index in generator.permutation(count)] if self.bucketed else batches

    def __iter__(self) -> Iterator[list[int]]:
        """This process's rows of each batch."""
        rank, world = _process()
        plan = self.plan(self.epoch)
        if world > 1 and min(map(len, plan)) < world:
            raise UserError(f"a batch has fewer rows than there are processes ({world}); raise --data.batch_size")
        start, self.start = self.start, 0
        for batch in plan[start:]:
            yield batch[rank::world].tolist()

    def __len__(self) -> int:
        """Batches in an epoch, the same on every process."""
        return -(-len(self.rows) // self.batch_size)


def training_position(trainer: Any, batches: Callable[[], TrainBatches]) -> list[int]:
    """Where training stands: its epoch, and how many batches of it had their step.

    Counts batches whose step was made, not those fetched or begun, and needs no StatefulDataLoader, whose state
    Lightning loses where a schedule asks for the number of steps.

    Args:
        trainer: The Lightning trainer, or None.
        batches: Plans the epoch's batches.
    """
    if trainer is None or trainer.fit_loop is None:
        return [0, 0]
    done = trainer.fit_loop.epoch_loop.batch_progress.current.processed
    return [trainer.current_epoch + 1, 0] if done >= len(batches()) else [trainer.current_epoch, done]


class EvaluationBatches(Sampler[list[int]]):
    """Batches in order of length, dealt to the processes whole: none missing.

    A row's batch doesn't depend on the number of processes, so neither does its prediction, to the last bit. A process
    that would get no batch repeats the first one, since one that sits out an evaluation blocks the others; metrics and
    predictions count a row once.

    Args:
        rows: Row numbers to evaluate.
        lengths: Length of every row in tokens, indexed by row number.
        batch_size: Rows in a batch.
    """

    def __init__(self, rows: Sequence[int], lengths: npt.NDArray[np.integer], batch_size: int) -> None:
        ordered = np.asarray(rows, dtype=np.int64)
        ordered = ordered[np.argsort(lengths[ordered], kind="stable")]
        self.batches = [ordered[first : first + batch_size].tolist() for first in range(0, len(ordered), batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        """This process's batches."""
        yield from self._own()

    def __len__(self) -> int:
        """Batches of this process."""
        return len(self._own())

    def _own(self) -> list[list[int]]:
        rank, world = _process()
        return self.batches[rank::world] or self.batches[:1]


def pad(rows: Sequence[npt.NDArray[np.integer]], value: int, length: int | None = None) -> Tensor:
    """Stacks arrays of unequal length.

    Args:
        rows: B arrays [X] or [X, ...].
        value: What fills the rest.
        length: Length to fill up to; None: the longest row's.

    Returns:
        int64 [B, X, ...].
    """
    longest = max(map(len, rows)) if length is None else length
    padded = np.full((len(rows), longest, *rows[0].shape[1:]), value, dtype=np.int64)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded)


def token_mask(rows: Sequence[npt.NDArray[np.integer]], length: int | None = None) -> Tensor:
    """Bool [B, X]: True where `pad` keeps a value, False where it fills."""
    lengths = torch.tensor([len(row) for row in rows])
    return torch.arange(int(lengths.max()) if length is None else length) < lengths[:, None]


class PairCollator:
    """Row numbers to a batch.

    Args:
        tokens: The tokenised rows.
        levels: int64 [N, M], -1 where not annotated.
        groups: int64 [N].
        posts: int64 [N].
        mechanisms: The M mechanisms.
        pad_id: Token id of padding.
        evaluation: Whether to add what only evaluation needs.
        window: Pads every text to this many tokens, as the published code does; None: to the longest of the batch.
    """

    def __init__(
        self,
        tokens: TokenisedPairs,
        levels: IntArray,
        groups: IntArray,
        posts: IntArray,
        mechanisms: Sequence[str],
        pad_id: int,
        *,
        evaluation: bool,
        window: int | None = None,
    ) -> None:
        self.tokens = tokens
        self.levels = levels
        self.groups = groups
        self.posts = posts
        self.mechanisms = mechanisms
        self.pad_id = pad_id
        self.evaluation = evaluation
        self.window = window

    def _ids(self, column: Ragged, rows: list[int]) -> tuple[Tensor, Tensor]:
        values = [column[row] for row in rows]
        ids = pad(values, self.pad_id, self.window)
        return ids, token_mask(values, ids.shape[1])

    def __call__(self, rows: list[int]) -> EmpathyBatch:
        """Assembles the batch of these rows."""
        response_ids, response_mask = self._ids(self.tokens.response, rows)
        seeker_ids, seeker_mask = self._ids(self.tokens.seeker, rows)
        index = np.asarray(rows)
        batch: EmpathyBatch = {
            "rows": torch.from_numpy(index),
            "groups": torch.from_numpy(self.groups[index]),
            "posts": torch.from_numpy(self.posts[index]),
            "response_ids": response_ids,
            "response_mask": response_mask,
            "seeker_ids": seeker_ids,
            "seeker_mask": seeker_mask,
            "levels": torch.from_numpy(self.levels[index]),
            "token_labels": self._token_labels(rows, response_ids.shape[1]),
        }
        if self.evaluation:
            words = [self.tokens.words[row].reshape(-1, 2) for row in rows]
            longest = max(map(len, words))
            batch["offsets"] = pad([self.tokens.offsets[row].reshape(-1, 2) for row in rows], 0, response_ids.shape[1])
            batch["clauses"] = pad([self.tokens.clauses[row] for row in rows], -1, response_ids.shape[1])
            batch["words"] = pad(words, 0)
            gold = [
                pad([self._gold_words(mechanism, row) for row in rows], -1, longest) for mechanism in self.mechanisms
            ]
            batch["gold_words"] = torch.stack(gold, dim=1)
            batch["has_rationale"] = torch.tensor(
                [[len(self.tokens.labels[mechanism][row]) > 0 for mechanism in self.mechanisms] for row in rows]
            )
        return batch

    def _token_labels(self, rows: list[int], length: int) -> Tensor:
        labels = torch.full((len(rows), len(self.mechanisms), length), -100, dtype=torch.int64)
        for place, row in enumerate(rows):
            offsets = self.tokens.offsets[row].reshape(-1, 2)
            special = offsets[:, 1] <= offsets[:, 0]
            for column, mechanism in enumerate(self.mechanisms):
                values = self.tokens.labels[mechanism][row].astype(np.int64)
                if len(values):
                    values[special] = -100
                    labels[place, column, : len(values)] = torch.from_numpy(values)
        return labels

    def _gold_words(self, mechanism: str, row: int) -> npt.NDArray[np.int8]:
        gold = self.tokens.gold_words[mechanism][row]
        return gold if len(gold) else np.zeros(len(self.tokens.words[row]) // 2, np.int8)
