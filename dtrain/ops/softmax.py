"""Softmax and log-softmax along one axis, with fused backward ops."""

from __future__ import annotations

from dtrain.base.dtype import DTypeLike, as_dtype
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.ops.one_element import of_one_element
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.unary import exp
from dtrain.opset.infer import normalize_axis
from dtrain.opset.softmax import LOG_SOFTMAX, LOG_SOFTMAX_BACKWARD, SOFTMAX, SOFTMAX_BACKWARD


@gradient_of(SOFTMAX)
def _softmax_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(SOFTMAX_BACKWARD, grad, node.outputs[0], axis=node.attrs["axis"]),)


@gradient_of(SOFTMAX_BACKWARD)
def _softmax_backward_grad(node: TapeNode, next_grad: Tensor) -> tuple[Tensor, Tensor]:
    (grad, y), axis = node.inputs, node.attrs["axis"]
    weighted = next_grad * y
    towards_y = next_grad * (grad - sum_over(grad * y, axis, keepdims=True))
    return (
        apply(SOFTMAX_BACKWARD, next_grad, y, axis=axis),
        towards_y - grad * sum_over(weighted, axis, keepdims=True),
    )


@gradient_of(LOG_SOFTMAX)
def _log_softmax_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(LOG_SOFTMAX_BACKWARD, grad, node.outputs[0], axis=node.attrs["axis"]),)


@gradient_of(LOG_SOFTMAX_BACKWARD)
def _log_softmax_backward_grad(node: TapeNode, next_grad: Tensor) -> tuple[Tensor, Tensor]:
    (grad, y), axis = node.inputs, node.attrs["axis"]
    weighted = next_grad * exp(y)
    total = sum_over(grad, axis, keepdims=True)
    return next_grad - sum_over(weighted, axis, keepdims=True), -weighted * total


def softmax(x: Tensor, axis: int = -1, *, dtype: DTypeLike | None = None) -> Tensor:
    """exp(x) / Σ exp(x) along `axis`, without overflow. With a `dtype` x is cast to it first.

    >>> softmax(tensor([0.0, 0.0]))
    Tensor([0.5, 0.5], f32[2]@cpu)
    """
    x = x if dtype is None else cast(as_tensor(x), as_dtype(dtype))
    if x.ndim == 0:
        return of_one_element(softmax, x, axis)
    return apply(SOFTMAX, x, axis=normalize_axis("softmax", axis, x.ndim))


def log_softmax(x: Tensor, axis: int = -1, *, dtype: DTypeLike | None = None) -> Tensor:
    """log(softmax(x)) along `axis`, exact where softmax itself would round to 0; of x cast to a `dtype`."""
    x = x if dtype is None else cast(as_tensor(x), as_dtype(dtype))
    if x.ndim == 0:
        return of_one_element(log_softmax, x, axis)
    return apply(LOG_SOFTMAX, x, axis=normalize_axis("log_softmax", axis, x.ndim))


install_methods({"softmax": softmax, "log_softmax": log_softmax})
