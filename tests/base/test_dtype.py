"""DType: one row each, names, promotion against NumPy, errors."""

from __future__ import annotations

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

from dtrain.base import dtype as dtypes
from dtrain.base.dtype import ALL, DType, as_dtype, from_numpy, promote, promote_scalar
from dtrain.base.errors import DtypeError

NUMPY_KNOWN = [dtype for dtype in ALL if dtype is not dtypes.bfloat16]

# name, tag, bytes, kind: written out, so that a wrong row of the table shows.
ROWS = [
    ("bool_", "bool", 1, "bool"),
    ("uint8", "u8", 1, "unsigned"),
    ("int8", "s8", 1, "signed"),
    ("int16", "s16", 2, "signed"),
    ("int32", "s32", 4, "signed"),
    ("int64", "s64", 8, "signed"),
    ("float16", "f16", 2, "float"),
    ("bfloat16", "bf16", 2, "float"),
    ("float32", "f32", 4, "float"),
    ("float64", "f64", 8, "float"),
]


@pytest.mark.parametrize(("name", "tag", "itemsize", "kind"), ROWS)
def test_every_row(name: str, tag: str, itemsize: int, kind: str) -> None:
    dtype = getattr(dtypes, name)
    assert (dtype.name, dtype.tag, dtype.itemsize, dtype.kind) == (name, tag, itemsize, kind)
    assert dtype.is_floating == (kind == "float")
    assert dtype.is_integer == (kind in ("signed", "unsigned"))
    assert repr(dtype) == f"dtrain.{name}"
    numpy_name = {"bool_": "bool"}.get(name, name)
    assert dtype.numpy.name == numpy_name


def test_the_table_is_complete() -> None:
    assert [dtype.tag for dtype in ALL] == [row[1] for row in ROWS]


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_spelling_is_the_same_object(dtype: DType) -> None:
    spellings = [dtype, dtype.name, dtype.tag, dtype.numpy, dtype.numpy.type]
    assert all(as_dtype(spelling) is dtype for spelling in spellings)
    assert from_numpy(np.zeros(1, dtype.numpy).dtype) is dtype


def test_python_types_and_usual_names() -> None:
    assert as_dtype(float) is dtypes.float32
    assert as_dtype(int) is dtypes.int64
    assert as_dtype(bool) is dtypes.bool_
    assert as_dtype("bool") is dtypes.bool_
    assert [as_dtype(name).tag for name in ("half", "float", "double")] == ["f16", "f32", "f64"]
    assert as_dtype(ml_dtypes.bfloat16) is dtypes.bfloat16


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_copies_stay_interned(dtype: DType) -> None:
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert copy.deepcopy(dtype) is dtype


@pytest.mark.parametrize(
    "value",
    ["float31", "", None, 3, object(), np.complex64, "U4", np.dtype(">f4"), np.uint16, [], {}, np.dtype("M8[s]")],
)
def test_unknown_dtypes_name_the_known_ones(value: object) -> None:
    with pytest.raises(DtypeError, match=r"dtype: expected one of bool, u8, s8, .*f64, got .+; cast the array first"):
        as_dtype(value)


def test_promotion_of_many_and_of_one() -> None:
    assert promote(dtypes.int8) is dtypes.int8
    assert promote(dtypes.bool_, dtypes.uint8, dtypes.int8) is dtypes.int16
    assert promote(dtypes.float16, dtypes.bfloat16, dtypes.float64) is dtypes.float64


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_python_numbers_are_weak(dtype: DType) -> None:
    """They change the kind, never the width of a float."""
    assert promote_scalar(dtype, True) is dtype
    assert promote_scalar(dtype, 3) is (dtypes.int64 if dtype is dtypes.bool_ else dtype)
    if dtype.is_floating:
        assert promote_scalar(dtype, 1e300) is dtype
    else:
        assert promote_scalar(dtype, 0.5) is dtypes.float32
