"""A sampler of whole batches, by PyTorch's name: lists of the numbers that another sampler yields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dtrain.base.errors import expected
from dtrain.data.index_sampler import Sampler


class BatchSampler(Sampler[list[Any]]):
    """Lists of `batch_size` numbers of another sampler, the last one shorter unless `drop_last`.

    A loader with `batch_sampler=BatchSampler(sampler, size, drop_last)` is the same as one with these three.
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(expected("BatchSampler", "batch_size of at least 1", repr(batch_size)))
        if not isinstance(drop_last, bool):
            raise ValueError(expected("BatchSampler", "drop_last of True or False", repr(drop_last)))
        self.sampler, self.batch_size, self.drop_last = sampler, int(batch_size), drop_last

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[list[Any]]:
        batch: list[Any] = []
        for number in self.sampler:
            batch.append(number)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration, where the sampler inside has one for each epoch."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __repr__(self) -> str:
        last = ", drop_last" if self.drop_last else ""
        return f"BatchSampler({self.sampler!r}, batch_size={self.batch_size}{last})"
