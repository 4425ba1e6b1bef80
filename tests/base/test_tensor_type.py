"""TensorType: facts, interning, text form and back."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from dtrain.base.device import CPU, Device, as_device
from dtrain.base.dtype import ALL, bfloat16, float32, int64
from dtrain.base.errors import DeviceError, DtypeError, GraphError
from dtrain.base.layout import Layout
from dtrain.base.tensor_type import TensorType, parse_tensor_type, tensor_type

TEXTS = [
    "f32[8,64,56,56]{NCHW}@cpu",
    "bf16[]@cpu",
    "bool[0]@cpu",
    "s64[1,0,3]@gpu1:2",
    "u8[2,4,8,8,4]{NCHW4}@cuda:63",
    "f64[7]@cpu:default",
    "f16[3]@multithread:default:2",
]


def test_facts() -> None:
    made = tensor_type((2, 3, 5), bfloat16)
    assert (made.ndim, made.size, made.nbytes) == (3, 30, 60)
    assert (made.layout, made.device) == (Layout.PLAIN, CPU)
    scalar = tensor_type((), float32)
    assert (scalar.ndim, scalar.size, scalar.nbytes) == (0, 1, 4)
    assert tensor_type((3, 0), int64).size == 0


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trip(text: str) -> None:
    parsed = parse_tensor_type(text)
    assert str(parsed) == text
    assert repr(parsed) == text
    assert parse_tensor_type(str(parsed)) is parsed


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_dtype_round_trips(dtype) -> None:
    made = tensor_type((2,), dtype)
    assert parse_tensor_type(str(made)) is made


@pytest.mark.parametrize(
    "text", ["", "f32", "f32[8", "f32[8]", "f32[-1]@cpu", "f32[8,]@cpu", "f32[,8]@cpu", "f32[8]{}@cpu", "f32[8] @cpu"]
)
def test_broken_text(text: str) -> None:
    with pytest.raises(GraphError, match=r"tensor type: expected text such as f32\[8,64\]@cpu, got"):
        parse_tensor_type(text)


def test_unknown_parts_are_named() -> None:
    with pytest.raises(GraphError, match=r"a layout among NCHW, NHWC, .*got NCHW5"):
        parse_tensor_type("f32[8]{NCHW5}@cpu")
    with pytest.raises(DtypeError, match="'f31'"):
        parse_tensor_type("f31[8]@cpu")
    with pytest.raises(DeviceError, match="'apu'"):
        parse_tensor_type("f32[8]@apu")


def test_equal_types_are_one_object() -> None:
    made = tensor_type((2, 3), float32)
    assert tensor_type((np.int64(2), np.int64(3)), float32) is made
    assert tensor_type((2, 3), float32, device=Device("cpu")) is made
    assert tensor_type((3, 2), float32) is not made
    assert tensor_type((2, 3), float32, Layout.NCHW) is not made
    assert tensor_type((2, 3), float32, device=as_device("cuda:0")) is not made


def test_numpy_sizes_are_not_kept() -> None:
    made = tensor_type((np.int64(11), np.int32(13)), bfloat16)
    assert [type(size) for size in made.shape] == [int, int]


def test_copies_stay_interned() -> None:
    made = tensor_type((2, 3), float32, Layout.NHWC, as_device("gpu1:2"))
    assert pickle.loads(pickle.dumps(made)) is made
    assert copy.deepcopy(made) is made


def test_with_changes_only_what_is_named() -> None:
    made = tensor_type((1, 16, 2, 2), float32, Layout.NCHW, as_device("cuda:1"))
    assert made.with_(dtype=bfloat16) is tensor_type((1, 16, 2, 2), bfloat16, Layout.NCHW, as_device("cuda:1"))
    assert made.with_(device=CPU) is tensor_type((1, 16, 2, 2), float32, Layout.NCHW)
    assert made.with_(shape=(2, 16, 2, 2)).layout is Layout.NCHW
    assert made.with_(shape=(64,)).layout is Layout.PLAIN, "a layout says nothing of another number of axes"
    assert made.with_(shape=()).shape == ()
    assert isinstance(made.with_(layout=Layout.NHWC), TensorType)
