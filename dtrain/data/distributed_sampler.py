"""The sampler that scripts of PyTorch give to their loader to share samples out over ranks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dtrain.data.dataset import Dataset
from dtrain.data.index_sampler import EpochTold, Sampler
from dtrain.data.sampler import RankShardedSampler


class DistributedSampler(EpochTold, RankShardedSampler, Sampler[int]):
    """A rank's sample numbers of a dataset: `DataLoader(dataset, batch_size, sampler=DistributedSampler(dataset))`.

    The loader does the same as with `shard=True`: every sample comes exactly once, where PyTorch's repeats the first
    ones until all ranks have as many. A rank whose last batch is empty for that reason warns: a mean over it is nan.
    `set_epoch` chooses the order of the loader's next iteration.

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

    def check_batches(self, batches: Sequence[np.ndarray]) -> None:
        """Warn where scripts written for repeated samples would average over none, and pass nan on to all ranks."""
        if all(len(batch) for batch in batches):
            return
        warnings.warn(
            "the last batch of this rank is empty: DistributedSampler gives each sample once, where PyTorch's repeats "
            "some. A mean over no samples is nan: add up sums and counts of all ranks, or write drop_last=True",
            stacklevel=4,
        )
