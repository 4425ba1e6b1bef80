"""Direct convolution: every way that tiles read an image, chunks of channels and images, and what is not finite."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from dtrain.base.dtype import DType, float32, float64
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import choose
from dtrain.kernels.direct import direct_shape
from dtrain.kernels.registry import kernels_of, reference_of
from dtrain.opset.convolution import output_shape
from tests.helpers.convolution_calls import OPS, ConvolutionCall, expect_the_same_beside_what_is_not_finite

KERNELS = [kernel for op in OPS for kernel in kernels_of(op) if "_direct_" in kernel.name and kernel.is_supported]
DTYPES = (float32, float64)

Pair = tuple[int, int]


class Case(NamedTuple):
    """x [batch, channels, height, width] into `outputs` channels."""

    x: tuple[int, int, int, int]
    outputs: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def attrs(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}


CASES = {
    "rows of a tile": Case((2, 5, 6, 14), 33),
    "rows of several tiles": Case((2, 16, 3, 45), 16),
    "rows that are just not gathered": Case((3, 4, 7, 7), 17),
    "gathered rows": Case((3, 4, 5, 6), 17),
    "gathered rows of several images": Case((7, 3, 2, 2), 5),
    "one pixel": Case((5, 3, 3, 3), 40, padding=(0, 0)),
    "one channel to one": Case((2, 1, 8, 9), 1),
    "1×1": Case((2, 20, 5, 11), 24, kernel=(1, 1), padding=(0, 0)),
    "1×1, stride 2": Case((2, 6, 9, 16), 20, kernel=(1, 1), stride=(2, 2), padding=(0, 0)),
    "stem": Case((2, 3, 30, 34), 20, kernel=(7, 7), stride=(2, 2), padding=(3, 3)),
    "5×5": Case((1, 4, 9, 20), 6, kernel=(5, 5), padding=(2, 2)),
    "not square": Case((2, 3, 8, 18), 9, kernel=(1, 4), padding=(0, 2)),
    "stride 2": Case((2, 6, 13, 31), 18, stride=(2, 2)),
    "stride 2, even": Case((2, 6, 8, 16), 18, stride=(2, 2)),
    "strides that leave something": Case((2, 3, 17, 20), 7, kernel=(3, 2), stride=(3, 4), padding=(0, 1)),
    "a stride beyond the kernel": Case((1, 4, 12, 13), 5, kernel=(1, 2), stride=(3, 3), padding=(0, 0)),
    "a stride beyond the image": Case((2, 2, 3, 4), 5, stride=(7, 5)),
    "dilation": Case((2, 3, 13, 21), 6, padding=(2, 4), dilation=(2, 4)),
    "stride and dilation": Case((2, 3, 17, 23), 6, stride=(2, 3), padding=(3, 1), dilation=(3, 2)),
    "more padding than kernel": Case((1, 3, 4, 5), 6, padding=(4, 5)),
    "more padding, stride 2": Case((2, 3, 4, 5), 6, stride=(2, 2), padding=(5, 3)),
    "groups": Case((2, 12, 9, 10), 18, groups=3),
    "groups, stride 2": Case((2, 8, 9, 15), 8, stride=(2, 2), groups=4),
    "chunks of terms": Case((2, 320, 4, 9), 40),
    "chunks of terms, gathered": Case((3, 150, 3, 4), 260),
    "chunks of images": Case((23, 4, 7, 14), 5),
    "chunks of both": Case((12, 310, 10, 11), 36),
    "chunks of images, gathered": Case((140, 3, 4, 4), 5),
    "chunks of terms of one channel": Case((2, 1, 27, 28), 5, kernel=(26, 25), padding=(0, 0)),
    "chunks of terms, stride 2": Case((2, 70, 8, 9), 90, stride=(2, 2)),
    "bands within a row": Case((2, 3, 2, 700), 5, kernel=(1, 3), stride=(1, 2), padding=(0, 1)),
    "bands of rows": Case((1, 17, 45, 13), 18),
}


def convolution(case: Case, dtype: DType) -> ConvolutionCall:
    """Arrays without zeros."""
    rng = np.random.default_rng(5)
    w = (case.outputs, case.x[1] // case.groups, *case.kernel)
    shapes = (case.x, w, output_shape("conv2d", case.x, w, **case.attrs))
    arrays = ((rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)).astype(dtype.numpy) for shape in shapes)
    return ConvolutionCall(*arrays, case.attrs)


def kernels(op: str, dtype: DType) -> list[Candidate]:
    """Of this op and dtype, on every instruction set that this machine has."""
    found = [kernel for kernel in KERNELS if kernel.op == op and f"_{dtype.tag}_" in kernel.name]
    assert found, f"no direct {op} in {dtype.tag}"
    return found


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_against_the_reference(op: str, dtype: DType, name: str) -> None:
    """Within the roundings of sums of products, by their magnitudes."""
    call = convolution(CASES[name], dtype)
    wanted = call.compute(reference_of(op), float64)
    magnitudes = call.compute(reference_of(op), float64, magnitudes=True)
    for kernel in kernels(op, dtype):
        off = np.abs(call.compute(kernel, dtype) - wanted)
        assert (off <= 8 * np.finfo(dtype.numpy).eps * magnitudes).all(), kernel.name


@pytest.mark.parametrize(
    ("case", "op"),
    [
        (Case((1, 512, 14, 14), 16), "conv2d"),
        (Case((1, 32, 14, 14), 512), "conv2d_backward_data"),
        (Case((1, 16, 1, 40000), 16, kernel=(1, 3), padding=(0, 1)), "conv2d_backward_weights"),
        (Case((1, 1, 64, 64), 16, kernel=(60, 60), padding=(0, 0)), "conv2d"),
    ],
)
def test_long_sums_are_added_in_parts(case: Case, op: str) -> None:
    """Of positive numbers: one by one 5,000 of them round by 34 ε, 40,000 by a hundred."""
    call = convolution(case, float32)
    for array in (call.x, call.w, call.y):
        np.abs(array, out=array)
    (exact,) = (call.compute(kernel, float64) for kernel in kernels(op, float64)[:1])
    for kernel in kernels(op, float32):
        off = np.abs(call.compute(kernel, float32) - exact) / exact
        assert off.max() <= 16 * np.finfo(np.float32).eps, kernel.name


def test_the_cases_have_chunks() -> None:
    """What the names of cases promise."""
    for name, case in CASES.items():
        shapes = [direct_shape(convolution(case, float32).problem(op, float32)) for op in OPS[:2]]
        if "terms" in name or "both" in name:
            assert any(shape.terms < shape.all_terms for shape in shapes), name
        if "of images" in name or "both" in name:
            assert all(shape.images < shape.batch for shape in shapes), name


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", [name for name in CASES if "more padding" not in name])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_what_is_not_finite_reaches_who_sees_it(op: str, name: str) -> None:
    """Nothing in it asks for the dtype."""
    expect_the_same_beside_what_is_not_finite(convolution(CASES[name], float32), kernels(op, float32), float32)


@pytest.mark.parametrize("op", OPS[:2])
@pytest.mark.parametrize("name", ["chunks of images", "chunks of both", "chunks of images, gathered", "stem"])
def test_an_image_is_the_same_beside_any_others(op: str, name: str) -> None:
    """Alone it gives the bits that it gives in a batch. The gradient of weights is a sum over images: left out."""
    for dtype in DTYPES:
        many = convolution(CASES[name], dtype)
        for kernel in kernels(op, dtype):
            whole = many.compute(kernel, dtype)
            for n in {0, 1, len(whole) // 2, len(whole) - 1}:
                one = ConvolutionCall(many.x[n : n + 1], many.w, many.y[n : n + 1], many.attrs)
                np.testing.assert_array_equal(one.compute(kernel, dtype)[0], whole[n], kernel.name)


# Where the costs of algorithms lie far apart, by measurement: conv2d, gradient of the input, gradient of the weights.
TAKEN = {
    "3×3": (Case((8, 64, 28, 28), 64), ("direct", "direct", "direct")),
    "stride 2": (Case((8, 64, 28, 28), 128, stride=(2, 2)), ("direct", "direct", "direct")),
    "stem": (Case((8, 3, 112, 112), 64, (7, 7), (2, 2), (3, 3)), ("direct", "im2col", "direct")),
    "1×1": (Case((8, 64, 28, 28), 256, (1, 1), padding=(0, 0)), ("pointwise",) * 3),
    "1×1 of few pixels": (Case((8, 96, 4, 4), 576, (1, 1), padding=(0, 0)), ("pointwise",) * 3),
    "depthwise": (Case((8, 64, 28, 28), 64, groups=64), ("depthwise_blocks",) * 3),
    "many outputs a channel": (Case((2, 4, 28, 28), 256, groups=4), ("im2col", "im2col", "im2col")),
    "taps far apart": (Case((1, 16, 8, 8), 16, padding=(99, 99), dilation=(99, 99)), ("im2col", "im2col", "im2col")),
    "a kernel almost as large": (Case((64, 64, 8, 8), 64, (7, 7), padding=(0, 0)), ("direct", "im2col", "direct")),
}


@pytest.mark.parametrize("name", TAKEN)
def test_which_algorithm_is_taken(name: str) -> None:
    """Planes that are mostly zeros, and blocks of outputs that are mostly empty, cost too much."""
    case, algorithms = TAKEN[name]
    for op, algorithm in zip(OPS, algorithms):
        assert f"_f32_{algorithm}_" in choose(convolution(case, float32).problem(op, float32)).name, op
