"""How ops of formulas are differentiated: by the formulas of their gradients, on tensors.

The rule of an op of a gradient makes it differentiable again: towards `grad` it is the same op, towards what was saved
`second(grad · next grad, *saved)`, where the derivative of the slope is evaluated on tensors. Broadcasting is undone
in one place, `_reducing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from dtrain.base.tensor_type import Shape
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.graph.op import GradFunction, Op, gradient_of
from dtrain.kernels.formula.derivative import product_with
from dtrain.kernels.formula.expression import Number, Value
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.row import GRAD, Row, Y
from dtrain.kernels.formula.table import ROWS
from dtrain.ops.on_tensors import on_tensors
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum_to_shape
from dtrain.opset.formulas import BACKWARD_OPS, OPS

# (shape of a saved tensor, grad · next grad, *saved, **attrs) -> gradient towards that one
Second = Callable[..., Tensor]
Rule = Callable[..., Tensor]


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


# Ops of gradients -----------------------------------------------------------------------------------------------------


def _differentiate_backward(op: Op, seconds: Sequence[Callable[[], Second | None]]) -> None:
    """Let grad · f′ be differentiable towards as many saved tensors as there are `seconds`, derived when needed."""

    @gradient_of(op)
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


def differentiate(op: Op, backward: Op, *, second: Rule | None = None) -> None:
    """Give an op of one input that is no formula, and the op of its gradient, their rules."""
    found = second and _reducing(second, 0)
    _differentiate_backward(backward, [lambda: found])

    @gradient_of(op)
    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
        return (apply(backward, grad, node.inputs[0], **node.attrs),)


# Rows -----------------------------------------------------------------------------------------------------------------


def _second_of(row: Row, kernel: Kernel, by: Value) -> Second:
    """grads · f″ on tensors; zeros where f″ is 0 everywhere."""
    slope = row.second(kernel, by)
    if slope == Number(0):
        return lambda shape, grads, *saved, **attrs: zeros(shape, dtype=grads.dtype, device=grads.device)
    second = Kernel(f"{kernel.name}_second", kernel.inputs, product_with(GRAD, slope))
    return _reducing(on_tensors(second), 2 if row.is_binary or second.num_roundings > 1 else 0)


def _rule_of(row: Row, kernel: Kernel) -> Rule:
    """A gradient as a function of what its kernel takes."""
    if not row.is_op(kernel):
        return on_tensors(kernel)
    op = BACKWARD_OPS[kernel.name]
    _differentiate_backward(op, [cache(partial(_second_of, row, kernel, by)) for by in kernel.inputs[1:]])
    return partial(apply, op)


def _roundings(row: Row, kernel: Kernel) -> int:
    """An op rounds once."""
    return 1 if row.is_op(kernel) else kernel.num_roundings


def _unary(row: Row) -> GradFunction:
    (kernel,) = row.backward
    rule = _rule_of(row, kernel)
    rule = rule if _roundings(row, kernel) <= 1 else rounded_once(rule)
    saves_output = row.saved == Y

    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
        return (rule(grad, node.outputs[0] if saves_output else node.inputs[0], **node.attrs),)

    return grad_rule


def _binary(row: Row) -> GradFunction:
    x_rule, y_rule = (_reducing(_rule_of(row, kernel), _roundings(row, kernel)) for kernel in row.backward)

    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = node.inputs
        return (
            x_rule(x.shape, grad, x, y, **node.attrs) if node.needs_grad[0] else None,
            y_rule(y.shape, grad, x, y, **node.attrs) if node.needs_grad[1] else None,
        )

    return grad_rule


for _row in ROWS:
    gradient_of(OPS[_row.name])((_binary if _row.is_binary else _unary)(_row))
