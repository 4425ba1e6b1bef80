"""Elements: interning, text and back, and what makes no quantization."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from dtrain.base.dtype import ALL, FLOATS, QUANTIZED, bool_, int8, int64, promote, qint8, uint8
from dtrain.base.element import element, parse_element, quantized
from dtrain.base.errors import DtypeError

QUANTIZED_ELEMENTS = [
    quantized("s8", 0.05, 3),
    quantized("u8", 1 / 3, 255),
    quantized("s16", 1.5e-300),
    quantized("s32", np.float32(0.1).item(), -(2**31)),
    quantized("s8", [0.05, 0.1, 7e22], [3, 0, -128], axis=0),
    quantized("u8", [0.1], axis=2),
    quantized("u8", [], axis=1),
]


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_a_plain_element_is_its_dtype(dtype) -> None:
    made = element(dtype)
    assert (made.storage, made.dtype, made.quantization) == (dtype, dtype, None)
    assert str(made) == dtype.tag and parse_element(dtype.tag) is made
    assert dtype.storage is dtype


@pytest.mark.parametrize("made", QUANTIZED_ELEMENTS, ids=str)
def test_quantized_elements_print_and_parse(made) -> None:
    assert parse_element(str(made)) is made
    assert made.dtype.kind == "quantized" and made.dtype.storage is made.storage
    assert pickle.loads(pickle.dumps(made)) is made is copy.deepcopy(made)


def test_text_is_short_and_exact() -> None:
    assert str(quantized("s8", 0.05, 3)) == "qs8<0.05:3>"
    assert str(quantized("s8", [0.05, 0.1], [3, 0], axis=1)) == "qs8<[0.05,0.1]:[3,0]@1>"
    above = math.nextafter(0.05, 1)
    assert parse_element(str(quantized("s8", above))).quantization.scales == (above,)


def test_equal_elements_are_one_object() -> None:
    assert quantized("s8", 0.5, 3) is quantized(int8, 0.5, 3)
    assert quantized("s8", [0.5, 0.5], 3, axis=0) is quantized("s8", (0.5, 0.5), (3, 3), axis=0)
    different = [quantized("s8", 0.5), quantized("u8", 0.5), quantized("s8", 0.5, 1), quantized("s8", [0.5], axis=0)]
    assert len({id(made) for made in different}) == len(different)


@pytest.mark.parametrize("dtype", [bool_, int64, *FLOATS, qint8], ids=str)
def test_storage_is_a_short_integer(dtype) -> None:
    with pytest.raises(DtypeError, match=f"expected a storage of s8, u8, s16, s32, got {dtype.tag}"):
        quantized(dtype, 0.5)


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan, [0.5, 0]])
def test_scales_are_positive_and_finite(scale) -> None:
    with pytest.raises(DtypeError, match="scales that are positive and finite"):
        quantized("s8", scale, axis=0 if isinstance(scale, list) else None)


@pytest.mark.parametrize(
    ("storage", "scale", "zero_point", "axis"),
    [("s8", 1.0, 128, None), ("u8", 1.0, -1, None), ("s8", [1.0, 2.0], [0], 0), ("s8", [1.0], [0, 0], 0)],
)
def test_zero_points_fit_storage_and_scales(storage, scale, zero_point, axis) -> None:
    with pytest.raises(DtypeError, match=r"zero points from -?\d+ to \d+"):
        quantized(storage, scale, zero_point, axis=axis)


@pytest.mark.parametrize(
    ("zero_point", "given"), [(1.5, "1.5"), (3.0, "3.0"), ([0, 0.5], "0.5"), ("3", "'3'"), (None, "None")]
)
def test_zero_points_are_integers(zero_point, given) -> None:
    scale, axis = ([0.5, 0.25], 0) if isinstance(zero_point, list) else (0.5, None)
    with pytest.raises(DtypeError, match=f"zero points that are integers, got {given}"):
        quantized("s8", scale, zero_point, axis=axis)
    assert quantized("s8", 0.5, np.int64(3)) is quantized("s8", 0.5, 3)


@pytest.mark.parametrize(("scale", "axis"), [(1.0, 0), ([1.0], None), ([1.0], -1)])
def test_several_scales_go_with_an_axis(scale, axis) -> None:
    with pytest.raises(DtypeError, match="one scale, or several along an axis of at least 0"):
        quantized("s8", scale, axis=axis)


@pytest.mark.parametrize(
    "text",
    [
        "qs8<>",
        "qs8<0.05>",
        "s8<0.05:3>",
        "qs7<0.05:3>",
        "qs8<a:3>",
        "qs8<e:3>",
        "qs8<[0.1,]:[0]>",
        "qs8<[1e]:[0]@0>",
        "qs8<[1]:[-]@0>",
    ],
)
def test_broken_text(text) -> None:
    with pytest.raises(DtypeError, match="element: expected"):
        parse_element(text)


def test_no_dtype_is_promoted_to_a_quantized_one() -> None:
    for dtype in QUANTIZED:
        for other in (*ALL, *(each for each in QUANTIZED if each is not dtype)):
            with pytest.raises(DtypeError, match="promotion: expected dtypes of plain numbers"):
                promote(dtype, other)


def test_no_array_or_name_leads_to_a_quantized_dtype() -> None:
    from dtrain.base.dtype import as_dtype

    assert as_dtype(np.int8) is int8 and as_dtype(np.uint8) is uint8
    with pytest.raises(DtypeError):
        as_dtype("qs8")
