"""The data loader: batches of a dataset as tensors, sharded over ranks, fetched ahead by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dtrain.base.errors import expected
from dtrain.core.random import default_generator
from dtrain.data.batch_sampler import BatchSampler
from dtrain.data.collate import Collate, collate, empty_like, to_tensors
from dtrain.data.dataset import Dataset
from dtrain.data.distributed_sampler import DistributedSampler
from dtrain.data.epoch_start import EpochStart, announce
from dtrain.data.given_order import GivenBatches, GivenOrder, check_beside_batches, order_of
from dtrain.data.index_sampler import EpochTold
from dtrain.data.position import checked_count, read_position
from dtrain.data.stream import IterableDataset, StreamBatches, check_beside_stream
from dtrain.data.worker_info import WorkerInfo, enter_worker, get_worker_info

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
        dataset: samples by number; `take` is used where the dataset has it, else samples are collated. Or an
            `IterableDataset`, which each worker reads by itself; with `shard=True` ranks take turns in its samples, so
            it must yield the same ones on every rank.
        batch_size: samples a batch on this rank.
        shuffle: a new order each epoch.
        shard: True to split the samples over the ranks of the job, (rank, world_size) to say which, False for all.
        num_workers: processes that fetch batches ahead; 0 fetches in this process when asked. They are forked at the
            start of an epoch: the dataset must not touch a GPU or MPI. There, Python's, NumPy's and dtrain's global
            random numbers depend on (seed, epoch, rank, place in the epoch), for a stream on (seed, epoch, rank,
            worker), with `shard=True` on no rank; a generator that the dataset keeps is copied into each worker.
        prefetch: batches that each worker may be ahead.
        drop_last: leave out the last batches if they are not full on every rank.
        collate: samples -> batch of arrays, in place of stacking them.
        sampler: an iterable of sample numbers with a length, in place of `shuffle`. Without `shard` its numbers are
            this rank's, as in PyTorch; with `shard=True` they are the common order, the same on all ranks, in which
            ranks take turns. A `DistributedSampler` shares out by itself.
        batch_sampler: an iterable of lists of sample numbers with a length, in place of `batch_size`, `shuffle`,
            `sampler` and `drop_last`. With `shard=True` ranks take turns in its batches.
        worker_init_fn: called with its number in each worker when it starts; `data.get_worker_info()` says more.
            Global random numbers are seeded before it, and unless it is a stream for each batch behind it.
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
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        worker_init_fn: Callable[[int], Any] | None = None,
    ) -> None:
        self.batch_sampler = batch_sampler
        if batch_sampler is not None:
            check_beside_batches(batch_size, shuffle, sampler, drop_last)
            if type(batch_sampler) is BatchSampler:  # the same as its parts, which know more
                parts, batch_sampler = batch_sampler, None
                sampler, batch_size, drop_last = parts.sampler, parts.batch_size, parts.drop_last
        batch_size = checked_count("batch_size", batch_size, 1)
        num_workers, prefetch = checked_count("num_workers", num_workers), checked_count("prefetch", prefetch, 1)
        if worker_init_fn is not None and not callable(worker_init_fn):
            raise TypeError(expected("DataLoader", "a function as worker_init_fn", type(worker_init_fn).__name__))
        self._is_stream = isinstance(dataset, IterableDataset)
        if self._is_stream:
            check_beside_stream(shuffle, sampler, batch_sampler)
        length = 0 if self._is_stream else len(dataset)
        self._order, self._is_shared_out = order_of(sampler, length, shuffle, shard, seed)
        self._batches = None if batch_sampler is None else GivenBatches(batch_sampler, len(dataset), self._order)
        self.sampler: Any = sampler if sampler is not None else self._order
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.num_workers, self.prefetch = num_workers, prefetch
        self._collate, self._worker_init_fn = collate, worker_init_fn
        self._epoch = 0  # of the next iteration
        self._resume_at = 0  # samples of that epoch, over all ranks, that were handed out before this run
        self._resumed_digest: str | None = None  # of the order that this place is in, where a sampler was given
        self._came_by_itself = False  # to the epoch, not by being told
        self._slot_nbytes: int | None = None
        self._running: tuple[int, int] | None = None  # epoch of the latest iteration, and where in its order it is

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        if self._batches is not None:
            return len(self._batches)
        together, num_samples = self.batch_size * self._order.world_size, self._order.total
        if self._is_stream:
            num_samples = len(self.dataset)
        return num_samples // together if self.drop_last else -(-num_samples // together)

    def __repr__(self) -> str:
        size = [] if self._batches is not None else [f"batch_size={self.batch_size}"]
        size += [] if self._is_stream else [f"{len(self)} batches an epoch"]
        parts = [repr(self.dataset), *size, f"epoch {self.epoch}"]
        parts += [] if self._is_stream else [repr(self.sampler if self._batches is None else self.batch_sampler)]
        parts += ["drop_last"] if self.drop_last else []
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
        told = self.sampler.take_told() if isinstance(self.sampler, EpochTold) else None
        if told is not None:
            self.epoch = told
        epoch, start = self._epoch, self._resume_at
        if self._is_stream:
            yield from self._iterate_stream(epoch, start)
            return
        batches, ends = self._begin(epoch, start)
        self._running = epoch, start
        if self._is_shared_out:
            announce(self, EpochStart(epoch, self._total, self._came_by_itself, self._common_text(start)))
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
        if self._running is not None and not self._is_stream and not self._batch_ends(done):
            epoch, done = epoch + 1, 0
        digest = self._digest if self._running is not None else self._resumed_digest
        order = {"order": digest} if done and digest is not None else {}
        return {"epoch": epoch, "num_samples": done, **self._order_settings(), **order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on at the sample after the last one that was handed out.

        Batch size and number of ranks may be others than when the state was taken.

        Raises:
            ValueError: the state is from the middle of an epoch of another dataset, seed or order, in which the same
                place would repeat and skip samples.
        """
        epoch, done = read_position(state, self._order_settings(), self.batch_size * self._order.world_size)
        if self._is_stream and self.num_workers and done:
            where = f"{done} samples with {self.num_workers} workers"
            advice = "read it with num_workers=0, or begin the epoch again: loader.epoch = state['epoch']"
            raise ValueError(expected("DataLoader", "a place in a stream that one process reads", where, advice))
        self.epoch = epoch
        self._resume_at, self._resumed_digest = done, state.get("order")
        if self._digest is not None and not isinstance(self.sampler, EpochTold):
            given: Any = self.sampler if self._batches is None else self.batch_sampler
            if hasattr(given, "set_epoch"):
                given.set_epoch(epoch)

    def _order_settings(self) -> dict[str, Any]:
        """What the order of an epoch depends on."""
        if self._is_stream:
            return {"stream": type(self.dataset).__name__, "num_workers": self.num_workers}
        if self._batches is not None:
            return {"num_batches": len(self._batches.given), "sampler": type(self._batches.given).__name__}
        if isinstance(self._order, GivenOrder):
            return {"length": len(self._order.given), "sampler": type(self._order.given).__name__}
        return {"length": self._order.num_samples, "shuffle": self._order.shuffle, "seed": self._order.seed}

    @property
    def _digest(self) -> str | None:
        """Of the order that the given sampler had in the epoch begun last; None where no sampler was given."""
        given = self._batches or (self._order if isinstance(self._order, GivenOrder) else None)
        return None if given is None else given.digest

    @property
    def _total(self) -> int:
        """Samples of all ranks together in an epoch."""
        return self._order.total if self._batches is None else self._batches.total

    def _iterate_stream(self, epoch: int, start: int) -> Iterator[Any]:
        self._running = epoch, start
        if self._is_shared_out:
            announce(self, EpochStart(epoch, 0, self._came_by_itself, self._common_text(start)))
        stream = cast(IterableDataset[Any], self.dataset)
        turn = (self._order.rank, self._order.world_size)
        batches = StreamBatches(stream, self._collate or collate, self.batch_size, self.drop_last, turn)
        source = batches.here(start)
        if self.num_workers:
            source = batches.ahead(partial(self._start_reader, epoch=epoch), self.num_workers, self.prefetch)
        for batch, count in source:
            start += count
            self._running = epoch, start
            yield to_tensors(batch)
        self._finish(epoch)

    def _start_reader(self, number: int, read: Callable[[int], Any], epoch: int) -> Worker:
        from dtrain.data.worker import Worker

        def fetch(position: int) -> Any:
            # Ranks that share a stream out draw the same numbers, or they would not share one.
            self._enter_worker(number, epoch, 0 if self._is_shared_out else self._order.rank)
            return read(position)

        return Worker(number, fetch, num_slots=self.prefetch, slot_nbytes=0)

    def _enter_worker(self, number: int, epoch: int, rank: int) -> None:
        """In a worker, the first time: seed it and say which one it is."""
        from dtrain.data.random_streams import seed_global_streams

        if get_worker_info() is None:
            seed_global_streams((self._order.seed, epoch, rank, -1 - number))
            seed = default_generator().initial_seed()
            enter_worker(WorkerInfo(number, self.num_workers, seed, self.dataset), self._worker_init_fn)

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
        settings |= {} if self._digest is None else {"order": self._digest}
        return f"from sample {start} on, " + ", ".join(f"{name}={value}" for name, value in settings.items())

    def _begin(self, epoch: int, start: int) -> tuple[list[np.ndarray], list[int]]:
        """This rank's batches of an epoch, and for each the place behind the last sample of any rank by then."""
        if self._batches is not None:
            self._batches.begin()
            own: Any = None
        else:
            own = self._order.indices(epoch, start)
        if start and self._digest != self._resumed_digest:
            given = "another order from the sampler than before"
            advice = "give it a seed, or a set_epoch(epoch) on which alone its order depends"
            raise ValueError(expected("DataLoader", "the order that the loaded state is in", given, advice))
        ends = self._batch_ends(start)
        if self._batches is not None:
            return self._batches.own(start), ends
        batches = [own[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(ends))]
        if isinstance(self._order, DistributedSampler):
            self._order.check_batches(batches)
        return batches, ends

    def _batch_ends(self, start: int) -> list[int]:
        """For each batch from place `start` of the common order on, the place behind its last sample on any rank."""
        if self._batches is not None:
            return self._batches.ends(start)
        together, num_samples = self.batch_size * self._order.world_size, self._order.total
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
            self._enter_worker(number, epoch, self._order.rank)
            # By place, not by worker: numbers depend neither on how many workers there are nor on a resumed run.
            seed_global_streams((self._order.seed, epoch, self._order.rank, ends[position]))
            return self.fetch(batches[position])

        if self._slot_nbytes is None or self._batches is not None:
            with kept_global_streams():
                sample_nbytes = batch_nbytes(self.fetch(np.zeros(1, np.int64)))
            largest = self.batch_size if self._batches is None else max(map(len, batches))
            self._slot_nbytes = int(sample_nbytes * largest * _SLOT_HEADROOM)
        return Worker(number, fetch, num_slots=self.prefetch, slot_nbytes=self._slot_nbytes)
