"""Element types, their short names (`f32`), and the smallest dtype that holds two.

A `DType` is interned: compare with `is`. bfloat16 comes from ml_dtypes; every dtype maps to one NumPy dtype, which is
also what CuPy arrays use. The quantized ones are what users see as the dtype of such a tensor; scale and zero point
stand in its `Element` (`base/element.py`), and no name or array leads to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np

from dtrain.base.errors import DtypeError, expected

Kind = Literal["bool", "unsigned", "signed", "float", "quantized"]


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """One element type: `name` as users write it, `tag` as kernels and graphs print it."""

    name: str
    tag: str
    numpy: np.dtype
    kind: Kind

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_floating_point(self) -> bool:
        """`is_floating`, as PyTorch calls it."""
        return self.is_floating

    @property
    def is_floating(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("signed", "unsigned")

    @property
    def storage(self) -> DType:
        """The dtype of the array: of a quantized one the integers it is stored as, else itself."""
        return _BY_NUMPY[self.numpy] if self.kind == "quantized" else self

    def __repr__(self) -> str:
        return f"dtrain.{self.name}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _by_tag, (self.tag,)


bool_ = DType("bool_", "bool", np.dtype(np.bool_), "bool")
uint8 = DType("uint8", "u8", np.dtype(np.uint8), "unsigned")
int8 = DType("int8", "s8", np.dtype(np.int8), "signed")
int16 = DType("int16", "s16", np.dtype(np.int16), "signed")
int32 = DType("int32", "s32", np.dtype(np.int32), "signed")
int64 = DType("int64", "s64", np.dtype(np.int64), "signed")
float16 = DType("float16", "f16", np.dtype(np.float16), "float")
bfloat16 = DType("bfloat16", "bf16", np.dtype(ml_dtypes.bfloat16), "float")
float32 = DType("float32", "f32", np.dtype(np.float32), "float")
float64 = DType("float64", "f64", np.dtype(np.float64), "float")

qint8 = DType("qint8", "qs8", np.dtype(np.int8), "quantized")
quint8 = DType("quint8", "qu8", np.dtype(np.uint8), "quantized")
qint16 = DType("qint16", "qs16", np.dtype(np.int16), "quantized")
qint32 = DType("qint32", "qs32", np.dtype(np.int32), "quantized")

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
FLOATS = (float16, bfloat16, float32, float64)
INTEGERS = (uint8, int8, int16, int32, int64)
NUMBERS = (*INTEGERS, *FLOATS)
QUANTIZED = (qint8, quint8, qint16, qint32)  # in none of the others: an op takes them only by a rule of its own

_BY_NUMPY: dict[np.dtype, DType] = {d.numpy: d for d in ALL}
_BY_NAME: dict[str, DType] = {
    **{d.name: d for d in ALL},
    **{d.tag: d for d in ALL},
    "bool": bool_,
    "half": float16,
    "float": float32,
    "double": float64,
}

_BY_TAG: dict[str, DType] = {dtype.tag: dtype for dtype in (*ALL, *QUANTIZED)}

DTypeLike = DType | np.dtype | type | str


def _by_tag(tag: str) -> DType:
    return _BY_TAG[tag]


def from_numpy(numpy_dtype: np.dtype) -> DType:
    """The `DType` of an array's dtype, which is looked up on every tensor creation and so takes the short way."""
    try:
        return _BY_NUMPY[numpy_dtype]
    except KeyError:
        raise DtypeError(_unknown(str(numpy_dtype))) from None


def as_dtype(value: DTypeLike) -> DType:
    """Accept a DType, a NumPy dtype or scalar type, a Python type, or a name such as `float32` or `f32`."""
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if value is float:
        return float32
    if value is None:  # NumPy reads None as f64
        raise DtypeError(_unknown("None"))
    try:
        return _BY_NUMPY[np.dtype(value)]
    except (TypeError, ValueError, KeyError):
        raise DtypeError(_unknown(repr(value))) from None


def _unknown(given: str) -> str:
    return expected("dtype", "one of " + ", ".join(d.tag for d in ALL), given, "cast the array first")


def expect_held(where: str, dtype: DType, *numbers: float) -> None:
    """Raise OverflowError unless an integer dtype holds these numbers, fractions cut off. Floats hold any, as ∞."""
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        for number in numbers:
            if not limits.min - 1 < number < limits.max + 1:  # NaN is in no range
                wanted = f"numbers from {limits.min} to {limits.max} for dtype {dtype.tag}"
                raise OverflowError(expected(where, wanted, str(number), "choose a wider dtype"))


def _promote_pair(first: DType, second: DType) -> DType:
    if first is second:
        return first
    if first.is_floating is not second.is_floating:
        return first if first.is_floating else second
    # NumPy has no common type of these two short floats; f32 is the smallest that holds both.
    if {first, second} == {float16, bfloat16}:
        return float32
    if bfloat16 in (first, second):
        return second if first is bfloat16 else first
    return _BY_NUMPY[np.promote_types(first.numpy, second.numpy)]


_PROMOTED: dict[tuple[DType, DType], DType] = {(a, b): _promote_pair(a, b) for a in ALL for b in ALL}


def promote(*dtypes: DType) -> DType:
    """The smallest dtype that holds all of them: u8 with s8 is s16, bf16 with f16 is f32, bool with x is x.

    Integers never widen a float: s64 with f16 is f16.
    """
    result = dtypes[0]
    for dtype in dtypes[1:]:
        common = _PROMOTED.get((result, dtype), result if result is dtype else None)
        if common is None:
            raise DtypeError(expected("promotion", "dtypes of plain numbers", f"{result.tag} and {dtype.tag}"))
        result = common
    return result


def promote_scalar(dtype: DType, scalar: bool | int | float) -> DType:
    """Promotion with a Python number, which is weak: it changes the kind, never the width. Floats come in as f32."""
    if isinstance(scalar, float) and not dtype.is_floating:
        return float32
    if isinstance(scalar, int) and not isinstance(scalar, bool) and dtype.kind in ("bool", "quantized"):
        return int64
    return dtype
