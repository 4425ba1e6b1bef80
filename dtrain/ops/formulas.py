"""The ops of formulas: for each row of `kernels/formula/table.py` the op, the ops of its gradients, and those of these.

An op of a gradient is `<name>_backward(grad, x or y)`, or `<name>_backward_a(grad, a, b)`: grad · f′, element by
element. Its own gradient rule makes it differentiable again: towards `grad` it is the same op, towards what was saved
`second(grad · next grad, *saved)`, where the derivative of the slope is evaluated on tensors. Broadcasting is undone
in one place, `_reducing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from dtrain.base.dtype import ALL, FLOATS, NUMBERS, DType
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import GradFunction, GradReads, Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.kernels.formula.derivative import product_with
from dtrain.kernels.formula.expression import Number, Value, depends_on
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.row import GRAD, Row, Y
from dtrain.kernels.formula.table import ROWS, attributes_of
from dtrain.ops.infer import broadcast_shapes, floating, same_dtype
from dtrain.ops.on_tensors import on_tensors
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum_to_shape

# (shape of a saved tensor, grad · next grad, *saved, **attrs) -> gradient towards that one
Second = Callable[..., Tensor]
Rule = Callable[..., Tensor]
Attrs = Sequence[dict[str, Any]]

_SHAPES = ((3, 5), (), (0, 2), (17,))
# Equal shapes, broadcasting both ways, a 0-d one, no elements.
_PAIRS = (((2, 3), (2, 3)), ((4, 1, 3), (5, 1)), ((), (7,)), ((0, 3), (3,)))
_DTYPES: Mapping[str, tuple[DType, ...]] = {"floats": FLOATS, "numbers": NUMBERS, "all": ALL}


def _reducing(rule: Rule, roundings: int) -> Rule:
    """What `rule` gives with so many roundings, summed to a shape. All of it is rounded once in f16 and bf16."""

    def reduced(shape: Shape, *tensors: Tensor, **attrs: Any) -> Tensor:
        return sum_to_shape(rule(*tensors, **attrs), shape)

    rounded = rounded_once(reduced)

    def reduced_unless_equal(shape: Shape, grad: Tensor, x: Tensor, y: Tensor, **attrs: Any) -> Tensor:
        if x.shape == y.shape:
            return rule(grad, x, y, **attrs)
        return rounded(shape, grad, x, y, **attrs)

    return (reduced, reduced_unless_equal, rounded)[min(roundings, 2)]


def _timed(num_inputs: int, attrs: dict[str, Any], low: float, high: float) -> list[Call]:
    """Hidden states of an MLP, and images of a convolutional network; around one if that is in the domain."""
    calls = [large(f"{size}", *((size,),) * num_inputs, **attrs) for size in (64 * 256, 16 * 64 * 32 * 32)]
    return calls if (low, high) == Row.domain else [replace(call, low=low, high=high) for call in calls]


# Ops of gradients -----------------------------------------------------------------------------------------------------


def _backward_op(
    name: str, seconds: Sequence[Callable[[], Second | None]], attrs: Attrs, low: float, high: float
) -> Op:
    """Register grad · f′ of the gradient and of as many saved tensors as there are `seconds`, derived when needed."""

    def infer(grad: TensorType, *saved: TensorType, **attrs: Any) -> TensorType:
        if broadcast_shapes(name, *(type.shape for type in saved)) != grad.shape:
            given = " and ".join(map(str, (grad, *saved)))
            raise ShapeError(expected(name, "grad and input of one shape", given))
        same_dtype(name, grad, *saved)
        return grad

    def grad_rule(node: TapeNode, next_grad: Tensor) -> tuple[Tensor | None, ...]:
        grad, *saved = node.inputs
        towards: list[Tensor | None] = [None] * len(node.inputs)
        if node.needs_grad[0]:
            towards[0] = apply(op, next_grad, *saved, **node.attrs)
        for position, find_second in enumerate(seconds, 1):
            if node.needs_grad[position] and (second := find_second()) is not None:
                tensors = (grad * next_grad, *saved)
                towards[position] = second(saved[position - 1].shape, *tensors, **node.attrs)
        return tuple(towards)

    def calls() -> list[Call]:
        shapes: Any = [(shape,) * 2 for shape in _SHAPES]
        if len(seconds) == 2:
            shapes = [(broadcast_shapes(name, *pair), *pair) for pair in _PAIRS]
        small = [Call(inputs=inputs, attrs=each, low=low, high=high) for each in attrs for inputs in shapes]
        return small + _timed(1 + len(seconds), attrs[0], low, high)

    op = register_op(Op(name=name, infer=infer, grad=grad_rule, calls=calls))
    return computes_lane_by_lane(op)


def elementwise_op(name: str, *, second: Rule | None = None, attrs: Attrs = ({},)) -> Op:
    """Register a differentiable op of one input that is no formula, and the op of its gradient, of the same input.

    `attrs` are those that tests give.
    """
    found = second and _reducing(second, 0)
    backward = _backward_op(f"{name}_backward", [lambda: found], attrs, -2, 2)

    def infer(x: TensorType, **attrs: Any) -> TensorType:
        return floating(name, x)

    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
        return (apply(backward, grad, node.inputs[0], **node.attrs),)

    def calls() -> list[Call]:
        small = [Call(inputs=(shape,), attrs=each, low=-4, high=4) for each in attrs for shape in _SHAPES]
        return small + _timed(1, attrs[0], *Row.domain)

    return computes_lane_by_lane(register_op(Op(name=name, infer=infer, grad=grad_rule, calls=calls)))


# Rows -----------------------------------------------------------------------------------------------------------------


def _second_of(row: Row, kernel: Kernel, by: Value) -> Second | None:
    """grads · f″ on tensors, or None where f″ is 0 everywhere."""
    slope = row.second(kernel, by)
    if slope == Number(0):
        return None
    second = on_tensors(Kernel(f"{kernel.name}_second", kernel.inputs, product_with(GRAD, slope)))
    return _reducing(second, 2 if row.is_binary else 0)


def _rule_of(row: Row, kernel: Kernel, attrs: Attrs) -> Rule:
    """A gradient as a function of what its kernel takes."""
    if not row.is_op(kernel):
        return on_tensors(kernel)
    seconds = [cache(partial(_second_of, row, kernel, by)) for by in kernel.inputs[1:]]
    return partial(apply, _backward_op(kernel.name, seconds, attrs, *row.domain))


def _roundings(row: Row, kernel: Kernel) -> int:
    """An op rounds once."""
    return 1 if row.is_op(kernel) else kernel.num_roundings


def _unary(row: Row, attrs: Attrs) -> tuple[Callable[..., TensorType], GradFunction, GradReads]:
    (kernel,) = row.backward
    rule = _rule_of(row, kernel, attrs)
    rule = rule if _roundings(row, kernel) <= 1 else rounded_once(rule)
    name, floats_only, saves_output = row.name, row.dtypes == "floats", row.saved == Y

    def infer(x: TensorType, **attrs: Any) -> TensorType:
        _expect_parameters(row, attrs)
        return floating(name, x) if floats_only else x

    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
        return (rule(grad, node.outputs[0] if saves_output else node.inputs[0], **node.attrs),)

    return infer, grad_rule, "all"


def _binary(row: Row, attrs: Attrs) -> tuple[Callable[..., TensorType], GradFunction, GradReads]:
    x_rule, y_rule = (_reducing(_rule_of(row, kernel, attrs), _roundings(row, kernel)) for kernel in row.backward)
    name = row.name

    def infer(x: TensorType, y: TensorType, **attrs: Any) -> TensorType:
        _expect_parameters(row, attrs)
        return x if x is y else x.with_(shape=broadcast_shapes(name, x.shape, y.shape))

    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = node.inputs
        return (
            x_rule(x.shape, grad, x, y, **node.attrs) if node.needs_grad[0] else None,
            y_rule(y.shape, grad, x, y, **node.attrs) if node.needs_grad[1] else None,
        )

    # By itself: does the gradient of an input read that input?
    reads = [[depends_on(kernel.formula, value) for value in row.forward.inputs] for kernel in row.backward]
    own = any(reads[number][number] for number in range(2))
    return infer, grad_rule, "all" if own else "others" if any(map(any, reads)) else "none"


def _expect_parameters(row: Row, attrs: Mapping[str, Any]) -> None:
    if attrs.keys() != row.parameters.keys():
        wanted = ", ".join(row.parameters) or "no attributes"
        raise TypeError(expected(row.name, wanted, ", ".join(attrs) or "none"))


def _register(row: Row) -> Op:
    attrs = list(attributes_of(row.kernels[0]))  # of the function itself; its gradients come behind it
    infer, grad_rule, grad_reads = (_binary if row.is_binary else _unary)(row, attrs)
    low, high = row.domain

    def calls() -> list[Call]:
        shapes: Any = _PAIRS if row.is_binary else [(shape,) for shape in _SHAPES]
        small = [Call(inputs=inputs, attrs=each, low=low, high=high) for each in attrs for inputs in shapes]
        return small + _timed(2 if row.is_binary else 1, attrs[0], low, high)

    op = Op(
        name=row.name,
        infer=infer,
        grad=grad_rule,
        calls=calls,
        dtypes=_DTYPES[row.dtypes],
        promotes=row.is_binary,
        saves_outputs=not row.is_binary and row.saved == Y,
        grad_reads=grad_reads,
        checks=_holds_integers if row.checks_integers else False,
    )
    return computes_lane_by_lane(register_op(op))


def _holds_integers(types: Sequence[TensorType]) -> bool:
    return types[0].dtype.is_integer


OPS: dict[str, Op] = {row.name: _register(row) for row in ROWS}
