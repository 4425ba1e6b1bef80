"""A view op is one row of `kernels/views.py`: reads, writes in place, traces and quantized elements follow from it."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.dtype import ALL
from dtrain.base.element import quantized
from dtrain.base.errors import DtypeError
from dtrain.base.tensor_type import tensor_type
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor
from dtrain.graph import op as ops
from dtrain.graph.inference import infer_types
from dtrain.graph.op import Op, all_ops, register_op
from dtrain.graph.quantization_rules import QUANTIZATION_RULES, carries_elements
from dtrain.kernels.views import VIEWS, PutBack, View, merges_axes

MIRROR = View(
    lambda array: array[..., ::-1],
    put_back=lambda attrs, whole: PutBack("test_mirror", {}, takes_whole=False),
    axis_map=lambda axis, source, target, attrs: axis if axis < source.ndim - 1 else None,
)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Op:
    """An op with this row, whose family says what every family says: types and gradient."""
    monkeypatch.setitem(VIEWS, "test_mirror", MIRROR)
    monkeypatch.setattr(ops, "_OPS", dict(ops._OPS))
    op = Op(name="test_mirror", infer=lambda x: x, grad=lambda node, grad: (apply(op, grad),), dtypes=ALL)
    return register_op(op)


def test_every_row_is_that_of_a_registered_op() -> None:
    assert dict(VIEWS) == {op.name: op.view for op in all_ops() if op.view is not None}


@pytest.mark.parametrize("is_traced", [False, True])
def test_a_row_is_all_that_reads_and_writes_need(mirror: Op, is_traced: bool) -> None:
    def step(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        whole = x * 2
        shown = apply(mirror, whole)
        before = shown + 0
        shown.mul_(dt.tensor([1.0, 10.0, 100.0]))  # a write into the view is one into the whole
        return before, whole, shown

    x = dt.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    before, whole, shown = (dt.trace(step) if is_traced else step)(x)
    assert before.tolist() == [[6, 4, 2], [12, 10, 8]]
    assert whole.tolist() == [[200, 40, 6], [800, 100, 12]]
    assert shown.tolist() == [[6, 40, 200], [12, 100, 800]]


@pytest.mark.parametrize("is_traced", [False, True])
def test_gradients_flow_through_what_a_row_puts_back(mirror: Op, is_traced: bool) -> None:
    leaf = dt.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def step() -> None:
        whole = leaf * 1
        apply(mirror, whole).mul_(dt.tensor([1.0, 10.0, 100.0]))
        whole.sum().backward()

    (dt.trace(step) if is_traced else step)()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [100, 10, 1]


def test_a_row_without_a_way_back_refuses_writes(mirror: Op) -> None:
    mirror.view = View(MIRROR.function)
    whole = dt.tensor([1.0, 2.0], requires_grad=True) * 1
    with pytest.raises(RuntimeError, match=r"expected a tensor whose elements each .* made by test_mirror, which rep"):
        apply(mirror, whole).mul_(2.0)


def test_scales_along_an_axis_go_where_the_row_says(mirror: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QUANTIZATION_RULES, "_facts", dict(QUANTIZATION_RULES._facts))
    assert MIRROR.axis_map is not None
    carries_elements(mirror, MIRROR.axis_map)  # as graph/quantization_rules.py does for every row
    scales = [tensor_type((2, 2), quantized("s8", [0.5, 0.25], [0, 0], axis=axis)) for axis in (0, 1)]
    assert infer_types(mirror, scales[:1], {}) == (scales[0],)
    with pytest.raises(DtypeError, match="test_mirror: expected axis 1, along which the scales are, to stay"):
        infer_types(mirror, scales[1:], {})


def test_the_rows_of_the_product_carry_what_they_say() -> None:
    assert {name for name, view in VIEWS.items() if view.axis_map is not None} == set(QUANTIZATION_RULES) & set(VIEWS)


def test_a_reshape_that_merges_no_axes_never_copies() -> None:
    shapes = [shape for n in range(4) for shape in itertools.product((1, 2, 3, 4, 6), repeat=n) if prod(shape) == 12]
    for source, target in itertools.product(shapes, repeat=2):
        laid = [np.empty([2 * size for size in source])[tuple(slice(0, size) for size in source)]]
        for axes in itertools.permutations(range(len(source))):
            laid.append(np.empty([source[axis] for axis in axes]).transpose(np.argsort(axes)))
        copies = [not np.shares_memory(array, array.reshape(target)) for array in laid]
        assert merges_axes(source, target) == any(copies), (source, target)
