"""The ops of formulas: one for each row of `kernels/formula/table.py`, and for each of its gradients that is an op.

An op of a gradient is `<name>_backward(grad, x or y)`, or `<name>_backward_a(grad, a, b)`: grad · f′, element by
element. The rules by which all of them are differentiated stand in `ops/formulas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dtrain.base.dtype import ALL, FLOATS, NUMBERS, DType
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import GradReads, InferFunction, Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.kernels.formula.expression import depends_on
from dtrain.kernels.formula.row import Row, Y
from dtrain.kernels.formula.table import ROWS, attributes_of
from dtrain.opset.infer import broadcast_shapes, floating, same_dtype

Attrs = Sequence[dict[str, Any]]
_SHAPES = ((3, 5), (), (0, 2), (17,))
# Equal shapes, broadcasting both ways, a 0-d one, no elements.
_PAIRS = (((2, 3), (2, 3)), ((4, 1, 3), (5, 1)), ((), (7,)), ((0, 3), (3,)))
_DTYPES: Mapping[str, tuple[DType, ...]] = {"floats": FLOATS, "numbers": NUMBERS, "all": ALL}


def _timed(num_inputs: int, attrs: dict[str, Any], low: float, high: float) -> list[Call]:
    """Hidden states of an MLP, and images of a convolutional network; around one if that is in the domain."""
    calls = [large(f"{size}", *((size,),) * num_inputs, **attrs) for size in (64 * 256, 16 * 64 * 32 * 32)]
    return calls if (low, high) == Row.domain else [replace(call, low=low, high=high) for call in calls]


def _backward_op(name: str, num_saved: int, attrs: Attrs, low: float, high: float) -> Op:
    """Register grad · f′ of the gradient and of so many saved tensors."""

    def infer(grad: TensorType, *saved: TensorType, **attrs: Any) -> TensorType:
        if broadcast_shapes(name, *(type.shape for type in saved)) != grad.shape:
            given = " and ".join(map(str, (grad, *saved)))
            raise ShapeError(expected(name, "grad and input of one shape", given))
        same_dtype(name, grad, *saved)
        return grad

    def calls() -> list[Call]:
        shapes: Any = [(shape,) * 2 for shape in _SHAPES]
        if num_saved == 2:
            shapes = [(broadcast_shapes(name, *pair), *pair) for pair in _PAIRS]
        small = [Call(inputs=inputs, attrs=each, low=low, high=high) for each in attrs for inputs in shapes]
        return small + _timed(1 + num_saved, attrs[0], low, high)

    return computes_lane_by_lane(register_op(Op(name=name, infer=infer, calls=calls)))


def elementwise_op(name: str, *, attrs: Attrs = ({},)) -> tuple[Op, Op]:
    """Register an op of one input that is no formula, and the op of its gradient, of the same input.

    `attrs` are those that tests give.
    """

    def infer(x: TensorType, **attrs: Any) -> TensorType:
        return floating(name, x)

    def calls() -> list[Call]:
        small = [Call(inputs=(shape,), attrs=each, low=-4, high=4) for each in attrs for shape in _SHAPES]
        return small + _timed(1, attrs[0], *Row.domain)

    op = computes_lane_by_lane(register_op(Op(name=name, infer=infer, calls=calls)))
    return op, _backward_op(f"{name}_backward", 1, attrs, -2, 2)


# Rows -----------------------------------------------------------------------------------------------------------------


def _infer_unary(row: Row) -> InferFunction:
    name, floats_only = row.name, row.dtypes == "floats"

    def infer(x: TensorType, **attrs: Any) -> TensorType:
        _expect_parameters(row, attrs)
        return floating(name, x) if floats_only else x

    return infer


def _infer_binary(row: Row) -> InferFunction:
    name = row.name

    def infer(x: TensorType, y: TensorType, **attrs: Any) -> TensorType:
        _expect_parameters(row, attrs)
        return x if x is y else x.with_(shape=broadcast_shapes(name, x.shape, y.shape))

    return infer


def _grad_reads(row: Row) -> GradReads:
    """Whose elements the gradients read. By itself: does the gradient of an input read that input?"""
    if not row.is_binary:
        return "all"
    reads = [[depends_on(kernel.formula, value) for value in row.forward.inputs] for kernel in row.backward]
    own = any(reads[number][number] for number in range(2))
    return "all" if own else "others" if any(map(any, reads)) else "none"


def _expect_parameters(row: Row, attrs: Mapping[str, Any]) -> None:
    if attrs.keys() != row.parameters.keys():
        wanted = ", ".join(row.parameters) or "no attributes"
        raise TypeError(expected(row.name, wanted, ", ".join(attrs) or "none"))


def _register(row: Row) -> Op:
    attrs = list(attributes_of(row.kernels[0]))  # of the function itself; its gradients come behind it
    infer = (_infer_binary if row.is_binary else _infer_unary)(row)
    low, high = row.domain
    for kernel in filter(row.is_op, row.backward):
        BACKWARD_OPS[kernel.name] = _backward_op(kernel.name, len(kernel.inputs) - 1, attrs, low, high)

    def calls() -> list[Call]:
        shapes: Any = _PAIRS if row.is_binary else [(shape,) for shape in _SHAPES]
        small = [Call(inputs=inputs, attrs=each, low=low, high=high) for each in attrs for inputs in shapes]
        return small + _timed(2 if row.is_binary else 1, attrs[0], low, high)

    op = Op(
        name=row.name,
        infer=infer,
        calls=calls,
        dtypes=_DTYPES[row.dtypes],
        promotes=row.is_binary,
        saves_outputs=not row.is_binary and row.saved == Y,
        grad_reads=_grad_reads(row),
        checks=_holds_integers if row.checks_integers else False,
    )
    return computes_lane_by_lane(register_op(op))


def _holds_integers(types: Sequence[TensorType]) -> bool:
    return types[0].dtype.is_integer


BACKWARD_OPS: dict[str, Op] = {}
OPS: dict[str, Op] = {row.name: _register(row) for row in ROWS}
