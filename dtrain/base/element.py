"""What one element of a tensor is: the dtype it is stored in and, of a quantized one, the number that it stands for.

A quantized element stored as the integer q stands for scale · (q − zero_point), with one scale and zero point for the
whole tensor or one for each index along an axis. It prints as

    qs8<0.05:3>               stored as s8, scale 0.05, zero point 3
    qs8<[0.05,0.1]:[3,0]@1>   two of each, along axis 1

with every scale exact. Elements are interned: compare with `is`. Those without a quantization print as their dtype.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.base.dtype import QUANTIZED, DType, as_dtype
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.interned import Interned

_QUANTIZED_OF = {dtype.storage: dtype for dtype in QUANTIZED}
_BY_TAG = {dtype.tag: dtype for dtype in QUANTIZED}


@dataclass(frozen=True, slots=True)
class Quantization:
    """Scales and zero points, as many of each: one for the whole tensor (`axis` None), or one an index along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    def __str__(self) -> str:
        scales, zero_points = ",".join(map(repr, self.scales)), ",".join(map(str, self.zero_points))
        return f"{scales}:{zero_points}" if self.axis is None else f"[{scales}]:[{zero_points}]@{self.axis}"


class Element:
    """`storage`, a dtype of arrays, and a `quantization` or None. `dtype` is what users see. Made by `element()`."""

    __slots__ = ("dtype", "quantization", "storage")

    def __init__(self, storage: DType, quantization: Quantization | None) -> None:
        self.storage = storage
        self.quantization = quantization
        self.dtype = storage if quantization is None else _QUANTIZED_OF[storage]

    def expect_fits(self, shape: tuple[int, ...]) -> None:
        """Raise ShapeError unless a tensor of this shape has one scale for each index along the axis."""
        given = self.quantization
        if given is None or given.axis is None:
            return
        if given.axis >= len(shape) or len(given.scales) != shape[given.axis]:
            wanted = f"a shape of {len(given.scales)} along axis {given.axis}"
            raise ShapeError(expected(f"element {self}", wanted, str(shape)))

    def __str__(self) -> str:
        return self.storage.tag if self.quantization is None else f"{self.dtype.tag}<{self.quantization}>"

    def __repr__(self) -> str:
        return f"<element {self}>"

    def __reduce__(self) -> tuple[object, tuple[DType, Quantization | None]]:
        return element, (self.storage, self.quantization)


_ELEMENTS: Interned[Element] = Interned(256)


def element(storage: DType, quantization: Quantization | None = None) -> Element:
    """The one `Element` of these facts."""
    key = storage, quantization
    found = _ELEMENTS.found.get(key)
    if found is None:
        if storage.kind == "quantized":
            advice = "give scale and zero point: quantized('s8', scale, zero_point)"
            raise DtypeError(expected("element", "a dtype that arrays have", storage.tag, advice))
        found = _ELEMENTS.make(lambda: Element(storage, quantization), key)
    return found


def quantized(
    storage: DType | str,
    scale: float | Sequence[float],
    zero_point: int | Sequence[int] = 0,
    *,
    axis: int | None = None,
) -> Element:
    """An integer q of dtype `storage` that stands for scale · (q − zero_point).

    Args:
        scale: positive; one for each index along `axis`, if one is given.
        zero_point: within the range of `storage`; one for all, or as many as there are scales.

    Raises:
        DtypeError: a storage that is not s8, u8, s16 or s32; numbers out of range, or not as many of each.
    """
    dtype = as_dtype(storage)
    if dtype not in _QUANTIZED_OF:
        raise DtypeError(expected("quantized", "a storage of " + ", ".join(d.tag for d in _QUANTIZED_OF), dtype.tag))
    if (axis is None) is isinstance(scale, Sequence) or (axis is not None and axis < 0):
        given = f"{scale!r} with axis {axis}"
        raise DtypeError(expected("quantized", "one scale, or several along an axis of at least 0", given))
    scales = tuple(map(float, scale if isinstance(scale, Sequence) else (scale,)))
    given_points = zero_point if isinstance(zero_point, Sequence) else [zero_point] * len(scales)
    zero_points = tuple(map(_whole, given_points))
    if not all(0 < each < math.inf for each in scales):
        raise DtypeError(expected("quantized", "scales that are positive and finite", str(scales)))
    limits = np.iinfo(dtype.numpy)
    if len(zero_points) != len(scales) or not all(limits.min <= zero <= limits.max for zero in zero_points):
        wanted = f"{len(scales)} zero points from {limits.min} to {limits.max}"
        raise DtypeError(expected("quantized", wanted, str(zero_points)))
    return element(dtype, Quantization(scales, zero_points, axis))


def _whole(zero_point: Any) -> int:
    try:
        return operator.index(zero_point)
    except TypeError:
        raise DtypeError(expected("quantized", "zero points that are integers", repr(zero_point))) from None


_NUMBER = r"[0-9.e+-]+"
_TEXT = re.compile(rf"(q\w+)<(?:({_NUMBER}):(-?[0-9]+)|\[([0-9.e+,-]*)\]:\[([0-9,-]*)\]@([0-9]+))>")


def parse_element(text: str) -> Element:
    """Read back what `str()` of an element prints."""
    if "<" not in text:
        return element(_BY_TAG.get(text) or as_dtype(text))
    match = _TEXT.fullmatch(text)
    if match is None or match[1] not in _BY_TAG:
        wanted = "text such as f32, qs8<0.05:3> or qs8<[0.05,0.1]:[3,0]@1>"
        raise DtypeError(expected("element", wanted, repr(text)))
    storage = _BY_TAG[match[1]].storage
    try:
        if match[2] is not None:
            return quantized(storage, float(match[2]), int(match[3]))
        scales, zero_points = ([part for part in match[i].split(",") if part] for i in (4, 5))
        return quantized(storage, [*map(float, scales)], [*map(int, zero_points)], axis=int(match[6]))
    except ValueError as error:
        raise DtypeError(expected("element", "numbers as scales", repr(text))) from error
