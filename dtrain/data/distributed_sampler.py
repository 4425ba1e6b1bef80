"""The sampler that scripts of PyTorch give to their loader to share samples out over ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dtrain.data.dataset import Dataset
from dtrain.data.index_sampler import EpochTold, Sampler
from dtrain.data.sampler import RankShardedSampler


class DistributedSampler(EpochTold, RankShardedSampler, Sampler[int]):
    """A rank's sample numbers of a dataset: `DataLoader(dataset, batch_size, sampler=DistributedSampler(dataset))`.

    The loader does the same as with `shard=True`: every sample comes exactly once, where PyTorch's repeats the first
    ones until all ranks have as many. `set_epoch` chooses the order of the loader's next iteration.

    Args:
        num_replicas, rank: place in the job, by default the one that the environment tells.
        shuffle: a new order in each epoch, from (seed, epoch) alone, hence the same on all ranks.
        drop_last: leave out the last samples of the order that not every rank would get one of.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            len(dataset), rank=rank, world_size=num_replicas, shuffle=shuffle, seed=seed, drop_last=drop_last
        )
        self.is_from_environment = num_replicas is None

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices(self.epoch).tolist())
