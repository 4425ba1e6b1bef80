"""The ops of formulas: for each row of `kernels/formula/table.py` the op, its backward op, and the gradient of that.

Backward ops are `<name>_backward(grad, x or y)`: elementwise grad · f′. Their own gradient rule makes them
differentiable again: towards `grad` it is the same op, towards the saved tensor `second(grad · next grad, saved)`,
where the derivative of the slope is evaluated on tensors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, Sample, register_op
from dtrain.kernels.formula.derivative import product_with
from dtrain.kernels.formula.expression import Apply, Expression, Number, Parameter, Value
from dtrain.kernels.formula.table import GRAD, ROWS, Row
from dtrain.ops.binary import minimum
from dtrain.ops.infer import floating, same_dtype
from dtrain.ops.unary import abs as absolute
from dtrain.ops.unary import exp, sign
from dtrain.ops.where import where

# (grad · next grad, saved x or y, **attrs) -> gradient towards the saved tensor
Second = Callable[..., Tensor]


def _backward_op(name: str, second: Second | None, attrs: Sequence[dict[str, Any]]) -> Op:
    def infer(grad: TensorType, saved: TensorType, **attrs: Any) -> TensorType:
        if grad.shape != saved.shape:
            raise ShapeError(expected(name, "grad and input of one shape", f"{grad} and {saved}"))
        same_dtype(name, grad, saved)
        return grad

    def grad_rule(node: TapeNode, next_grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        grad, saved = node.inputs
        towards_saved = None
        if second is not None and node.needs_grad[1]:
            towards_saved = second(grad * next_grad, saved, **node.attrs)
        return apply(op, next_grad, saved, **node.attrs) if node.needs_grad[0] else None, towards_saved

    def samples() -> list[Sample]:
        return [Sample(inputs=(shape, shape), attrs=each) for each in attrs for shape in ((3, 5), (), (0, 2), (17,))]

    op = register_op(Op(name=name, infer=infer, grad=grad_rule, samples=samples))
    return computes_lane_by_lane(op)


def elementwise_op(
    name: str, *, saves_output: bool = False, second: Second | None = None, attrs: Sequence[dict[str, Any]] = ({},)
) -> Op:
    """Register a differentiable op of one input, and its gradient op.

    `attrs` are those that tests give.
    """
    backward = _backward_op(f"{name}_backward", second, attrs)

    def infer(x: TensorType, **attrs: Any) -> TensorType:
        return floating(name, x)

    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
        saved = node.outputs[0] if saves_output else node.inputs[0]
        return (apply(backward, grad, saved, **node.attrs),)

    def samples() -> list[Sample]:
        shapes = ((3, 5), (), (0, 2), (17,))
        return [Sample(inputs=(shape,), attrs=each, low=-4, high=4) for each in attrs for shape in shapes]

    op = Op(name=name, infer=infer, grad=grad_rule, samples=samples, saves_outputs=saves_output)
    return computes_lane_by_lane(register_op(op))


# Formulas on tensors --------------------------------------------------------------------------------------------------

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": absolute,
    "add": operator.add,
    "div": operator.truediv,
    "exp_non_positive": lambda x: exp(minimum(x, 0)),
    "greater": operator.gt,
    "mul": operator.mul,
    "neg": operator.neg,
    "sigmoid": lambda x: apply(OPS["sigmoid"], x),
    "sign": sign,
    "sub": operator.sub,
    "where": where,
}


def on_tensors(expression: Expression, values: dict[Expression, Any]) -> Any:
    """The formula on these values; it takes up the values of its parts, so that each is computed once."""
    if isinstance(expression, Number):
        return expression.value
    if expression not in values:
        assert isinstance(expression, Apply), expression
        arguments = [on_tensors(argument, values) for argument in expression.arguments]
        values[expression] = _FUNCTIONS[expression.function](*arguments)
    return values[expression]


def _second_of(row: Row) -> Second | None:
    """grads · f″ on tensors, or None where f″ is 0 everywhere."""
    if row.second == Number(0):
        return None
    towards_saved = product_with(GRAD, row.second)

    def second(grads: Tensor, saved: Tensor, **attrs: Any) -> Tensor:
        values: dict[Expression, Any] = {GRAD: grads, row.saved: saved}
        values.update((Parameter(name), number) for name, number in attrs.items())
        result: Tensor = on_tensors(towards_saved, values)
        return result

    return second


def _register(row: Row) -> Op:
    attrs = [dict(zip(row.parameters, numbers)) for numbers in product(*row.parameters.values())]
    if row.is_elementary:
        return _backward_op(f"{row.name}_backward", _second_of(row), attrs)
    return elementwise_op(row.name, saves_output=row.saved == Value("y"), second=_second_of(row), attrs=attrs)


OPS: dict[str, Op] = {row.name: _register(row) for row in ROWS}
