"""Every op of two tensors, over all pairs of dtypes, with and without axes, and Python numbers; eagerly and traced."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import ALL, FLOATS, DType
from dtrain.core.tensor import Tensor
from dtrain.graph.op import all_ops, get_op

KIND = {"bool": 0, "unsigned": 1, "signed": 1, "float": 2}
SAME = {
    "add": F.add, "sub": F.sub, "mul": F.mul, "floor_div": F.floor_div, "mod": F.mod, "pow": F.pow,
    "maximum": F.maximum, "minimum": F.minimum, "bitwise_and": F.bitwise_and, "bitwise_or": F.bitwise_or,
    "bitwise_xor": F.bitwise_xor, "left_shift": F.left_shift, "right_shift": F.right_shift,
    "where": lambda x, y: F.where(dt.tensor(True), x, y),
}  # fmt: skip
IN_FLOATS = {"div": F.div, "atan2": F.atan2}
TRUTHS = {
    "equal": F.equal, "not_equal": F.not_equal, "less": F.less, "less_equal": F.less_equal, "greater": F.greater,
    "greater_equal": F.greater_equal, "logical_and": F.logical_and, "logical_or": F.logical_or,
    "logical_xor": F.logical_xor,
}  # fmt: skip
BINARY: dict[str, Callable[[Any, Any], Tensor]] = {**SAME, **IN_FLOATS, **TRUTHS}
# Those that promote but are no elementwise op of two tensors: tested below, each by its function.
OTHERS = {
    "concat",
    "matmul",
    "linear",
    "conv2d",
    "conv2d_backward_data",
    "set_item",
    "binary_cross_entropy",
    "searchsorted",
}
PAIRS = list(itertools.product(ALL, repeat=2))
SHAPES = [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())]


def numpy_common(first: DType, second: DType) -> str:
    """By NumPy where it agrees: within floats and within the rest, f16 with bf16 being f32."""
    if first.is_floating and second.is_floating:
        if {first.tag, second.tag} == {"f16", "bf16"}:
            return "f32"
        return max(first, second, key=lambda dtype: (dtype.itemsize, dtype.tag == first.tag)).tag
    if first.is_floating or second.is_floating:
        return first.tag if first.is_floating else second.tag
    return dt.as_dtype(np.promote_types(first.numpy, second.numpy)).tag


def common(first: DType, second: DType, shapes: Any) -> str:
    if bool(shapes[0]) == bool(shapes[1]):
        return numpy_common(first, second)
    strong, weak = (first, second) if shapes[0] else (second, first)
    return numpy_common(first, second) if KIND[weak.kind] > KIND[strong.kind] else strong.tag


def result(name: str, dtype: str) -> str:
    if name in TRUTHS:
        return "bool"
    return "f32" if name in IN_FLOATS and not dt.as_dtype(dtype).is_floating else dtype


def takes(name: str, dtype: str) -> bool:
    """Whether the op claims the dtype in which it would compute."""
    computed = "f32" if name in IN_FLOATS and not dt.as_dtype(dtype).is_floating else dtype
    return dt.as_dtype(computed) in get_op(name).dtypes


def test_no_op_is_forgotten():
    assert {op.name for op in all_ops() if op.promotes} <= {*BINARY, *OTHERS}


@pytest.mark.parametrize("name", BINARY)
def test_all_pairs(name):
    checked = 0
    for (first, second), shapes in itertools.product(PAIRS, SHAPES):
        wanted = common(first, second, shapes)
        if takes(name, wanted):
            found = BINARY[name](F.ones(shapes[0], dtype=first), F.ones(shapes[1], dtype=second))
            assert found.dtype.tag == result(name, wanted), (first, second, shapes)
            checked += 1
    assert checked >= 4 * 25  # the fewest: integers alone


@pytest.mark.parametrize("name", BINARY)
def test_all_dtypes_with_python_numbers(name):
    for dtype, number in itertools.product(ALL, (True, 1, 1.0)):
        kind = {bool: 0, int: 1, float: 2}[type(number)]
        wanted = {1: "s64", 2: "f32"}[kind] if kind > KIND[dtype.kind] else dtype.tag
        if takes(name, wanted):
            x = F.ones((2,), dtype=dtype)
            assert BINARY[name](x, number).dtype.tag == BINARY[name](number, x).dtype.tag == result(name, wanted)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda dtype: dtype.tag)
def test_traced_as_eagerly(first, second):
    names = [name for name in BINARY if takes(name, common(first, second, SHAPES[0]))]
    x, y = F.ones((2,), dtype=first), F.ones((2,), dtype=second)

    def together(x: Tensor, y: Tensor) -> list[Tensor]:
        return [BINARY[name](x, y) for name in names]

    for traced, eager in zip(dt.trace(together)(x, y), together(x, y), strict=True):
        assert traced.type is eager.type and traced.tolist() == eager.tolist()


LAYERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda x, w: F.linear(x.reshape((1, 4)), w.reshape((1, 4))),
    "linear_bias": lambda x, w: F.linear(x.reshape((1, 4)), x.reshape((1, 4)), w[:1]),
    "matmul": lambda x, w: F.matmul(x.reshape((2, 2)), w.reshape((2, 2))),
    "dot": F.dot,
    "outer": F.outer,
    "conv2d": lambda x, w: F.conv2d(x.reshape((1, 1, 2, 2)), w.reshape((1, 1, 2, 2))),
    "conv2d_bias": lambda x, w: F.conv2d(x.reshape((1, 1, 2, 2)), x.reshape((1, 1, 2, 2)), w[:1]),
    "conv1d": lambda x, w: F.conv1d(x.reshape((1, 1, 4)), w.reshape((1, 1, 4))),
    "conv_transpose2d": lambda x, w: F.conv_transpose2d(x.reshape((1, 1, 2, 2)), w.reshape((1, 1, 2, 2))),
    "concat": lambda x, y: F.concat([x, y]),
    "stack": lambda x, y: F.stack([x, y]),
    "prelu": lambda x, w: F.prelu(x.reshape((1, 4)), w),
    "mse_loss": F.mse_loss,
    "l1_loss": F.l1_loss,
    "smooth_l1_loss": F.smooth_l1_loss,
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "hinge_loss": F.hinge_loss,
    "cross_entropy": lambda x, y: F.cross_entropy(x.reshape((2, 2)), y.reshape((2, 2)) * 0.5),
}


@pytest.mark.parametrize("other", ALL, ids=lambda dtype: dtype.tag)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_losses_have_the_rule_of_arithmetic(name, other):
    if name == "cross_entropy" and not other.is_floating:
        pytest.skip("integers are class numbers")
    for dtype in FLOATS:
        x, y = F.full((4,), 0.5, dtype=dtype).requires_grad_(), F.ones((4,), dtype=other)
        found = LAYERS[name](x, y)
        assert found.dtype.tag == numpy_common(dtype, other)
        found.sum().backward()
        assert x.grad.dtype is dtype


def test_a_mask_leaves_a_step_in_f32():
    x, mask, count = F.ones((3,)), F.ones((3,), dtype="s64"), dt.tensor(2)
    step = dt.trace(lambda x, mask: ((x * mask).sum() / mask.sum() + mask.to("bool") * x).mean() / count)
    assert step(x, mask).dtype is dt.float32
    (graph,) = step.graphs
    assert "f64" not in str(graph)
    assert (mask / 2).dtype is dt.float32 and (x * dt.tensor(2.0, dtype="f64")).dtype is dt.float32
