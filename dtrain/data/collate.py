"""From samples to a batch: arrays stacked along a new axis 0, through nested tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dtrain.base.dtype import DType, bool_, float32, from_numpy, int64, promote
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor

Collate = Callable[[Sequence[Any]], Any]


def collate(samples: Sequence[Any]) -> Any:
    """Stack samples of one structure; named tuples stay what they are, texts stay a list.

    Python floats become f32 and ints s64. Where numbers of several kinds meet in one place of the samples, a float
    decides over integers, and a wider float over a narrower one.

    Raises:
        ShapeError: the samples differ in structure, in keys or in shape.
        TypeError: neither numbers nor arrays.
        ValueError: a number that the batch's dtype cannot hold.
    """
    if not samples:
        raise ValueError(expected("collate", "at least one sample", "none"))
    first = samples[0]
    if isinstance(first, Mapping):
        return _collate_mappings(samples)
    if isinstance(first, tuple | list):
        _check_kinds(samples, (tuple, list))
        if any(len(sample) != len(first) for sample in samples):
            given = ", ".join(sorted({str(len(sample)) for sample in samples}))
            raise ShapeError(expected("collate", "samples with as many parts each", given))
        return sequence_like(first, [collate(column) for column in zip(*samples)])
    if isinstance(first, str | bytes):
        _check_kinds(samples, (str, bytes))
        return list(samples)
    return _stack(samples)


def _collate_mappings(samples: Sequence[Any]) -> dict[Any, Any]:
    _check_kinds(samples, (Mapping,))
    keys = list(samples[0])
    for sample in samples:
        if set(sample) != set(keys):
            given = f"{keys} and {list(sample)}"
            raise ShapeError(expected("collate", "samples with the same keys", given, "fill in what is missing"))
    return {key: collate([sample[key] for sample in samples]) for key in keys}


def _check_kinds(samples: Sequence[Any], kinds: tuple[type, ...]) -> None:
    for sample in samples:
        if not isinstance(sample, kinds):
            given = f"{type(samples[0]).__name__} and {type(sample).__name__}"
            raise ShapeError(expected("collate", "samples of one structure", given, "pass collate= to join them"))


def _stack(samples: Sequence[Any]) -> np.ndarray:
    arrays = [_as_array(sample) for sample in samples]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        given = " and ".join(map(str, sorted(shapes)[:4]))
        raise ShapeError(expected("collate", "samples of one shape", given, "pad or crop them, or pass collate="))
    wanted = _common_dtype(samples, arrays).numpy
    _check_range(samples, wanted)
    return np.stack([array.astype(wanted, copy=False) for array in arrays])


def _as_array(sample: Any) -> np.ndarray:
    if isinstance(sample, Tensor):
        return sample.numpy()
    array = np.asarray(sample)
    if array.dtype == object and not isinstance(sample, int):
        raise TypeError(expected("collate", "numbers, arrays or tensors", type(sample).__name__, "pass collate="))
    return array


def _common_dtype(samples: Sequence[Any], arrays: Sequence[np.ndarray]) -> DType:
    """Arrays and NumPy's numbers bring their dtype; Python's numbers only their kind."""
    kinds = {type(sample) for sample in samples if isinstance(sample, bool | int | float)} & {bool, int, float}
    found = {
        from_numpy(array.dtype) for sample, array in zip(samples, arrays) if type(sample) not in (bool, int, float)
    }
    floats = {dtype for dtype in found if dtype.is_floating}
    if floats or float in kinds:
        return promote(*(floats or {float32}))
    weak = {int64} if int in kinds and not any(dtype.is_integer for dtype in found) else set()
    return promote(*(found | weak or {bool_}))


def _check_range(samples: Sequence[Any], wanted: np.dtype) -> None:
    """Raise ValueError for a Python number that the batch's dtype cannot hold."""
    for sample in samples:
        if type(sample) in (int, float) and not _fits(sample, wanted):
            advice = "pass NumPy arrays of a wider dtype, or collate="
            raise ValueError(expected("collate", f"numbers that {from_numpy(wanted).tag} holds", repr(sample), advice))


def _fits(number: int | float, wanted: np.dtype) -> bool:
    if wanted.kind in "iu":
        return bool(np.iinfo(wanted).min <= number <= np.iinfo(wanted).max)
    try:
        wide = np.float64(number)
    except OverflowError:  # an int beyond every float
        return False
    with np.errstate(over="ignore"):
        return not np.isfinite(wide) or bool(np.isfinite(wide.astype(wanted)))


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
    if isinstance(batch, Mapping):
        return {key: map_arrays(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return sequence_like(batch, [map_arrays(part, function) for part in batch])
    return batch


def sequence_like(pattern: tuple[Any, ...] | list[Any], parts: list[Any]) -> Any:
    """The parts as a list, a tuple, or the named tuple that `pattern` is."""
    if hasattr(pattern, "_make"):
        return type(pattern)._make(parts)
    return tuple(parts) if isinstance(pattern, tuple) else parts
