"""`dt.testing.assert_close`: tensors compared within what their dtypes promise, with a report of what differs.

The tolerances are those of `torch.testing.assert_close`, so that tests that come from PyTorch keep their strictness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dtrain.base import errors
from dtrain.core.tensor import Tensor

_TOLERANCES = {"float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_dtype: bool = True,
    check_device: bool = True,
    msg: str | None = None,
) -> None:
    """Raise AssertionError unless |actual − expected| ≤ atol + rtol · |expected| in every element.

    Args:
        actual: a tensor, an array, a number, or lists, tuples and dicts of these; `expected` has the same shape.
        rtol, atol: given together. By default those of the less precise of the two dtypes: f16 1e-3 and 1e-5,
            bf16 1.6e-2 and 1e-5, f32 1.3e-6 and 1e-5, f64 1e-7 and 1e-7, others 0.
        equal_nan: whether NaN is close to NaN.
        check_dtype, check_device: whether dtypes and devices have to be the same.
        msg: said instead of the report.

    >>> assert_close(tensor([1.0, 2.0]), tensor([1.0, 2.0]) + 1e-7)
    """
    if (rtol is None) != (atol is None):
        raise ValueError(_wanted("rtol and atol together, or neither", f"rtol {rtol} and atol {atol}"))
    if rtol is not None and atol is not None and not (rtol >= 0 and atol >= 0):
        raise ValueError(_wanted("tolerances of at least 0", f"rtol {rtol} and atol {atol}"))
    given = None if rtol is None or atol is None else (rtol, atol)
    for place, mine, theirs in _pairs(actual, expected, ""):
        report = _report(mine, theirs, given, equal_nan, check_dtype, check_device)
        if report is not None:
            raise AssertionError(msg if msg is not None else (f"at {place}: {report}" if place else report))


def _wanted(what: str, given: str) -> str:
    return errors.expected("assert_close", what, given)


def _pairs(actual: Any, wanted: Any, place: str) -> list[tuple[str, Any, Any]]:
    """(where, one, the other) of every tensor, array and number. Raises AssertionError where structures differ."""
    if isinstance(wanted, Mapping) or isinstance(actual, Mapping):
        both = isinstance(wanted, Mapping) and isinstance(actual, Mapping)
        if not both or actual.keys() != wanted.keys():
            raise AssertionError(f"{place or 'values'}: other keys, {_keys(actual)} and {_keys(wanted)}")
        return [pair for key in wanted for pair in _pairs(actual[key], wanted[key], f"{place}[{key!r}]")]
    kinds = [isinstance(value, Sequence) and not isinstance(value, str | bytes) for value in (actual, wanted)]
    if any(kinds):
        if not all(kinds) or len(actual) != len(wanted):
            raise AssertionError(f"{place or 'values'}: other lengths, {_length(actual)} and {_length(wanted)}")
        return [pair for i, both in enumerate(zip(actual, wanted)) for pair in _pairs(*both, f"{place}[{i}]")]
    return [(place, actual, wanted)]


def _keys(value: Any) -> str:
    return str(list(value)) if isinstance(value, Mapping) else type(value).__name__


def _length(value: Any) -> str:
    return str(len(value)) if isinstance(value, Sequence) else type(value).__name__


def _report(
    actual: Any, wanted: Any, given: tuple[float, float] | None, equal_nan: bool, check_dtype: bool, check_device: bool
) -> str | None:
    """What differs in words; None where nothing does."""
    tensors = [value for value in (actual, wanted) if isinstance(value, Tensor)]
    if len(tensors) == 2 and check_device and actual.device != wanted.device:
        return f"devices differ: {actual.device} and {wanted.device}"
    if len(tensors) == 2 and check_dtype and actual.dtype != wanted.dtype:
        return f"dtypes differ: {actual.dtype} and {wanted.dtype}"
    rtol, atol = given if given is not None else _tolerance(actual, wanted)
    one, other = _numbers(actual), _numbers(wanted)
    if one.shape != other.shape:
        return f"shapes differ: {list(one.shape)} and {list(other.shape)}"
    with np.errstate(all="ignore"):
        difference = np.abs(one - other)
        is_close = (one == other) | ((difference <= atol + rtol * np.abs(other)) & np.isfinite(difference))
        if equal_nan:
            is_close |= np.isnan(one) & np.isnan(other)
        if is_close.all():
            return None
        relative = difference / np.abs(other)
    bad = int((~is_close).sum())
    lines = [f"{bad} of {one.size} elements differ by more than {atol:g} + {rtol:g} · |expected|"]
    for name, values in (("absolute", difference), ("relative", relative)):
        worst = np.where(is_close, -1.0, np.where(np.isnan(values), np.inf, values))
        place = tuple(int(i) for i in np.unravel_index(int(worst.argmax()), worst.shape))
        lines.append(
            f"greatest {name} difference: {float(values[place]):.6g} at {place}: {one[place]} and {other[place]}"
        )
    return "\n".join(lines)


def _numbers(value: Any) -> np.ndarray[Any, Any]:
    """As f64, or as a long double where f64 would round integers of 64 bits."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        return array.astype(np.longdouble)
    return array.astype(np.float64)


def _tolerance(*values: Any) -> tuple[float, float]:
    names = [value.dtype.name if isinstance(value, Tensor) else np.asarray(value).dtype.name for value in values]
    known = [_TOLERANCES.get(name, (0.0, 0.0)) for name in names]
    return max(rtol for rtol, _ in known), max(atol for _, atol in known)
