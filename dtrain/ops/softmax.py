"""Softmax and log-softmax along one axis, with fused backward ops."""

from __future__ import annotations

from dtrain.base.dtype import DTypeLike, as_dtype
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.ops.infer import floating, normalize_axis, same_dtype
from dtrain.ops.one_element import of_one_element
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.unary import exp

_CASES = (((2, 5), 1), ((4, 3, 2), 1), ((3, 4), 0), ((0, 3), 1), ((7,), 0))


def _softmax_infer(x: TensorType, *, axis: int) -> TensorType:
    normalize_axis("softmax", axis, x.ndim)
    return floating("softmax", x)


def _softmax_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(SOFTMAX_BACKWARD, grad, node.outputs[0], axis=node.attrs["axis"]),)


# Attention scores and hidden states of a small Transformer, which benchmarks time.
_LARGE = ((16 * 8 * 64, 64), (16 * 64, 512))


def _calls(num_inputs: int = 1) -> list[Call]:
    timed = [large("x".join(map(str, shape)), *(shape,) * num_inputs, axis=1) for shape in _LARGE]
    return [Call(inputs=(shape,) * num_inputs, attrs={"axis": axis}) for shape, axis in _CASES] + timed


SOFTMAX = register_op(Op(name="softmax", infer=_softmax_infer, grad=_softmax_grad, calls=_calls, saves_outputs=True))


def _backward_infer(grad: TensorType, y: TensorType, *, axis: int) -> TensorType:
    if grad.shape != y.shape:
        raise ShapeError(expected("softmax_backward", "grad and output of one shape", f"{grad} and {y}"))
    same_dtype("softmax_backward", grad, y)
    normalize_axis("softmax_backward", axis, y.ndim)
    return grad


def _softmax_backward_grad(node: TapeNode, next_grad: Tensor) -> tuple[Tensor, Tensor]:
    (grad, y), axis = node.inputs, node.attrs["axis"]
    weighted = next_grad * y
    towards_y = next_grad * (grad - sum_over(grad * y, axis, keepdims=True))
    return (
        apply(SOFTMAX_BACKWARD, next_grad, y, axis=axis),
        towards_y - grad * sum_over(weighted, axis, keepdims=True),
    )


def _backward_calls() -> list[Call]:
    return _calls(2)


SOFTMAX_BACKWARD = register_op(
    Op(name="softmax_backward", infer=_backward_infer, grad=_softmax_backward_grad, calls=_backward_calls)
)


def _log_softmax_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(LOG_SOFTMAX_BACKWARD, grad, node.outputs[0], axis=node.attrs["axis"]),)


LOG_SOFTMAX = register_op(
    Op(name="log_softmax", infer=_softmax_infer, grad=_log_softmax_grad, calls=_calls, saves_outputs=True)
)


def _log_softmax_backward_grad(node: TapeNode, next_grad: Tensor) -> tuple[Tensor, Tensor]:
    (grad, y), axis = node.inputs, node.attrs["axis"]
    weighted = next_grad * exp(y)
    total = sum_over(grad, axis, keepdims=True)
    return next_grad - sum_over(weighted, axis, keepdims=True), -weighted * total


LOG_SOFTMAX_BACKWARD = register_op(
    Op(name="log_softmax_backward", infer=_backward_infer, grad=_log_softmax_backward_grad, calls=_backward_calls)
)


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
