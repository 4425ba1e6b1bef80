"""What a compiled kernel says to arguments that would make a raw pointer go astray."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain.kernels import kernels_of

OPS = (
    "relu_backward",
    "sgd_update",
    "max_pool2d",
    "max_pool2d_backward",
    "rank_order_reduce",
    "softmax_cross_entropy",
    "im2col",
)
COMPILED = {candidate.name: candidate.function for op in OPS for candidate in kernels_of(op)}

pytestmark = pytest.mark.skipif("relu_backward_f32_scalar" not in COMPILED, reason="the compiled module is not built")


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def read_only() -> np.ndarray:
    array = f32(4)
    array.flags.writeable = False
    return array


RELU = [
    ((f32(4), f32(4)), {}, TypeError, "the keyword out, which is missing"),
    ((f32(4),), {"out": f32(4)}, TypeError, "at least 2 inputs, got 1"),
    ((f32(4), [1.0] * 4), {"out": f32(4)}, TypeError, "NumPy arrays, got list"),
    ((f32(4), np.ones(4)), {"out": f32(4)}, TypeError, "input 1 of dtype f32, got another; cast it first"),
    ((f32(4), f32(4)), {"out": np.ones(4)}, TypeError, "output 0 of dtype f32"),
    ((f32(4), f32(8)[::2]), {"out": f32(4)}, ValueError, "C-contiguous"),
    ((f32(4), f32(4)), {"out": read_only()}, ValueError, "writable outputs"),
    ((f32(4), f32(5)), {"out": f32(4)}, ValueError, "inputs and out of one size"),
]


@pytest.mark.parametrize("inputs, keywords, error, text", RELU, ids=[case[3] for case in RELU])
def test_elementwise(inputs, keywords, error, text) -> None:
    with pytest.raises(error, match=f"relu_backward_f32_scalar: expected .*{text}"):
        COMPILED["relu_backward_f32_scalar"](*inputs, **keywords)


def test_optimizer_counts_its_tensors() -> None:
    attrs = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
    with pytest.raises(ValueError, match="num_tensors inputs in each group"):
        COMPILED["sgd_update_f32_scalar"](np.array(0.1), f32(2), f32(2), out=f32(2), num_tensors=2, **attrs)
    with pytest.raises(ValueError, match="a gradient and state of each parameter's size"):
        COMPILED["sgd_update_f32_scalar"](np.array(0.1), f32(2), f32(3), out=f32(2), num_tensors=1, **attrs)
    with pytest.raises(TypeError, match="input 0 of dtype f32 or f64"):
        COMPILED["sgd_update_f32_scalar"](np.array(1), f32(2), f32(2), out=f32(2), num_tensors=1, **attrs)


@pytest.mark.parametrize("index", [-1, 4])
def test_pooling_indices_stay_inside(index) -> None:
    indices = np.full((1, 1, 1, 1), index, np.int32)
    with pytest.raises(ValueError, match="indices inside the input plane"):
        COMPILED["max_pool2d_backward_f32_scalar"](
            f32(1, 1, 1, 1), indices, out=f32(1, 1, 2, 2), input_shape=(1, 1, 2, 2)
        )


def test_pooling_windows_stay_inside() -> None:
    out = (f32(1, 1, 3, 3), np.empty((1, 1, 3, 3), np.int32))
    window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    with pytest.raises(ValueError, match="windows lie in the padded input"):
        COMPILED["max_pool2d_f32_scalar"](f32(1, 1, 4, 4), out=out, **window)


@pytest.mark.parametrize("target", [-1, 3])
def test_cross_entropy_targets(target) -> None:
    out = (f32(2), f32(2, 3))
    with pytest.raises(ValueError, match=f"targets from 0 to 2, got {target}; check the labels"):
        kernel = COMPILED["softmax_cross_entropy_f32_scalar"]
        kernel(f32(2, 3), np.array([0, target]), out=out, label_smoothing=0.0)


def test_reduction_names() -> None:
    with pytest.raises(ValueError, match=r"op one of sum, mean \(floats only\), prod, min, max, got 'median'"):
        COMPILED["rank_order_reduce_f32_scalar"](f32(2), out=f32(2), op="median")
    with pytest.raises(ValueError, match="got 'mean'"):
        COMPILED["rank_order_reduce_s32_scalar"](np.ones(2, np.int32), out=np.ones(2, np.int32), op="mean")
    with pytest.raises(ValueError, match="got 'weighted'"):
        COMPILED["rank_order_reduce_s32_scalar"](
            np.ones(2, np.int32), out=np.ones(2, np.int32), op="weighted", weights=(1.0,)
        )


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 3.0), "ab", (1.0, None)])
def test_weights_are_a_number_an_array(weights: object) -> None:
    with pytest.raises(TypeError, match="weights to be a tuple of"):
        COMPILED["rank_order_reduce_f32_scalar"](f32(2), f32(2), out=f32(2), op="weighted", weights=weights)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"stride": (0, 1)}, "positive stride and dilation"),
        ({"stride": 1}, "stride to be a tuple of 2 integers"),
        ({"padding": (0, "1")}, "padding to be a tuple of integers"),
        ({"kernel_size": (2, 2)}, r"columns\[C,KH,KW,N,OH,OW\]"),
    ],
)
def test_convolution_geometry(change, text) -> None:
    attrs = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), **change}
    with pytest.raises((TypeError, ValueError), match=text):
        COMPILED["im2col_f32_scalar"](f32(1, 1, 4, 4), out=f32(1, 3, 3, 1, 2, 2), **attrs)
