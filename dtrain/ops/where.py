"""A choice between two tensors, element by element."""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from dtrain.base.dtype import ALL, bool_
from dtrain.base.errors import DtypeError, expected
from dtrain.base.promotion import common_dtype
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply, as_tensors, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.ops.infer import broadcast_shapes, same_dtype
from dtrain.ops.nonzero import nonzero
from dtrain.ops.reduction import sum_to_shape


def _infer(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype is not bool_:
        raise DtypeError(expected("where", "a bool condition", str(condition), "compare it, such as x > 0"))
    same_dtype("where", x, y)
    return x.with_(shape=broadcast_shapes("where", condition.shape, x.shape, y.shape))


def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
    condition, x, y = node.inputs
    return (
        None,
        sum_to_shape(where(condition, grad, 0), x.shape) if node.needs_grad[1] else None,
        sum_to_shape(where(condition, 0, grad), y.shape) if node.needs_grad[2] else None,
    )


def _calls() -> list[Call]:
    mask = np.array([[True, False, True], [False, False, True]])
    return [
        Call(inputs=(mask, (2, 3), (2, 3))),
        Call(inputs=(mask, (4, 2, 1), (3,))),
        Call(inputs=(np.array(True), (), (5,))),
        Call(inputs=(np.zeros((0, 3), np.bool_), (1, 3), ())),
    ]


WHERE = register_op(Op(name="where", infer=_infer, grad=_grad, calls=_calls, dtypes=ALL, grad_reads="others"))
computes_lane_by_lane(WHERE)


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
