"""The common dtype of inputs: PyTorch's rule, its table written out, and the same table in the documentation."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dtrain.base.dtype import ALL, DType, as_dtype, promote, promote_scalar
from dtrain.base.promotion import common_dtype
from dtrain.base.tensor_type import tensor_type

TABLE = """
bool  bool u8   s8   s16  s32  s64  f16  bf16 f32  f64
u8    u8   u8   s16  s16  s32  s64  f16  bf16 f32  f64
s8    s8   s16  s8   s16  s32  s64  f16  bf16 f32  f64
s16   s16  s16  s16  s16  s32  s64  f16  bf16 f32  f64
s32   s32  s32  s32  s32  s32  s64  f16  bf16 f32  f64
s64   s64  s64  s64  s64  s64  s64  f16  bf16 f32  f64
f16   f16  f16  f16  f16  f16  f16  f16  f32  f32  f64
bf16  bf16 bf16 bf16 bf16 bf16 bf16 f32  bf16 f32  f64
f32   f32  f32  f32  f32  f32  f32  f32  f32  f32  f64
f64   f64  f64  f64  f64  f64  f64  f64  f64  f64  f64
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
WANTED = {(row[0], column[0]): row[1 + place] for row in ROWS for place, column in enumerate(ROWS)}
PAIRS = list(itertools.product(ALL, repeat=2))
KIND = {"bool": 0, "unsigned": 1, "signed": 1, "float": 2}


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=str)
def test_pairs(first: DType, second: DType) -> None:
    assert promote(first, second) is as_dtype(WANTED[first.tag, second.tag])


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=str)
def test_tensors_with_axes_decide_over_0_d_ones(first: DType, second: DType) -> None:
    both, alone = WANTED[first.tag, second.tag], first.tag
    for shapes, wanted in (
        (((2,), (2, 1)), both),
        (((), ()), both),
        (((2,), ()), both if KIND[second.kind] > KIND[first.kind] else alone),
    ):
        types = [tensor_type(shape, dtype) for shape, dtype in zip(shapes, (first, second))]
        assert common_dtype(types).tag == common_dtype(types[::-1]).tag == wanted


def test_many() -> None:
    types = [tensor_type(shape, as_dtype(tag)) for shape, tag in (((2,), "u8"), ((), "f16"), ((3, 1), "s8"))]
    assert common_dtype(types).tag == "f16"
    assert common_dtype([*types, tensor_type((1,), as_dtype("f32"))]).tag == "f32"


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_numbers_change_the_kind_only(dtype: DType) -> None:
    assert promote_scalar(dtype, True) is dtype
    assert promote_scalar(dtype, 1).tag == ("s64" if dtype.tag == "bool" else dtype.tag)
    assert promote_scalar(dtype, 0.5).tag == (dtype.tag if dtype.is_floating else "f32")


def test_the_documentation_has_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs/design/0012-dtypes.md").read_text()
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    table = [row for row in rows if row[0] in {dtype.tag for dtype in ALL} and len(row) == len(ALL) + 1]
    assert table == ROWS
