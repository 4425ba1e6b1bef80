"""Datasets: anything with a length and samples by number; arrays, parts and random splits of others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor, as_tensor

Sample_co = TypeVar("Sample_co", covariant=True)


class Dataset(ABC, Generic[Sample_co]):
    """Samples by number, 0 to len − 1. Subclasses that can fetch many at once define `take` as well."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample_co: ...

    def __add__(self, other: Dataset[Any]) -> Dataset[Any]:
        return ConcatDataset([self, other])

    def take(self, indices: np.ndarray) -> Any:
        """The samples of these numbers as one batch of arrays, or NotImplemented to have them collated."""
        return NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} samples)"


class ArrayDataset(Dataset[Any]):
    """Arrays, tensors or lists of one length; sample i is the i-th element of each (a tuple if there are several)."""

    def __init__(self, *arrays: Any) -> None:
        if not arrays:
            raise ValueError(expected(type(self).__name__, "at least one array", "none"))
        # Lists become what they become as tensors: Python's floats f32.
        self.arrays = tuple(
            array if isinstance(array, np.ndarray) else as_tensor(array).detach().numpy() for array in arrays
        )
        lengths = {array.shape[:1] for array in self.arrays}
        if len(lengths) > 1 or () in lengths:
            shapes = " and ".join(str(array.shape) for array in self.arrays)
            raise ValueError(expected(type(self).__name__, "arrays of one length along axis 0", shapes))

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> Any:
        return self._unpacked([array[index] for array in self.arrays])

    def take(self, indices: np.ndarray) -> Any:
        return self._unpacked([array[indices] for array in self.arrays])

    def __repr__(self) -> str:
        kinds = ", ".join(f"{array.dtype}{list(array.shape[1:])}" for array in self.arrays)
        return f"{type(self).__name__}({len(self)} samples of {kinds})"

    def _unpacked(self, parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else tuple(parts)


class TensorDataset(ArrayDataset):
    """Tensors of one length; sample i is the tuple of the i-th element of each, also where there is one only."""

    def __init__(self, *tensors: Any) -> None:
        super().__init__(*tensors)
        self.tensors = tuple(as_tensor(array) for array in self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def _unpacked(self, parts: list[Any]) -> Any:
        return tuple(parts)


class Subset(Dataset[Any]):
    """The samples of another dataset that `indices` lists, in that order."""

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)
        if self.indices.ndim != 1:
            raise ValueError(expected("Subset", "a flat list of indices", f"shape {self.indices.shape}"))
        outside = self.indices[(self.indices < 0) | (self.indices >= len(dataset))]
        if outside.size:
            raise IndexError(expected("Subset", f"indices in [0, {len(dataset)})", str(outside[0])))

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def take(self, indices: np.ndarray) -> Any:
        return self.dataset.take(self.indices[indices])


class ConcatDataset(Dataset[Any]):
    """Datasets one after another."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError(expected("ConcatDataset", "at least one dataset", "none"))
        self._ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __repr__(self) -> str:
        return f"ConcatDataset({len(self)} samples of {', '.join(map(repr, self.datasets))})"

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(expected("ConcatDataset", f"an index in [0, {len(self)})", str(index)))
        index %= len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.datasets[number][index - int(self._ends[number]) + len(self.datasets[number])]


def random_split(dataset: Dataset[Any], sizes: Sequence[int | float], *, seed: int = 0) -> list[Subset]:
    """Cut a dataset into disjoint random parts, the same for the same seed on every rank.

    Args:
        sizes: counts that add up to the whole, or fractions that add up to 1 (samples left by rounding down go to
            the first parts, one each).
    """
    counts = _counts(len(dataset), sizes)
    order = permutation(len(dataset), seed, 0)
    ends = np.cumsum(counts)
    return [Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends)]


def _counts(total: int, sizes: Sequence[int | float]) -> list[int]:
    if all(isinstance(size, int) for size in sizes):
        counts = [int(size) for size in sizes]
        fits = sum(counts) == total and min(counts, default=-1) >= 0
    else:
        fits = abs(sum(sizes) - 1) < 1e-9 and min(sizes) >= 0
        counts = [int(total * size) for size in sizes]
        for part in range(total - sum(counts) if fits else 0):
            counts[part % len(counts)] += 1
    if not fits:
        raise ValueError(
            expected("random_split", f"counts that add up to {total}, or fractions that add up to 1", str(list(sizes)))
        )
    return counts


def checked_seed(seed: int) -> int:
    """The seed as an int. Raises TypeError for a fraction, which would be cut off to the order of another seed."""
    if not hasattr(seed, "__index__"):
        raise TypeError(expected("seed", "a whole number", repr(seed)))
    return int(seed.__index__())


def permutation(num_items: int, seed: int, epoch: int) -> np.ndarray:
    """A random order of 0 … num_items − 1 that depends on nothing but the arguments.

    Sorting Philox's raw numbers keeps it the same over NumPy versions, which may differ from rank to rank.
    """
    raw = np.random.Philox(key=np.array([checked_seed(seed) % 2**64, epoch], np.uint64)).random_raw(num_items)
    return np.argsort(np.atleast_1d(raw), kind="stable").astype(np.int64)
