"""A choice between two tensors, element by element."""

from __future__ import annotations

from typing import Any, overload

from dtrain.base.errors import expected
from dtrain.base.promotion import common_dtype
from dtrain.core.apply import apply, as_tensors, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.graph.op import gradient_of
from dtrain.ops.nonzero import nonzero
from dtrain.ops.reduction import sum_to_shape
from dtrain.opset.where import WHERE


@gradient_of(WHERE)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
    condition, x, y = node.inputs
    return (
        None,
        sum_to_shape(where(condition, grad, 0), x.shape) if node.needs_grad[1] else None,
        sum_to_shape(where(condition, 0, grad), y.shape) if node.needs_grad[2] else None,
    )


def where_sloped(sloped: Tensor, grad: Tensor, x: Tensor) -> Tensor:
    """The gradient where the formula has a slope, 0 where it is flat, NaN where x is NaN, so that it stays visible."""
    x = x.detach()
    return where(sloped, grad, where(x != x, x, 0.0))


@overload
def where(condition: Any) -> tuple[Tensor, ...]: ...
@overload
def where(condition: Any, x: Any, y: Any) -> Tensor: ...
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """x where the condition holds, else y; all three broadcast, x and y are promoted to one dtype.

    No gradient flows through the choice itself. A NaN in the branch that was not taken still makes NaN gradients in
    what computed it: replace the bad input before computing.

    The condition alone gives the places where it is not 0, as `nonzero(condition, as_tuple=True)` does. Eager only.

    >>> where(tensor([True, False]), tensor([1.0, 2.0]), 0)
    Tensor([1., 0.], f32[2]@cpu)
    """
    if x is None or y is None:
        if x is not y:
            raise TypeError(expected("where", "x and y, or neither", "one of them"))
        return nonzero(as_tensor(condition), as_tuple=True)
    first, second = as_tensors([x, y])
    common = common_dtype([first.type, second.type])
    return apply(WHERE, as_tensor(condition), cast(first, common), cast(second, common))
