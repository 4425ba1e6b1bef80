"""Attributes as text and back, exactly: value, type, sign and bits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dtrain.base.device import as_device
from dtrain.base.dtype import ALL, DType, bfloat16, float32
from dtrain.base.errors import GraphError
from dtrain.graph.attrs import parse_attr, parse_attrs, print_attr, print_attrs, split_top_level

LITERALS = [
    None, True, False, 0, 1, -7, 2**70, 0.0, -0.0, 1.5, 1e-320, 1e300, 0.1, math.inf, -math.inf, (), (1,), (1, 2.0),
    ((1, (2, (3,))), ()), (True, 1, 1.0), (None, (math.inf, -0.0)), "", "plain", "it's", 'say "x"', "both ' and \"",
    "a, b", "(])}{[", "x=1", "back\\slash", "ends\\", "ends\\\\", "\\'", "new\nline\ttab", "β", "array(f32[1] 00)",
    "dtype(f32)", "'inf'::float", "}  # not a source", "%0: f32[1]@cpu = add(%1)", " padded ", ("a,b", "c)", "'"),
]  # fmt: skip


def same(first: object, second: object) -> bool:
    """Equal in value, type and sign of zero, also inside tuples."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return first.hex() == second.hex()
    return type(first) is type(second) and first == second


@pytest.mark.parametrize("value", LITERALS, ids=repr)
def test_literals(value: object) -> None:
    assert same(parse_attr(print_attr(value)), value)


def test_nan() -> None:
    assert math.isnan(parse_attr(print_attr(math.nan)))


def test_a_numpy_float_prints_as_a_number() -> None:
    assert print_attr(np.float64(0.1)) == "0.1"
    assert print_attr(np.float64("inf")) == print_attr(math.inf)


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_arrays_keep_every_bit(dtype: DType, shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(0).integers(0, 2 if dtype.tag == "bool" else 256, (*shape, dtype.itemsize), np.uint8)
    array = raw.view(dtype.numpy).reshape(shape)
    back = parse_attr(print_attr(array))
    assert back.shape == shape
    assert back.dtype == dtype.numpy
    assert back.tobytes() == array.tobytes()


def test_arrays_with_gaps() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    assert (parse_attr(print_attr(array)) == array).all()


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_dtypes(dtype: DType) -> None:
    assert parse_attr(print_attr(dtype)) is dtype


@pytest.mark.parametrize("text", ["cpu", "cuda:1", "gpu0:2", "cpu:default", "multithread:default:2", "xpux"])
def test_devices(text: str) -> None:
    assert parse_attr(print_attr(as_device(text))) is as_device(text)


def test_nested_special_values() -> None:
    value = (float32, (as_device("cuda:1"), bfloat16), "x")
    assert parse_attr(print_attr(value)) == value


def test_all_at_once() -> None:
    attrs = {"name": "a, b=(c)", "axes": (0, -1), "scale": -0.0, "dtype": float32, "low": None, "top": math.inf}
    text = print_attrs(attrs)
    back = parse_attrs(text[1:-1])
    assert list(back) == list(attrs)
    assert all(same(back[key], attrs[key]) or back[key] is attrs[key] for key in attrs)
    assert print_attrs({}) == ""
    assert parse_attrs("") == {}


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, 1j, b"x", np.int64(3)], ids=lambda v: type(v).__name__)
def test_what_cannot_be_read_back_is_refused(value: object) -> None:
    with pytest.raises(GraphError, match="an attribute of literals, dtypes, devices, layouts, types or arrays"):
        print_attr(value)


@pytest.mark.parametrize("text", ["", "one two", "__import__('os')", "f(x)", "1 +"])
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(GraphError, match="a literal attribute"):
        parse_attr(text)


@pytest.mark.parametrize("text", ["array(f32[2] 00)", "array(f32[1] 000000)", "array(f32[1] 0)"])
def test_too_few_bytes_are_refused(text: str) -> None:
    with pytest.raises(GraphError, match=r"the bytes of f32\[.\] in hex"):
        parse_attr(text)


def test_an_attribute_without_a_value_is_refused() -> None:
    with pytest.raises(GraphError, match="attributes such as axis=1, got axis"):
        parse_attrs("axis")


def test_split_top_level() -> None:
    assert split_top_level("a, (b, c), 'd, e', \"f', g\", [h, {i, j}]") == [
        "a", "(b, c)", "'d, e'", "\"f', g\"", "[h, {i, j}]",
    ]  # fmt: skip
    assert split_top_level("") == []
    assert split_top_level(r"'a\\', b") == [r"'a\\'", "b"]
