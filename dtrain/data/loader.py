"""The data loader: batches of a dataset as tensors, sharded over ranks, fetched ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.errors import expected
from dtrain.data.collate import Collate, collate, empty_like, to_tensors
from dtrain.data.dataset import Dataset
from dtrain.data.distributed_sampler import DistributedSampler
from dtrain.data.epoch_start import EpochStart, announce
from dtrain.data.position import checked_count, read_position
from dtrain.data.sampler import RankShardedSampler

if TYPE_CHECKING:
    from dtrain.data.worker import Worker

# Room in a worker's slot beyond the sample it was measured with, for samples that are not all of one size.
_SLOT_HEADROOM = 1.25


class DataLoader:
    """Iterate over a dataset in batches of tensors; an iteration goes through one epoch.

    The order depends on (seed, epoch) alone, and only an iteration that went through leads to the next epoch: one that
    is left early begins again, so that `next(iter(loader))` on one rank leaves the ranks together.

    Every rank gets the same number of batches, so that collectives in the training step match. A rank's last batches
    may be smaller than those of other ranks, and empty (shape [0, …]): together they hold every sample exactly once.
    Batch k of all ranks together is batch k of one process with `batch_size · world_size`.

    Args:
        dataset: samples by number; `take` is used where the dataset has it, else samples are collated.
        batch_size: samples a batch on this rank.
        shuffle: a new order each epoch.
        shard: True to split the samples over the ranks of the job, (rank, world_size) to say which, False for all.
        num_workers: processes that fetch batches ahead; 0 fetches in this process when asked. They are forked at the
            start of an epoch: the dataset must not touch a GPU or MPI. There, Python's, NumPy's and dtrain's global
            random numbers depend on (seed, epoch, rank, place in the epoch); a generator that the dataset keeps is
            copied into each worker.
        prefetch: batches that each worker may be ahead.
        drop_last: leave out the last batches if they are not full on every rank.
        collate: samples -> batch of arrays, in place of stacking them.
        sampler: a `DistributedSampler`, which says what `shuffle`, `shard` and `seed` say otherwise.
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
        sampler: DistributedSampler | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(expected("DataLoader", f"{name} of at least {least}", repr(value)))
        if prefetch < 1:
            raise ValueError(expected("DataLoader", "prefetch of at least 1", repr(prefetch)))
        if sampler is not None:
            _check_sampler(sampler, len(dataset), shuffle, shard)
            shard = sampler.is_from_environment
        place = {True: (None, None), False: (0, 1)}[shard] if isinstance(shard, bool) else shard
        self.sampler = sampler or RankShardedSampler(
            len(dataset), rank=place[0], world_size=place[1], shuffle=shuffle, seed=seed
        )
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.num_workers, self.prefetch = num_workers, prefetch
        self._collate = collate
        self._epoch = 0  # of the next iteration
        self._resume_at = 0  # samples of that epoch, over all ranks, that were handed out before this run
        self._is_shared_out = shard is True and self.sampler.world_size > 1
        self._came_by_itself = False  # to the epoch, not by being told
        self._slot_nbytes: int | None = None
        self._running: tuple[int, int] | None = None  # epoch of the latest iteration, and where in its order it is

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        together = self.batch_size * self.sampler.world_size
        num_samples = self.sampler.total
        return num_samples // together if self.drop_last else -(-num_samples // together)

    def __repr__(self) -> str:
        parts = [
            repr(self.dataset),
            f"batch_size={self.batch_size}",
            f"{len(self)} batches an epoch",
            f"epoch {self.epoch}",
        ]
        parts += [repr(self.sampler), *(["drop_last"] if self.drop_last else [])]
        parts += [f"num_workers={self.num_workers}"] if self.num_workers else []
        return f"DataLoader({', '.join(parts)})"

    @property
    def epoch(self) -> int:
        """Number of the next iteration's epoch. Set it to choose which order comes next."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        epoch = checked_count("epoch", epoch)
        if epoch != self._epoch:  # the usual loop names the epoch that a loaded state stands in: its place is kept
            self._resume_at = 0
        self._epoch, self._running, self._came_by_itself = epoch, None, False

    def set_epoch(self, epoch: int) -> None:
        """The same as setting `epoch`, under the name that distributed samplers have elsewhere."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        told = self.sampler.take_told() if isinstance(self.sampler, DistributedSampler) else None
        if told is not None:
            self.epoch = told
        epoch, start = self._epoch, self._resume_at
        batches, ends = self._batch_indices(epoch, start), self._batch_ends(start)
        self._running = epoch, start
        if self._is_shared_out:
            announce(self, EpochStart(epoch, self.sampler.total, self._came_by_itself, self._common_text(start)))
        # A comprehension, not map(): StopIteration out of a dataset must not look like the end of the epoch.
        source = self._fetch_ahead(batches, ends, epoch) if self.num_workers else (self.fetch(own) for own in batches)
        for batch, end in zip(source, ends):
            self._running = epoch, end
            if end == ends[-1] and len(ends) > 1:
                self._finish(epoch)  # now, as whoever counts the batches does not ask for one more
            yield to_tensors(batch)
        self._finish(epoch)  # here, where one batch is all: looking at it is not yet an epoch

    def _finish(self, epoch: int) -> None:
        """Only a whole epoch leads to the next one, so that a rank which peeks stays with the others."""
        if self._epoch == epoch:
            self.epoch = epoch + 1
            self._came_by_itself = True

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: the epoch, and how many samples of it all ranks together were handed."""
        epoch, done = self._running or (self._epoch, self._resume_at)
        if self._running is not None and not self._batch_ends(done):
            epoch, done = epoch + 1, 0
        return {"epoch": epoch, "num_samples": done, **self._order_settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on at the sample after the last one that was handed out.

        Batch size and number of ranks may be others than when the state was taken.

        Raises:
            ValueError: the state is from the middle of an epoch of another dataset, seed or order, in which the same
                place would repeat and skip samples.
        """
        epoch, done = read_position(state, self._order_settings(), self.batch_size * self.sampler.world_size)
        self.epoch = epoch
        self._resume_at = done

    def _order_settings(self) -> dict[str, Any]:
        """What the order of an epoch depends on."""
        return {"length": self.sampler.num_samples, "shuffle": self.sampler.shuffle, "seed": self.sampler.seed}

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

    def _common_text(self, start: int) -> str:
        """What all ranks of a job must have alike, or samples are lost and doubled."""
        settings = {**self._order_settings(), "batch_size": self.batch_size, "drop_last": self.drop_last}
        return f"from sample {start} on, " + ", ".join(f"{name}={value}" for name, value in settings.items())

    def _batch_indices(self, epoch: int, start: int) -> list[np.ndarray]:
        own = self.sampler.indices(epoch, start)
        return [own[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self._batch_ends(start)))]

    def _batch_ends(self, start: int) -> list[int]:
        """For each batch from place `start` of the common order on, the place behind its last sample on any rank."""
        together, num_samples = self.batch_size * self.sampler.world_size, self.sampler.total
        left = num_samples - start
        num_batches = left // together if self.drop_last else -(-left // together)
        return [min(start + (i + 1) * together, num_samples) for i in range(num_batches)]

    def _fetch_ahead(self, batches: list[np.ndarray], ends: list[int], epoch: int) -> Iterator[Any]:
        """Batch k comes from worker k mod n, so that the order never depends on which worker is faster."""
        if not batches:
            return
        capacity = self.num_workers * self.prefetch
        workers: list[Worker] = []
        try:
            for number in range(min(self.num_workers, len(batches))):
                workers.append(self._start_worker(number, batches, ends, epoch))
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

    def _start_worker(self, number: int, batches: list[np.ndarray], ends: list[int], epoch: int) -> Worker:
        from dtrain.data.random_streams import kept_global_streams, seed_global_streams
        from dtrain.data.worker import Worker, batch_nbytes  # only now: multiprocessing is slow to import

        def fetch(position: int) -> Any:
            # By place, not by worker: numbers depend neither on how many workers there are nor on a resumed run.
            seed_global_streams((self.sampler.seed, epoch, self.sampler.rank, ends[position]))
            return self.fetch(batches[position])

        if self._slot_nbytes is None:
            with kept_global_streams():
                sample_nbytes = batch_nbytes(self.fetch(np.zeros(1, np.int64)))
            self._slot_nbytes = int(sample_nbytes * self.batch_size * _SLOT_HEADROOM)
        return Worker(number, fetch, num_slots=self.prefetch, slot_nbytes=self._slot_nbytes)


def _check_sampler(sampler: Any, length: int, shuffle: bool, shard: bool | tuple[int, int]) -> None:
    if not isinstance(sampler, DistributedSampler):
        advice = "write shuffle=True, shard=True, or a data.Subset of the dataset"
        raise TypeError(expected("DataLoader", "a DistributedSampler as sampler", type(sampler).__name__, advice))
    if shuffle or shard is not False:
        raise ValueError(expected("DataLoader", "shuffle and shard left out beside a sampler", "both"))
    if sampler.num_samples != length:
        raise ValueError(expected("DataLoader", f"a sampler of {length} samples", str(sampler.num_samples)))
