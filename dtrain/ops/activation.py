"""Activations. Their ops follow from the rows of `kernels/formula/table.py`; here is what users call."""

from __future__ import annotations

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.binary import minimum
from dtrain.ops.cast import as_floating
from dtrain.ops.formulas import differentiate
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import spread
from dtrain.ops.shape import reshape
from dtrain.ops.unary import erf, exp, tanh
from dtrain.ops.where import where
from dtrain.opset.activation import GELU, GELU_BACKWARD
from dtrain.opset.formulas import OPS

# The tanh form of GELU: √(2/π) · (x + 0.044715 x³) (Hendrycks, Gimpel 2016).
GELU_SCALE, GELU_CUBIC = 0.7978845608028654, 0.044715


def _gelu_second(grads: Tensor, x: Tensor, *, approximate: str) -> Tensor:
    if approximate == "none":
        return grads * exp(x * x * -0.5) * (2 - x * x) * 0.3989422804014327  # 1/√(2π)
    inner = tanh((x + x * x * x * GELU_CUBIC) * GELU_SCALE)
    slope = (x * x * (3 * GELU_CUBIC) + 1) * GELU_SCALE
    bend = x * (6 * GELU_CUBIC * GELU_SCALE)
    return grads * (1 - inner * inner) * (slope + x * 0.5 * (bend - inner * slope * slope * 2))


differentiate(GELU, GELU_BACKWARD, second=_gelu_second)


def relu(x: Tensor) -> Tensor:
    """max(x, 0). The gradient at 0 is 0. Integers stay integers.

    >>> relu(tensor([-1.0, 2.0]))
    Tensor([0., 2.], f32[2]@cpu)
    """
    if as_tensor(x).dtype.is_integer:
        return where(x > 0, x, 0)
    return apply(OPS["relu"], x)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6). The gradient at 0 and 6 is 0. Integers stay integers."""
    if as_tensor(x).dtype.is_integer:
        return minimum(relu(x), 6)
    return apply(OPS["relu6"], x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x, or negative_slope · x below 0."""
    return apply(OPS["leaky_relu"], x, negative_slope=float(negative_slope))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or alpha · (eˣ − 1) below 0."""
    return apply(OPS["elu"], x, alpha=float(alpha))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ). Integers and bools give f32."""
    return apply(OPS["sigmoid"], as_floating(x))


def logsigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)) = −softplus(−x), without overflow."""
    return -softplus(-x)


def silu(x: Tensor) -> Tensor:
    """x · sigmoid(x), also known as swish."""
    return apply(OPS["silu"], x)


def hsigmoid(x: Tensor) -> Tensor:
    """min(max(x + 3, 0), 6) / 6, the piecewise linear sigmoid of MobileNetV3."""
    return apply(OPS["hsigmoid"], x)


def hswish(x: Tensor) -> Tensor:
    """x · hsigmoid(x).

    >>> hswish(tensor([-4.0, 0.0, 4.0]))
    Tensor([-0.,  0.,  4.], f32[3]@cpu)
    """
    return apply(OPS["hswish"], x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float | None = None) -> Tensor:
    """log(1 + exp(beta·x)) / beta, without overflow; x itself where beta·x is above a `threshold`, if one is given."""
    y = apply(OPS["softplus"], x, beta=float(beta))
    return y if threshold is None else where(x * beta > threshold, x, y)


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|). Integers and bools give f32."""
    return apply(OPS["softsign"], as_floating(x))


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
