"""Facts of the ops behind `ops/softmax.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.opset.infer import floating, normalize_axis, same_dtype

_CASES = (((2, 5), 1), ((4, 3, 2), 1), ((3, 4), 0), ((0, 3), 1), ((7,), 0))


def _softmax_infer(x: TensorType, *, axis: int) -> TensorType:
    normalize_axis("softmax", axis, x.ndim)
    return floating("softmax", x)


# Attention scores and hidden states of a small Transformer, and pixels of 21 classes, which benchmarks time.
_LARGE = ((16 * 8 * 64, 64), (16 * 64, 512), (8, 21, 64, 64))


def _calls(num_inputs: int = 1) -> list[Call]:
    timed = [large("x".join(map(str, shape)), *(shape,) * num_inputs, axis=1) for shape in _LARGE]
    return [Call(inputs=(shape,) * num_inputs, attrs={"axis": axis}) for shape, axis in _CASES] + timed


SOFTMAX = register_op(Op(name="softmax", infer=_softmax_infer, calls=_calls, saves_outputs=True))


def _backward_infer(grad: TensorType, y: TensorType, *, axis: int) -> TensorType:
    if grad.shape != y.shape:
        raise ShapeError(expected("softmax_backward", "grad and output of one shape", f"{grad} and {y}"))
    same_dtype("softmax_backward", grad, y)
    normalize_axis("softmax_backward", axis, y.ndim)
    return grad


def _backward_calls() -> list[Call]:
    return _calls(2)


SOFTMAX_BACKWARD = register_op(Op(name="softmax_backward", infer=_backward_infer, calls=_backward_calls))

LOG_SOFTMAX = register_op(Op(name="log_softmax", infer=_softmax_infer, calls=_calls, saves_outputs=True))

LOG_SOFTMAX_BACKWARD = register_op(Op(name="log_softmax_backward", infer=_backward_infer, calls=_backward_calls))
