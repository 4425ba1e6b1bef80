"""Activations that other ops compose."""

from __future__ import annotations

from dtrain.base.dtype import DTypeLike, as_dtype
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.ops.activation import elu, sigmoid, softplus
from dtrain.ops.clip import clip
from dtrain.ops.joining import chunk
from dtrain.ops.precision import rounded_once
from dtrain.ops.softmax import softmax
from dtrain.ops.unary import tanh
from dtrain.ops.where import where
from dtrain.opset.infer import normalize_axis

# Klambauer et al. 2017: with these, activations keep mean 0 and variance 1.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        given = f"{min_val} and {max_val}"
        raise ValueError(expected("hardtanh", "min_val no larger than max_val", given, "swap them"))
    return clip(x, min_val, max_val)


@rounded_once
def mish(x: Tensor) -> Tensor:
    """x · tanh(log(1 + eˣ)) (Misra 2019)."""
    return x * tanh(softplus(x))


@rounded_once
def selu(x: Tensor) -> Tensor:
    """scale · (x where x > 0, else alpha · (eˣ − 1)), scaled to keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return elu(x, _SELU_ALPHA) * _SELU_SCALE


@rounded_once
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha · (e^(x/alpha) − 1)."""
    # A large x would not come back from x/alpha.
    return where(x > 0, x, elu(where(x > 0, 0.0, x) / alpha, 1.0) * alpha)


@rounded_once
def tanhshrink(x: Tensor) -> Tensor:
    """x − tanh x."""
    return x - tanh(x)


def softmin(x: Tensor, axis: int = -1, *, dtype: DTypeLike | None = None) -> Tensor:
    """`softmax` of −x. With a `dtype` x is cast to it first."""
    return softmax(-(x if dtype is None else cast(as_tensor(x), as_dtype(dtype))), axis)


@rounded_once
def glu(x: Tensor, axis: int = -1) -> Tensor:
    """First half of an axis · sigmoid of its second half (Dauphin et al. 2017)."""
    axis = normalize_axis("glu", axis, x.ndim)
    if x.shape[axis] % 2:
        raise ShapeError(expected("glu", "an axis of even size", str(x.type)))
    values, gates = chunk(x, 2, axis)
    return values * sigmoid(gates)
