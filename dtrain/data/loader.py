"""The data loader: batches of a dataset as tensors, sharded over ranks, fetched ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.errors import expected
from dtrain.data.collate import Collate, collate, empty_like, to_tensors
from dtrain.data.dataset import Dataset
from dtrain.data.sampler import RankShardedSampler

if TYPE_CHECKING:
    from dtrain.data.worker import Worker

# Room in a worker's slot beyond the sample it was measured with, for samples that are not all of one size.
_SLOT_HEADROOM = 1.25


class DataLoader:
    """Iterate over a dataset in batches of tensors; each iteration is one epoch.

    Every rank gets the same number of batches, so that collectives in the training step match. A rank's last batches
    may be smaller than those of other ranks, and empty (shape [0, …]): together they hold every sample exactly once.
    Batch k of all ranks together is batch k of one process with `batch_size · world_size`.

    Args:
        dataset: samples by number; `take` is used where the dataset has it, else samples are collated.
        batch_size: samples a batch on this rank.
        shuffle: a new order each epoch, from (seed, epoch) alone.
        shard: True to split the samples over the ranks of the job, (rank, world_size) to say which, False for all.
        num_workers: processes that fetch batches ahead; 0 fetches in this process when asked. They are forked at the
            start of an epoch: the dataset must not touch a GPU or MPI.
        prefetch: batches that each worker may be ahead.
        drop_last: leave out the last batches if they are not full on every rank.
        collate: samples -> batch of arrays, in place of stacking them.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        shard: bool | tuple[int, int] = False,
        num_workers: int = 0,
        prefetch: int = 2,
        seed: int = 0,
        drop_last: bool = False,
        collate: Collate | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(expected("DataLoader", f"{name} of at least {least}", repr(value)))
        if prefetch < 1:
            raise ValueError(expected("DataLoader", "prefetch of at least 1", repr(prefetch)))
        place = {True: (None, None), False: (0, 1)}[shard] if isinstance(shard, bool) else shard
        self.sampler = RankShardedSampler(len(dataset), rank=place[0], world_size=place[1], shuffle=shuffle, seed=seed)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.num_workers, self.prefetch = num_workers, prefetch
        self._collate = collate
        self._epoch = 0  # of the next iteration
        self._resume_at = 0  # first batch of the next iteration
        self._slot_nbytes: int | None = None
        self._running: tuple[int, int] | None = None  # epoch and batches handed out of the latest iteration

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        together = self.batch_size * self.sampler.world_size
        num_samples = self.sampler.num_samples
        return num_samples // together if self.drop_last else -(-num_samples // together)

    @property
    def epoch(self) -> int:
        """Number of the next epoch. Set it to choose which order comes next."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, self._resume_at, self._running = epoch, 0, None

    def set_epoch(self, epoch: int) -> None:
        """The same as setting `epoch`, under the name that distributed samplers have elsewhere."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self._epoch, self._resume_at
        self._epoch, self._resume_at = epoch + 1, 0
        batches = self._batch_indices(epoch)[start:]
        source = self._fetch_ahead(batches, epoch) if self.num_workers else map(self.fetch, batches)
        for position, batch in enumerate(source, start):
            self._running = epoch, position + 1
            yield to_tensors(batch)

    def state_dict(self) -> dict[str, int]:
        """Where the loader is: the epoch under way and how many of its batches were handed out."""
        if self._running is not None and not self._resume_at and self._running[1] < len(self):
            return {"epoch": self._running[0], "num_batches": self._running[1]}
        return {"epoch": self._epoch, "num_batches": self._resume_at}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on where `state_dict()` was taken."""
        self.epoch = int(state["epoch"])
        self._resume_at = int(state["num_batches"])

    def fetch(self, indices: np.ndarray) -> Any:
        """The batch of arrays of these sample numbers."""
        if self._collate is None:
            batch = self.dataset.take(indices) if hasattr(self.dataset, "take") else NotImplemented
            if batch is not NotImplemented:
                return batch
        join = self._collate or collate
        if len(indices):
            return join([self.dataset[int(index)] for index in indices])
        # What an empty batch looks like is only known from a sample.
        return empty_like(join([self.dataset[0]]))

    def _batch_indices(self, epoch: int) -> list[np.ndarray]:
        own = self.sampler.indices(epoch)
        return [own[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]

    def _fetch_ahead(self, batches: list[np.ndarray], epoch: int) -> Iterator[Any]:
        """Batch k comes from worker k mod n, so that the order never depends on which worker is faster."""
        if not batches:
            return
        capacity = self.num_workers * self.prefetch
        workers: list[Worker] = []
        try:
            for number in range(min(self.num_workers, len(batches))):
                workers.append(self._start_worker(number, batches, epoch))
            for position in range(min(capacity, len(batches))):
                workers[position % self.num_workers].request(position)
            for position in range(len(batches)):
                batch = workers[position % self.num_workers].receive()
                if position + capacity < len(batches):
                    workers[position % self.num_workers].request(position + capacity)
                yield batch
        finally:
            for worker in workers:
                worker.close()

    def _start_worker(self, number: int, batches: list[np.ndarray], epoch: int) -> Worker:
        from dtrain.data.worker import Worker, batch_nbytes  # only now: multiprocessing is slow to import

        def fetch(position: int) -> Any:
            return self.fetch(batches[position])

        if self._slot_nbytes is None:
            sample_nbytes = batch_nbytes(self.fetch(np.zeros(1, np.int64)))
            self._slot_nbytes = int(sample_nbytes * self.batch_size * _SLOT_HEADROOM)
        seed = (self.sampler.seed, epoch, self.sampler.rank)
        return Worker(number, fetch, num_slots=self.prefetch, slot_nbytes=self._slot_nbytes, seed=seed)
