"""Samplers by PyTorch's names: iterables of sample numbers that a loader takes as `sampler=`.

Those of dtrain draw from (seed, epoch) alone, by raw numbers of Philox: a loader can ask for any epoch again, and all
ranks get the same order. On its own a sampler begins a new epoch with each iteration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from dtrain.base.errors import expected
from dtrain.data.dataset import checked_seed, permutation
from dtrain.data.position import checked_count

Item_co = TypeVar("Item_co", covariant=True)


class Sampler(Generic[Item_co]):
    """Base of samplers: `__iter__` yields an epoch's sample numbers, `__len__` says how many."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[Item_co]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")


class EpochTold:
    """The epoch that `set_epoch` has named, for a loader to take over once."""

    epoch = 0
    _is_told = False

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch, self._is_told = epoch, True

    def take_told(self) -> int | None:
        """The epoch that `set_epoch` has named since the last time this was asked."""
        told, self._is_told = self.epoch if self._is_told else None, False
        return told


class IndexSampler(EpochTold, Sampler[int]):
    """A sampler whose numbers depend on nothing but the epoch and what it was made with."""

    seed = 0

    def indices(self, epoch: int) -> np.ndarray:
        """The sample numbers of an epoch, s64."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        order = self.indices(self.epoch)
        self.epoch += 1
        return iter(order.tolist())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} samples, seed={self.seed})"


class SequentialSampler(IndexSampler):
    """0, 1, 2 …: every sample of a dataset in its order."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def __repr__(self) -> str:
        return f"SequentialSampler({len(self)} samples)"

    def indices(self, epoch: int) -> np.ndarray:
        return np.arange(len(self))


class RandomSampler(IndexSampler):
    """A dataset's samples in a new random order each epoch.

    Args:
        replacement: draw each number anew, so that some come several times and others not at all.
        num_samples: numbers an epoch, by default as many as the dataset has. More of them without replacement begin
            another random order.
        seed: chooses the orders; `generator=` draws one.
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, *, seed: int = 0
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(expected("RandomSampler", "replacement of True or False", repr(replacement)))
        if num_samples is not None:
            num_samples = checked_count("num_samples", num_samples, 1, "RandomSampler")
        self.data_source, self.replacement, self.seed = data_source, replacement, checked_seed(seed)
        self._num_samples = num_samples

    @property
    def num_samples(self) -> int:
        """Numbers an epoch."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self) -> int:
        return self.num_samples

    def indices(self, epoch: int) -> np.ndarray:
        size, wanted = len(self.data_source), self.num_samples
        if not size:
            if wanted:
                raise ValueError(expected("RandomSampler", "samples to draw from", "an empty dataset"))
            return np.zeros(0, np.int64)
        if self.replacement:
            return _as_numbers(_uniform(wanted, self.seed, epoch) * size)
        rounds = -(-wanted // size)
        # The first order is the one that shuffle=True gives; those behind it are of streams that no epoch has.
        orders = [permutation(size, self.seed, (epoch + number * _STREAMS) % 2**64) for number in range(rounds)]
        return np.concatenate([np.zeros(0, np.int64), *orders])[:wanted]


class SubsetRandomSampler(IndexSampler):
    """The given sample numbers in a new random order each epoch; `generator=` draws the seed."""

    def __init__(self, indices: Sequence[int], *, seed: int = 0) -> None:
        self._numbers = np.asarray([int(index) for index in indices], np.int64)
        self.seed = checked_seed(seed)

    def __len__(self) -> int:
        return len(self._numbers)

    def indices(self, epoch: int) -> np.ndarray:
        return np.take(self._numbers, permutation(len(self), self.seed, epoch))


class WeightedRandomSampler(IndexSampler):
    """Sample numbers drawn by the ratio of their weights: number i as often as weights[i] says.

    Args:
        weights: finite, none below 0; they need not add up to 1.
        num_samples: numbers an epoch.
        replacement: whether a number may come again; without it at most as many as have a weight above 0.
        seed: chooses the draws; `generator=` draws one.
    """

    def __init__(
        self, weights: Sequence[float] | np.ndarray, num_samples: int, replacement: bool = True, *, seed: int = 0
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(expected("WeightedRandomSampler", "replacement of True or False", repr(replacement)))
        num_samples = checked_count("num_samples", num_samples, 1, "WeightedRandomSampler")
        self.weights = np.asarray([float(weight) for weight in weights], np.float64)
        fits = np.isfinite(self.weights).all() and (self.weights >= 0).all()
        num_positive = int((self.weights > 0).sum())
        if not fits or num_positive < (1 if replacement else num_samples):
            wanted = "finite weights, none below 0, and one above 0" if replacement else (
                f"finite weights, none below 0, and {num_samples} above 0 to draw so many without replacement"
            )  # fmt: skip
            given = f"{len(self.weights)} weights, {num_positive} of them above 0"
            raise ValueError(expected("WeightedRandomSampler", wanted, given))
        self.num_samples, self.replacement, self.seed = num_samples, replacement, checked_seed(seed)

    def __len__(self) -> int:
        return self.num_samples

    def indices(self, epoch: int) -> np.ndarray:
        if self.replacement:
            edges = np.cumsum(self.weights)
            drawn = _uniform(self.num_samples, self.seed, epoch) * edges[-1]
            last = int(np.flatnonzero(self.weights)[-1])  # a draw may be rounded up to the whole
            return _as_numbers(np.minimum(np.searchsorted(edges, drawn, side="right"), last))
        # Each number waits for an exponential time at its rate; the first ones to come are a draw without replacement.
        waiting = -np.log1p(-_uniform(len(self.weights), self.seed, epoch))
        with np.errstate(divide="ignore"):
            times = np.where(self.weights > 0, waiting / self.weights, np.inf)
        return _as_numbers(np.argsort(times, kind="stable")[: self.num_samples])


_STREAMS = 2**40  # apart from each other by more epochs than anybody trains


def _uniform(count: int, seed: int, epoch: int) -> np.ndarray:
    """f64[count] in [0, 1), the same for every version of NumPy."""
    raw = np.random.Philox(key=np.array([seed % 2**64, epoch], np.uint64)).random_raw(count)
    return np.asarray((np.atleast_1d(raw) >> np.uint64(11)) * 2.0**-53, np.float64)


def _as_numbers(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64)
