"""From samples to a batch: arrays stacked along a new axis 0, through nested tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor

Collate = Callable[[Sequence[Any]], Any]


def collate(samples: Sequence[Any]) -> Any:
    """Stack samples of one structure. Python floats become f32, ints s64; strings stay a list."""
    first = samples[0]
    if isinstance(first, dict):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        if any(len(sample) != len(first) for sample in samples):
            given = ", ".join(sorted({str(len(sample)) for sample in samples}))
            raise ShapeError(expected("collate", "samples with as many parts each", given))
        parts = [collate(column) for column in zip(*samples)]
        return tuple(parts) if isinstance(first, tuple) else parts
    if isinstance(first, str | bytes):
        return list(samples)
    arrays = [_as_array(sample) for sample in samples]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        given = " and ".join(map(str, sorted(shapes)[:4]))
        raise ShapeError(expected("collate", "samples of one shape", given, "pad or crop them, or pass collate="))
    return np.stack(arrays)


def _as_array(sample: Any) -> np.ndarray:
    if isinstance(sample, Tensor):
        return sample.numpy()
    if type(sample) is float:  # np.float64 is a float too, and keeps its width
        return np.asarray(sample, np.float32)
    array = np.asarray(sample)
    if array.dtype == object:
        raise TypeError(expected("collate", "numbers, arrays or tensors", type(sample).__name__, "pass collate="))
    return array


def empty_like(batch: Any) -> Any:
    """A batch of the same structure without samples."""
    return map_arrays(batch, lambda array: array[:0])


def to_tensors(batch: Any) -> Any:
    """The batch with tensors, which share its memory, in place of arrays."""
    return map_arrays(batch, as_tensor)


def map_arrays(batch: Any, function: Callable[[np.ndarray], Any]) -> Any:
    """The same nesting with every array replaced."""
    if isinstance(batch, np.ndarray | np.generic):
        return function(np.asarray(batch))
    if isinstance(batch, dict):
        return {key: map_arrays(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [map_arrays(part, function) for part in batch]
        if hasattr(batch, "_fields"):
            return type(batch)(*parts)
        return tuple(parts) if isinstance(batch, tuple) else parts
    return batch
