"""Max pooling on every instruction set: values and places are those of the reference, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.kernel_checks import dtype_of, outputs_for, run

from dtrain.kernels.call import Call
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import kernels_of, reference_of
from tests.helpers.kernel_cases.case import call

KERNELS = [kernel for kernel in kernels_of("max_pool2d") if not kernel.is_reference and kernel.is_supported]
GRADIENTS = [kernel for kernel in kernels_of("max_pool2d_backward") if not kernel.is_reference and kernel.is_supported]


def images(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Five of this shape: numbers; ties, zeros of both signs among them; some and much not finite; nothing but −∞."""
    rng = np.random.default_rng(sum(shape))
    numbers = rng.standard_normal(shape).astype(dtype)
    found = [numbers, np.round(numbers)]
    for share in (0.05, 0.5):
        special = rng.choice(np.array([np.nan, np.inf, -np.inf], dtype), shape)
        found.append(np.where(rng.random(shape) < share, special, np.round(numbers)))
    return np.stack([*found, np.full(shape, -np.inf, dtype)])


def expect_the_reference(kernel: Candidate, image: np.ndarray, attrs: dict[str, Any]) -> None:
    case = Call(op="max_pool2d", inputs=(image.shape,), attrs=attrs)
    wanted, got = outputs_for(case, kernel), outputs_for(case, kernel)
    call(reference_of("max_pool2d").function, [image], wanted, attrs)
    for array in got:
        array.fill(77)
    run(kernel, case, [image], got)
    assert got[1].dtype == np.int32
    np.testing.assert_array_equal(got[1], wanted[1], err_msg=f"{image.shape} {attrs}")
    np.testing.assert_array_equal(got[0], wanted[0], err_msg=f"{image.shape} {attrs}")


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_rows_of_every_length(kernel: Candidate, size: int, stride: int) -> None:
    """Around the width of every vector, by all paddings that leave a window something to see."""
    for width in (*range(1, 41, 3 if size > 3 else 2), 16, 32, 40):
        for padding in range(size // 2 + 1):
            if width + 2 * padding < size:
                continue
            attrs = {"kernel_size": (2, size), "stride": (1, stride), "padding": (1, padding)}
            expect_the_reference(kernel, images((2, 3, width), dtype_of(kernel)), attrs)


# height, kernel, stride, padding, of rows; columns have another window
TALL = ((9, 3, 2, 1), (8, 2, 2, 0), (7, 3, 1, 1), (11, 5, 3, 2), (5, 5, 5, 0), (10, 1, 4, 0), (6, 4, 3, 2))


@pytest.mark.parametrize(("height", "size", "stride", "padding"), TALL)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_windows_that_share_rows_and_some_that_leave_rows_out(
    kernel: Candidate, height: int, size: int, stride: int, padding: int
) -> None:
    for columns in ((3, 2, 1), (2, 2, 1), (1, 3, 0), (19, 19, 0)):
        names = ("kernel_size", "stride", "padding")
        attrs = {name: tuple(pair) for name, *pair in zip(names, (size, stride, padding), columns)}
        expect_the_reference(kernel, images((3, height, 19), dtype_of(kernel)), attrs)


@pytest.mark.parametrize("kernel", GRADIENTS, ids=lambda kernel: kernel.name)
def test_gradients_of_one_input_are_added_in_order(kernel: Candidate) -> None:
    rng = np.random.default_rng(0)
    dtype, shape = dtype_of(kernel), (2, 3, 5, 7)
    dy = rng.standard_normal((2, 3, 4, 9)).astype(dtype)
    indices = rng.integers(0, 35, dy.shape).astype(np.int32)
    case = Call(op=kernel.op, inputs=(dy, indices), attrs={"input_shape": shape})
    got = [np.full(shape, 77, dtype)]
    run(kernel, case, [dy, indices], got)
    wanted = np.zeros((6, 35), dtype)
    np.add.at(wanted, (np.arange(6)[:, None], indices.reshape(6, -1)), dy.reshape(6, -1))
    assert got[0].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("kernel", GRADIENTS, ids=lambda kernel: kernel.name)
def test_no_outputs_have_gradients_of_zero(kernel: Candidate) -> None:
    dtype, shape = dtype_of(kernel), (2, 3, 2, 2)
    dy, got = np.empty((2, 3, 0, 0), dtype), [np.full(shape, 77, dtype)]
    case = Call(op=kernel.op, inputs=(dy, dy.astype(np.int32)), attrs={"input_shape": shape})
    run(kernel, case, [dy, dy.astype(np.int32)], got)
    assert not got[0].any()


@pytest.mark.parametrize("wrong", [-1, 35, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("kernel", GRADIENTS, ids=lambda kernel: kernel.name)
def test_a_place_outside_of_the_plane_is_refused(kernel: Candidate, wrong: int) -> None:
    dtype, shape = dtype_of(kernel), (2, 3, 5, 7)
    for position in (0, 11, 23, 35):
        indices = np.full(36, 34, np.int32)
        indices[position] = wrong
        indices = indices.reshape(2, 3, 2, 3)
        with pytest.raises(ValueError, match="indices inside the input plane"):
            kernel.function(np.ones((2, 3, 2, 3), dtype), indices, out=np.empty(shape, dtype), input_shape=shape)
