"""TensorType: facts, interning, text form and back."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from dtrain.base.device import CPU, Device, as_device
from dtrain.base.dtype import ALL, QUANTIZED, bfloat16, float32, int8, int64, qint8
from dtrain.base.element import element, quantized
from dtrain.base.errors import DeviceError, DtypeError, GraphError, LayoutError, ShapeError
from dtrain.base.layout import ALL as LAYOUTS
from dtrain.base.layout import NCHW16C, NHWC, PLAIN
from dtrain.base.tensor_type import TensorType, parse_tensor_type, tensor_type

TEXTS = [
    "f32[8,64,56,56]{NHWC}@cpu",
    "f32[8,13,56,56]{NCHW16c}@cpu",
    "qs8<0.05:3>[8,64]@cpu",
    "qu8<[0.1,0.2]:[0,255]@1>[5,2,1,1]{NCHW4c}@cuda:1",
    "qs32<1e-30:0>[]@cpu",
    "bf16[]@cpu",
    "bool[0]@cpu",
    "s64[1,0,3]@gpu1:2",
    "u8[2,4,8,8]{NCHW4c}@cuda:63",
    "f64[7]@cpu:default",
    "f16[3]@multithread:default:2",
]


def test_facts() -> None:
    made = tensor_type((2, 3, 5), bfloat16)
    assert (made.ndim, made.size, made.nbytes) == (3, 30, 60)
    assert (made.layout, made.device) == (PLAIN, CPU)
    assert (made.array_shape, made.array_dtype, made.is_plain) == ((2, 3, 5), bfloat16.numpy, True)
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
    "text",
    [
        "",
        "f32",
        "f32[8",
        "f32[8]",
        "f32[-1]@cpu",
        "f32[8,]@cpu",
        "f32[,8]@cpu",
        "f32[8]{}@cpu",
        "f32[8] @cpu",
        "qs8<0.05:3[8]@cpu",
        "qs8<<0.05:3>>[8]@cpu",
    ],
)
def test_broken_text(text: str) -> None:
    with pytest.raises(GraphError, match=r"tensor type: expected text such as f32\[8,64\]@cpu, got"):
        parse_tensor_type(text)


def test_unknown_parts_are_named() -> None:
    with pytest.raises(GraphError, match=r"a layout among NCHW, NHWC, .*got NCHW5c"):
        parse_tensor_type("f32[8]{NCHW5c}@cpu")
    with pytest.raises(DtypeError, match="'f31'"):
        parse_tensor_type("f31[8]@cpu")
    with pytest.raises(DeviceError, match="'apu'"):
        parse_tensor_type("f32[8]@apu")


def test_equal_types_are_one_object() -> None:
    made = tensor_type((2, 3), float32)
    assert tensor_type((np.int64(2), np.int64(3)), float32) is made
    assert tensor_type((2, 3), float32, device=Device("cpu")) is made
    assert tensor_type((3, 2), float32) is not made
    assert tensor_type((2, 3), element(float32)) is made
    assert tensor_type((2, 3), quantized("s8", 0.5)) is not tensor_type((2, 3), int8)
    assert tensor_type((2, 3, 1, 1), float32, NHWC) is not tensor_type((2, 3, 1, 1), float32)
    assert tensor_type((2, 3), float32, device=as_device("cuda:0")) is not made


def test_numpy_sizes_are_not_kept() -> None:
    made = tensor_type((np.int64(11), np.int32(13)), bfloat16)
    assert [type(size) for size in made.shape] == [int, int]


def test_copies_stay_interned() -> None:
    for made in (
        tensor_type((2, 3, 4, 5), float32, NHWC, as_device("gpu1:2")),
        tensor_type((2, 3, 4, 5), quantized("u8", [0.1, 0.2], [3, 4], axis=0), NCHW16C),
    ):
        assert pickle.loads(pickle.dumps(made)) is made
        assert copy.deepcopy(made) is made


def test_with_changes_only_what_is_named() -> None:
    made = tensor_type((1, 16, 2, 2), float32, NHWC, as_device("cuda:1"))
    assert made.with_(dtype=bfloat16) is tensor_type((1, 16, 2, 2), bfloat16, NHWC, as_device("cuda:1"))
    assert made.with_(device=CPU) is tensor_type((1, 16, 2, 2), float32, NHWC)
    assert made.with_(shape=()).shape == ()
    assert isinstance(made.with_(layout=NCHW16C), TensorType)


def test_a_new_shape_drops_the_layout_unless_one_is_given() -> None:
    made = tensor_type((1, 16, 2, 2), float32, NHWC)
    assert made.with_(shape=(2, 16, 2, 2)).layout is PLAIN
    assert made.with_(shape=(2, 16, 2, 2), layout=NHWC).layout is NHWC
    assert made.with_(shape=(64,)).layout is PLAIN
    with pytest.raises(LayoutError, match=r"layout NHWC: expected a tensor \[N, C, H, W\], got one of shape \(64,\)"):
        made.with_(shape=(64,), layout=NHWC)


def test_a_plain_dtype_drops_the_quantization() -> None:
    made = tensor_type((2, 3), quantized("s8", 0.05, 3))
    assert (made.dtype, made.array_dtype, made.nbytes, made.is_plain) == (qint8, int8.numpy, 6, False)
    assert made.with_(dtype=int8) is tensor_type((2, 3), int8)
    assert made.with_(shape=(6,)).element is made.element


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_bytes_are_those_of_the_array(layout) -> None:
    made = tensor_type((2, 13, 3, 5), float32, layout)
    array = np.empty(made.array_shape, made.array_dtype)
    assert made.nbytes == array.nbytes >= made.size * 4
    assert (made.nbytes > made.size * 4) is (13 % layout.block != 0)


@pytest.mark.parametrize("dtype", QUANTIZED, ids=str)
def test_a_quantized_dtype_alone_is_no_element(dtype) -> None:
    with pytest.raises(DtypeError, match=rf"got {dtype.tag}; give scale and zero point"):
        tensor_type((2,), dtype)


def test_scales_along_an_axis_are_as_many_as_the_axis_is_long() -> None:
    per_axis = quantized("s8", [0.1, 0.2], axis=1)
    assert tensor_type((5, 2), per_axis).element is per_axis
    for shape in ((2, 5), (2,)):
        with pytest.raises(ShapeError, match=r"expected a shape of 2 along axis 1"):
            tensor_type(shape, per_axis)
