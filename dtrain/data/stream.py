"""Datasets that are streams, read from front to back, and the batches of them.

Ranks that share a stream out take turns in its samples, so that each has as many batches; every rank reads it all. In
each worker process the stream begins anew: `get_worker_info` is how it reads a part of its own there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from dtrain.base.errors import expected
from dtrain.data.collate import empty_like
from dtrain.data.dataset import Dataset, Sample_co
from dtrain.data.position import expect_left_out

if TYPE_CHECKING:
    from dtrain.data.worker import Worker

Join = Callable[[list[Any]], Any]


class IterableDataset(Dataset[Sample_co]):
    """Samples by iterating: subclasses define `__iter__`. `a + b` is one after the other."""

    def __iter__(self) -> Iterator[Sample_co]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")

    def __len__(self) -> int:
        raise TypeError(expected(type(self).__name__, "a dataset with a length", "a stream", "define __len__"))

    def __getitem__(self, index: int) -> Sample_co:
        raise TypeError(expected(type(self).__name__, "to be iterated over", f"sample number {index}"))

    def __add__(self, other: Dataset[Any]) -> ChainDataset:
        return ChainDataset([self, other])

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ChainDataset(IterableDataset[Any]):
    """Streams one after another."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                advice = "join others with data.ConcatDataset"
                raise TypeError(expected("ChainDataset", "iterable datasets", type(dataset).__name__, advice))

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)

    def __repr__(self) -> str:
        return f"ChainDataset({', '.join(map(repr, self.datasets))})"


class StreamBatches:
    """One iteration over a stream: the batches of this rank, and how many samples of it are behind each.

    Args:
        join: samples -> batch of arrays.
        turn: (rank, world_size), which samples of the stream are this rank's.
    """

    def __init__(
        self, dataset: Iterable[Any], join: Join, batch_size: int, drop_last: bool, turn: tuple[int, int]
    ) -> None:
        self.dataset, self.join = dataset, join
        self.batch_size, self.drop_last = batch_size, drop_last
        self.rank, self.world_size = turn

    def here(self, start: int) -> Iterator[tuple[Any, int]]:
        """(batch, samples of all ranks with it) in this process, from sample `start` of the stream on."""
        together, samples = self.batch_size * self.world_size, islice(iter(self.dataset), start, None)
        while chunk := list(islice(samples, together)):
            if self.drop_last and len(chunk) < together:
                return
            own = chunk[self.rank :: self.world_size]
            yield self.join(own) if own else empty_like(self.join(chunk[:1])), len(chunk)

    def ahead(self, start_worker: Callable[[int, Callable[[int], Any]], Worker], workers: int, prefetch: int) -> Any:
        """(batch, samples of all ranks with it): one of each worker in turn, without those whose stream has ended."""
        running = {number: start_worker(number, self._fetch()) for number in range(workers)}
        try:
            for worker in running.values():
                for position in range(prefetch):
                    worker.request(position)
            while running:
                for number, worker in list(running.items()):
                    found = worker.receive()
                    if found is None:
                        running.pop(number).close()
                        continue
                    worker.request(0)
                    yield found
        finally:
            for worker in running.values():
                worker.close()

    def _fetch(self) -> Callable[[int], Any]:
        """For a worker: the next batch of its copy of the stream; None from the end on."""
        batches: list[Iterator[tuple[Any, int]]] = []

        def fetch(position: int) -> Any:
            if not batches:  # in the worker, where the stream knows which one it is
                batches.append(self.here(0))
            return next(batches[0], None)

        return fetch


def check_beside_stream(shuffle: bool, sampler: Any, batch_sampler: Any) -> None:
    """Raise ValueError for what says an order of sample numbers, which a stream has none of."""
    expect_left_out(
        "an IterableDataset",
        {"shuffle": shuffle, "sampler": sampler is not None, "batch_sampler": batch_sampler is not None},
    )
