"""The order that a sampler given to a loader yields, as the loader shares it out over ranks and resumes in it.

A sampler of dtrain is asked for an epoch by number. Any other is iterated once an epoch, as PyTorch does; what it then
yields cannot be asked for again, so a digest of the order tells whether ranks, or a resumed run, have the same one.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dtrain.base.errors import expected
from dtrain.data.distributed_sampler import DistributedSampler
from dtrain.data.index_sampler import IndexSampler
from dtrain.data.position import expect_left_out
from dtrain.data.sampler import RankShardedSampler


class GivenOrder(RankShardedSampler):
    """A rank's numbers of those that a sampler yields: places r, r + world, … of its order.

    Args:
        sampler: yields as many numbers as its length says.
        dataset_length: numbers lie below it.
    """

    def __init__(
        self, sampler: Any, dataset_length: int, *, rank: int | None, world_size: int | None, seed: int
    ) -> None:
        _check_length("sampler", sampler)
        seed = getattr(sampler, "seed", seed)
        super().__init__(len(sampler), rank=rank, world_size=world_size, seed=seed if isinstance(seed, int) else 0)
        self.given, self.dataset_length, self.digest = sampler, dataset_length, ""

    def __repr__(self) -> str:
        return repr(self.given)

    def global_order(self, epoch: int) -> np.ndarray:
        self.num_samples = len(self.given)  # a dataset may have grown
        if isinstance(self.given, IndexSampler):
            order = self.given.indices(epoch)
        else:
            order = numbers(self.given, "sampler")
        _check_numbers(order, self.dataset_length)
        _check_count("sampler", len(order), self.num_samples)
        self.digest = digest_of([order])
        return order


class GivenBatches:
    """The batches that a batch sampler yields, each whole on one rank: batches r, r + world, … of its order.

    batches  [7 2] [9] [0 4 1] | [8] [3 6]        world = 3, three batches together a step
    rank 0   [7 2]             | [8]
    rank 1         [9]         |     [3 6]
    rank 2             [0 4 1] |           []
    """

    def __init__(self, batch_sampler: Any, dataset_length: int, place: RankShardedSampler) -> None:
        _check_length("batch_sampler", batch_sampler)
        self.given, self.dataset_length, self.place, self.digest = batch_sampler, dataset_length, place, ""
        self._batches: list[np.ndarray] = []
        self._ends = np.zeros(0, np.int64)  # of the batches, in samples

    def __len__(self) -> int:
        return -(-len(self.given) // self.place.world_size)

    @property
    def total(self) -> int:
        """Samples of the epoch that was begun last."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def begin(self) -> None:
        """Ask for the batches of an epoch."""
        self._batches = [numbers(batch, "batch_sampler") for batch in self.given]
        for batch in self._batches:
            _check_numbers(batch, self.dataset_length)
        _check_count("batch_sampler", len(self._batches), len(self.given))
        self._ends = np.cumsum([len(batch) for batch in self._batches])
        self.digest = digest_of(self._batches)

    def own(self, start: int) -> list[np.ndarray]:
        """This rank's batches from sample `start` of the order on, as many as every other rank's."""
        left, rank, size = self._batches[self._first(start) :], self.place.rank, self.place.world_size
        nothing = np.zeros(0, np.int64)
        return [left[at + rank] if at + rank < len(left) else nothing for at in range(0, len(left), size)]

    def ends(self, start: int) -> list[int]:
        """For each batch from sample `start` on, the place behind the last sample that any rank has by then."""
        left, size = self._ends[self._first(start) :], self.place.world_size
        return [int(left[min(at + size, len(left)) - 1]) for at in range(0, len(left), size)]

    def _first(self, start: int) -> int:
        """The batch that begins at sample `start`."""
        if start == 0:
            return 0
        number = int(np.searchsorted(self._ends, start, side="right"))
        if number == 0 or self._ends[number - 1] != start:
            raise ValueError(expected("DataLoader", "a state at the end of a batch of the batch_sampler", str(start)))
        return number


def order_of(
    sampler: Any, length: int, shuffle: bool, shard: bool | tuple[int, int], seed: int
) -> tuple[RankShardedSampler, bool]:
    """The order of a loader's samples, and whether the ranks of the job share it out."""
    if sampler is not None and shuffle:
        raise ValueError(expected("DataLoader", "shuffle left out beside a sampler", "both"))
    if isinstance(sampler, DistributedSampler):
        _check_distributed(sampler, length, shard)
        return sampler, sampler.is_from_environment and sampler.world_size > 1
    rank, size = _place_of(shard)
    order = (
        RankShardedSampler(length, rank=rank, world_size=size, shuffle=shuffle, seed=seed)
        if sampler is None
        else GivenOrder(sampler, length, rank=rank, world_size=size, seed=seed)
    )
    return order, shard is True and order.world_size > 1


def _place_of(shard: Any) -> tuple[int | None, int | None]:
    """Rank and world size; None for what the environment tells."""
    if isinstance(shard, bool):
        return (None, None) if shard else (0, 1)
    if isinstance(shard, tuple | list) and len(shard) == 2 and all(hasattr(number, "__index__") for number in shard):
        return int(shard[0]), int(shard[1])
    raise ValueError(expected("DataLoader", "shard to be True, False or (rank, world_size)", repr(shard)))


def numbers(items: Iterable[Any], what: str) -> np.ndarray:
    """What a sampler yields as s64. Raises TypeError for anything but integers."""
    if not hasattr(items, "__iter__"):
        raise TypeError(expected("DataLoader", f"lists of sample numbers from the {what}", repr(items)))
    found = list(items)  # outside of try: an error in a sampler's own code is not about numbers
    try:
        return np.array([operator.index(item) for item in found], np.int64)
    except TypeError as error:
        raise TypeError(expected("DataLoader", f"sample numbers from the {what}", str(error))) from None


def digest_of(orders: Sequence[np.ndarray]) -> str:
    """A short text that other orders, or the same numbers in other batches, do not have."""
    digest = hashlib.blake2b(digest_size=8)
    for order in orders:
        digest.update(len(order).to_bytes(8, "little") + np.ascontiguousarray(order, "<i8").tobytes())
    return digest.hexdigest()


def _check_length(what: str, given: Any) -> None:
    if not hasattr(given, "__iter__"):
        raise TypeError(expected("DataLoader", f"an iterable as {what}", type(given).__name__))
    if not hasattr(given, "__len__"):
        advice = "define __len__: every rank must know how many batches an epoch has"
        raise TypeError(expected("DataLoader", f"a {what} with a length", type(given).__name__, advice))


def _check_numbers(order: np.ndarray, length: int) -> None:
    outside = order[(order < -length) | (order >= length)]
    if outside.size:
        raise IndexError(expected("DataLoader", f"sample numbers in [0, {length})", str(outside[0])))


def _check_count(what: str, count: int, promised: int) -> None:
    if count != promised:
        given = f"{promised} from len() and {count} from iterating"
        raise ValueError(expected("DataLoader", f"a {what} that yields as many as its length", given))


def _check_distributed(sampler: DistributedSampler, length: int, shard: bool | tuple[int, int]) -> None:
    if shard is not False:
        raise ValueError(expected("DataLoader", "shard left out beside a DistributedSampler", "both"))
    if sampler.num_samples != length:
        raise ValueError(expected("DataLoader", f"a sampler of {length} samples", str(sampler.num_samples)))


def check_beside_batches(batch_size: int, shuffle: bool, sampler: Any, drop_last: bool) -> None:
    """Raise ValueError for what a batch sampler says itself."""
    expect_left_out(
        "a batch_sampler",
        {"batch_size": batch_size != 1, "shuffle": shuffle, "sampler": sampler is not None, "drop_last": drop_last},
    )
