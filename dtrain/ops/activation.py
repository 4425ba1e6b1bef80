"""Activations, one row each: the op, its fused backward op, and the gradient of that.

Backward ops are `<name>_backward(grad, x or y)`: elementwise grad · f′. Their own gradient rule makes them
differentiable again: towards `grad` it is the same op, towards the saved tensor `second(grad · next grad, saved)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, Sample, register_op
from dtrain.ops.binary import minimum
from dtrain.ops.cast import as_floating
from dtrain.ops.infer import floating, same_dtype
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import spread
from dtrain.ops.shape import reshape
from dtrain.ops.unary import exp, neg, tanh, unary
from dtrain.ops.where import where

# The tanh form of GELU: √(2/π) · (x + 0.044715 x³) (Hendrycks, Gimpel 2016).
GELU_SCALE, GELU_CUBIC = 0.7978845608028654, 0.044715

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


def _activation(
    name: str, *, saves_output: bool = False, second: Second | None = None, attrs: Sequence[dict[str, Any]] = ({},)
) -> Op:
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


# Second derivatives ---------------------------------------------------------------------------------------------------


def _elu_second(grads: Tensor, x: Tensor, *, alpha: float) -> Tensor:
    return where(x > 0, 0, grads * exp(minimum(x, 0)) * alpha)


def _silu_second(grads: Tensor, x: Tensor) -> Tensor:
    gate = sigmoid(x)
    return grads * gate * (1 - gate) * (x * (1 - gate * 2) + 2)


def _hswish_second(grads: Tensor, x: Tensor) -> Tensor:
    return grads * cast((x > -3) & (x < 3), x.dtype) / 3


def _softplus_second(grads: Tensor, x: Tensor, *, beta: float) -> Tensor:
    gate = sigmoid(x * beta)
    return grads * gate * (1 - gate) * beta


def _gelu_second(grads: Tensor, x: Tensor, *, approximate: str) -> Tensor:
    if approximate == "none":
        return grads * exp(x * x * -0.5) * (2 - x * x) * 0.3989422804014327  # 1/√(2π)
    inner = tanh((x + x * x * x * GELU_CUBIC) * GELU_SCALE)
    slope = (x * x * (3 * GELU_CUBIC) + 1) * GELU_SCALE
    bend = x * (6 * GELU_CUBIC * GELU_SCALE)
    return grads * (1 - inner * inner) * (slope + x * 0.5 * (bend - inner * slope * slope * 2))


# The activations ------------------------------------------------------------------------------------------------------

RELU = _activation("relu", saves_output=True)
RELU6 = _activation("relu6", saves_output=True)
LEAKY_RELU = _activation("leaky_relu", attrs=[{"negative_slope": 0.01}, {"negative_slope": 0.3}])
ELU = _activation("elu", second=_elu_second, attrs=[{"alpha": 1.0}, {"alpha": 0.5}])
SIGMOID = _activation("sigmoid", saves_output=True, second=lambda grads, y: grads * (1 - y * 2))
SILU = _activation("silu", second=_silu_second)
HSIGMOID = _activation("hsigmoid", saves_output=True)
HSWISH = _activation("hswish", second=_hswish_second)
SOFTPLUS = _activation("softplus", second=_softplus_second, attrs=[{"beta": 1.0}, {"beta": 2.0}])
GELU = _activation("gelu", second=_gelu_second, attrs=[{"approximate": "none"}, {"approximate": "tanh"}])
# tanh itself stands with the elementary functions.
_backward_op("tanh_backward", lambda grads, y: grads * y * -2, ({},))

erf = unary("erf", "2/√π · ∫₀ˣ exp(−t²) dt.", by_input=lambda g, x: g * exp(neg(x * x)) * 1.1283791670955126)


def relu(x: Tensor) -> Tensor:
    """max(x, 0). The gradient at 0 is 0. Integers stay integers.

    >>> relu(tensor([-1.0, 2.0]))
    Tensor([0., 2.], f32[2]@cpu)
    """
    if as_tensor(x).dtype.is_integer:
        return where(x > 0, x, 0)
    return apply(RELU, x)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6). The gradient at 0 and 6 is 0. Integers stay integers."""
    if as_tensor(x).dtype.is_integer:
        return minimum(relu(x), 6)
    return apply(RELU6, x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x, or negative_slope · x below 0."""
    return apply(LEAKY_RELU, x, negative_slope=float(negative_slope))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or alpha · (eˣ − 1) below 0."""
    return apply(ELU, x, alpha=float(alpha))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ). Integers and bools give f32."""
    return apply(SIGMOID, as_floating(x))


def logsigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)) = −softplus(−x), without overflow."""
    return -softplus(-x)


def silu(x: Tensor) -> Tensor:
    """x · sigmoid(x), also known as swish."""
    return apply(SILU, x)


def hsigmoid(x: Tensor) -> Tensor:
    """min(max(x + 3, 0), 6) / 6, the piecewise linear sigmoid of MobileNetV3."""
    return apply(HSIGMOID, x)


def hswish(x: Tensor) -> Tensor:
    """x · hsigmoid(x).

    >>> hswish(tensor([-4.0, 0.0, 4.0]))
    Tensor([-0.,  0.,  4.], f32[3]@cpu)
    """
    return apply(HSWISH, x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float | None = None) -> Tensor:
    """log(1 + exp(beta·x)) / beta, without overflow; x itself where beta·x is above a `threshold`, if one is given."""
    y = apply(SOFTPLUS, x, beta=float(beta))
    return y if threshold is None else where(x * beta > threshold, x, y)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x · Φ(x), Φ the standard normal distribution function; `approximate="tanh"` is the cheaper tanh form."""
    if approximate not in ("none", "tanh"):
        raise DtypeError(expected("gelu", "approximate 'none' or 'tanh'", repr(approximate)))
    return apply(GELU, x, approximate=approximate)


@rounded_once
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x, or weight · x below 0; the gradient at 0 is that of below.

    Args:
        weight: one slope (shape [] or [1]), or one a channel, [C], where x is [N,C,…].

    >>> prelu(tensor([[-2.0, 4.0]]), tensor([0.5]))
    Tensor([[-1.,  4.]], f32[1,2]@cpu)
    """
    if weight.size == 1:
        slope = reshape(weight, ())
    elif x.ndim >= 2 and weight.shape == x.shape[1:2]:
        slope = spread(weight, (0, *range(2, x.ndim)), x.shape)
    else:
        given = f"weight {weight.type} for x {x.type}"
        raise ShapeError(expected("prelu", "one weight, or one for each of the channels on axis 1", given))
    # No slope times ∞ in a branch that is not taken, and the same slope at 0 as below it.
    is_positive = x > 0
    return where(is_positive, x, 0.0) + slope * where(is_positive, 0.0, x)


install_methods({"relu": relu, "sigmoid": sigmoid, "erf": erf})
