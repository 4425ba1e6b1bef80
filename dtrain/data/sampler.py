"""Which samples a rank sees, in which order.

Ranks take turns in one common order (rank r gets places r, r + world, …), so that batch k of all ranks together is
batch k of a single process whose batches are `world` times as large:

    order    7 2 9 0 4 | 1 8 3 6 5        world = 2, 5 samples together a step
    rank 0   7   9   4 |   8   6
    rank 1     2   0   | 1   3   5
"""

from __future__ import annotations

import numpy as np

from dtrain.base.errors import expected
from dtrain.base.rank_info import RankInfo
from dtrain.data.dataset import permutation


class RankShardedSampler:
    """The sample numbers of one rank, epoch by epoch.

    By default every sample is seen exactly once by exactly one rank, so counts may differ by one between ranks (and
    be zero). `pad` repeats the first samples of the order until all ranks have as many; `drop_last` leaves out the
    last few instead.

    Args:
        num_samples: length of the dataset.
        rank, world_size: place in the job, by default the one that the environment tells.
        shuffle: a new order in each epoch, from (seed, epoch) alone, hence the same on all ranks.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        rank: int | None = None,
        world_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        pad: bool = False,
        drop_last: bool = False,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise ValueError(expected("RankShardedSampler", "rank and world_size together", f"{rank}, {world_size}"))
        if rank is None or world_size is None:
            info = RankInfo.from_environment()
            rank, world_size = info.rank, info.size
        if not 0 <= rank < world_size:
            raise ValueError(expected("RankShardedSampler", "0 <= rank < world_size", f"{rank} and {world_size}"))
        if num_samples < 0:
            raise ValueError(expected("RankShardedSampler", "num_samples of at least 0", str(num_samples)))
        if pad and drop_last:
            raise ValueError(expected("RankShardedSampler", "pad or drop_last", "both"))
        self.num_samples, self.rank, self.world_size = num_samples, rank, world_size
        self.shuffle, self.seed, self.pad, self.drop_last = shuffle, seed, pad, drop_last

    def __repr__(self) -> str:
        options = [name for name in ("shuffle", "pad", "drop_last") if getattr(self, name)]
        place = f"rank {self.rank} of {self.world_size}"
        parts = [f"{self.num_samples} samples", place, *options, f"seed={self.seed}"]
        return f"{type(self).__name__}({', '.join(parts)})"

    @property
    def total(self) -> int:
        """Samples of all ranks together in an epoch."""
        remainder = self.num_samples % self.world_size
        if self.drop_last:
            return self.num_samples - remainder
        if self.pad and remainder:
            return self.num_samples + self.world_size - remainder
        return self.num_samples

    def __len__(self) -> int:
        return len(range(self.rank, self.total, self.world_size))

    def indices(self, epoch: int, start: int = 0) -> np.ndarray:
        """This rank's sample numbers in `epoch`, s64, from place `start` of the common order on."""
        return self.global_order(epoch)[start:][self.rank :: self.world_size]

    def global_order(self, epoch: int) -> np.ndarray:
        """All ranks' sample numbers in `epoch`: place i belongs to rank i mod world_size."""
        order = permutation(self.num_samples, self.seed, epoch) if self.shuffle else np.arange(self.num_samples)
        return np.resize(order, self.total) if self.total > len(order) else order[: self.total]
