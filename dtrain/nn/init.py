"""Filling parameters in place: constants, uniform, normal, and the scaled forms that keep activations alive.

Numbers come from this thread's default generator (`dt.seed`) unless one is given; f16 and bf16 are drawn in f32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from dtrain.base import names
from dtrain.base.dtype import float32, float64
from dtrain.base.errors import ShapeError, expected
from dtrain.core.context import no_grad
from dtrain.core.random import Generator, default_generator
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import full_like

Mode = Literal["fan_in", "fan_out"]
_LEAST = 2.0**-53  # shares of a distribution that still have a place in it

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "conv": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Every element `value`. Returns the tensor."""
    with no_grad():
        return tensor.assign_(full_like(tensor, value))


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0. Returns the tensor."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1. Returns the tensor."""
    return constant_(tensor, 1)


def uniform_(tensor: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Uniform over [low, high). Returns the tensor."""
    wide = float64 if tensor.dtype is float64 else float32
    draw = (generator or default_generator()).uniform(tensor.shape, low, high, dtype=wide, device=tensor.device)
    with no_grad():
        return tensor.assign_(draw.to(tensor.dtype))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Normally distributed. Returns the tensor."""
    wide = float64 if tensor.dtype is float64 else float32
    draw = (generator or default_generator()).normal(tensor.shape, mean, std, dtype=wide, device=tensor.device)
    with no_grad():
        return tensor.assign_(draw.to(tensor.dtype))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed, drawn again where it falls outside of [a, b]: a and b are no numbers of std. Returns it.

    By the inverse of the distribution, which no bounds make slow.
    """
    if not a <= b or not std > 0:
        raise ValueError(expected("trunc_normal_", "a <= b and a std above 0", f"a {a}, b {b}, std {std}"))
    from statistics import NormalDist  # decimals and fractions: an import of dtrain does without

    normal = NormalDist(mean, std)
    low, high = normal.cdf(a), normal.cdf(b)
    if low == high:
        raise ValueError(expected("trunc_normal_", "bounds that numbers fall between", f"a {a}, b {b} of {normal}"))
    draw = (generator or default_generator()).uniform(tensor.shape, dtype=float64)
    shares = draw.numpy() * (high - low) + low
    numbers = [normal.inv_cdf(min(max(share, _LEAST), 1 - _LEAST)) for share in shares.reshape(-1).tolist()]
    return _write(tensor, np.clip(np.array(numbers, np.float64).reshape(tensor.shape), a, b))


def orthogonal_(tensor: Tensor, gain: float = 1, *, generator: Generator | None = None) -> Tensor:
    """gain times a random matrix with orthonormal rows, or columns where there are fewer (Saxe et al. 2013).

    Axes behind the first count as one. Returns the tensor.
    """
    if tensor.ndim < 2:
        raise ShapeError(expected("orthogonal_", "at least 2 axes", str(tensor.type)))
    if not tensor.size:
        return tensor
    rows, columns = tensor.shape[0], tensor.size // tensor.shape[0]
    shape = (max(rows, columns), min(rows, columns))
    drawn = (generator or default_generator()).normal(shape, dtype=float64).numpy()
    basis, triangle = np.linalg.qr(drawn)
    basis = basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)  # else not every rotation is as likely
    return _write(tensor, gain * (basis if rows >= columns else basis.T).reshape(tensor.shape))


def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere. Returns the tensor."""
    if tensor.ndim != 2:
        raise ShapeError(expected("eye_", "2 axes", str(tensor.type)))
    rows, columns = tensor.shape
    return _write(tensor, np.eye(rows, columns))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight [out, in, …kernel] that passes channels on, in each of `groups`. Returns the tensor."""
    if tensor.ndim not in (3, 4, 5) or groups < 1 or tensor.shape[0] % groups:
        wanted = "3 to 5 axes, and outputs that divide into groups"
        raise ShapeError(expected("dirac_", wanted, f"{tensor.type} in {groups} groups"))
    values = np.zeros(tensor.shape)
    outputs = tensor.shape[0] // groups
    center = tuple(size // 2 for size in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(outputs, tensor.shape[1])):
            place = (group * outputs + channel, channel, *center)
            values[place] = 1
    return _write(tensor, values)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, *, generator: Generator | None = None) -> Tensor:
    """Normal numbers, but zeros for a share `sparsity` of each column (Martens 2010). Returns the tensor."""
    if tensor.ndim != 2 or not 0 <= sparsity <= 1:
        raise ShapeError(expected("sparse_", "2 axes and a sparsity in [0, 1]", f"{tensor.type} and {sparsity}"))
    source = generator or default_generator()
    values = source.normal(tensor.shape, 0, std, dtype=float64).numpy().copy()
    order = np.argsort(source.uniform(tensor.shape, dtype=float64).numpy(), axis=0)
    np.put_along_axis(values, order[: math.ceil(sparsity * tensor.shape[0])], 0, axis=0)
    return _write(tensor, values)


def _write(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        return tensor.assign_(as_tensor(values, device=tensor.device).to(tensor.dtype))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Uniform over ±gain·√(6 / (fan_in + fan_out)) (Glorot, Bengio 2010). Returns the tensor."""
    bound = gain * math.sqrt(6 / sum(fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator=generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain·√(2 / (fan_in + fan_out)) (Glorot, Bengio 2010). Returns the tensor."""
    return normal_(tensor, 0, gain * math.sqrt(2 / sum(fan_in_and_fan_out(tensor))), generator=generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform over ±gain·√(3 / fan) (He et al. 2015). Returns the tensor.

    Args:
        a: slope of the leaky ReLU behind the layer.
        mode: keep the variance of activations (fan_in) or of gradients (fan_out).
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator=generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Normal with standard deviation gain/√fan (He et al. 2015); arguments as `kaiming_uniform_`."""
    return normal_(tensor, 0, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator)


def calculate_gain(nonlinearity: str, slope: float = 0.01) -> float:
    """By how much to scale weights in front of a nonlinearity so that the variance stays."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(expected("calculate_gain", f"one of leaky_relu, {', '.join(_GAINS)}", repr(nonlinearity)))
    return _GAINS[nonlinearity]


def fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Inputs per output and outputs per input of a weight [out, in, …kernel]."""
    if tensor.ndim < 2:
        raise ShapeError(expected("fan_in_and_fan_out", "a weight of at least 2 axes", str(tensor.type)))
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def _kaiming_std(tensor: Tensor, a: float, mode: Mode, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(expected("kaiming", "mode fan_in or fan_out", repr(mode)))
    fan = fan_in_and_fan_out(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return names.lookup("init", name, globals())
