"""Shared inference: broadcasting, axes, reduced shapes, and the words of their errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.base.dtype import float32, int32
from dtrain.base.errors import ShapeError
from dtrain.base.tensor_type import tensor_type
from dtrain.core.tensor_factory import tensor
from dtrain.opset import infer

SHAPES = [((2, 3), (3,)), ((4, 1, 3), (5, 1)), ((), (2, 2)), ((0, 3), (1, 3)), ((1,), (0,)), ((7, 1, 1), (2, 1), (3,))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcasting_is_numpys(shapes):
    assert infer.broadcast_shapes("op", *shapes) == np.broadcast_shapes(*shapes)


@pytest.mark.parametrize("shapes", [((2, 3), (2,)), ((0,), (2,)), ((2, 1), (3, 4), (5, 1))], ids=str)
def test_shapes_that_do_not_broadcast(shapes):
    with pytest.raises(ValueError, match="op: expected shapes that broadcast, got"):
        infer.broadcast_shapes("op", *shapes)


def test_axes():
    assert infer.normalize_axis("op", -1, 3) == 2
    assert infer.normalize_axes("op", None, 3) == (0, 1, 2)
    assert infer.normalize_axes("op", (-1, 0), 3) == (0, 2)
    assert infer.normalize_axes("op", 1, 3) == (1,)
    with pytest.raises(ValueError, match=r"op: expected an axis in \[-3, 3\), got 3"):
        infer.normalize_axis("op", 3, 3)
    with pytest.raises(ValueError, match=r"op: expected each axis once, got \(0, -3\)"):
        infer.normalize_axes("op", (0, -3), 3)


@pytest.mark.parametrize("keepdims", [False, True])
def test_reduced_shape_is_numpys(keepdims):
    wanted = np.zeros((2, 3, 4)).sum(axis=(0, 2), keepdims=keepdims).shape
    assert infer.reduced_shape((2, 3, 4), (0, 2), keepdims) == wanted


def test_dtypes_and_axes_that_an_op_does_not_take():
    real, whole = tensor_type((2, 3), float32), tensor_type((2, 3), int32)
    assert infer.floating("op", real) is real
    with pytest.raises(TypeError, match=r"op: expected a floating dtype, got s32\[2,3\]@cpu; cast"):
        infer.floating("op", whole)
    with pytest.raises(TypeError, match="op: expected inputs of one dtype"):
        infer.same_dtype("op", real, whole)
    with pytest.raises(ValueError, match="op: expected an input with 3 or 4 axes, got 2 axes"):
        infer.expect_ndim("op", real, 3, 4)


@pytest.mark.parametrize("call", ["unbind", "chunk"])
def test_a_0d_tensor_has_no_axis_to_order_or_to_cut(call):
    function = {"chunk": lambda x, axis: F.chunk(x, 1, axis)}.get(call, getattr(F, call))
    with pytest.raises(ShapeError, match=f"{call}: expected a tensor .*ax"):
        function(tensor(1.0), 0)
