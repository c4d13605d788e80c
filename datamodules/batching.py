"""Length-bucketed batches that are the same on any number of devices.

A batch is planned globally: one seed and epoch fix which rows form which batch, and every process takes its part of
each. So the weights after a step don't depend on how many processes made it, and a run resumes at any batch.
Legend: B rows, X tokens or whatever else a row has several of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler

from errors import UserError

__all__ = ["EvaluationBatches", "TrainBatches", "pad", "token_mask"]

IntArray = npt.NDArray[np.int64]
BUCKET = 50
"""Batches whose rows are sorted by length together; enough to fill a batch with rows of one length."""


def _process() -> tuple[int, int]:
    """Rank and number of processes, asked late: the group is not there when a DataModule is built."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


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
