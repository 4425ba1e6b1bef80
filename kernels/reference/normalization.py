"""References of layer, group and root-mean-square norm: rows are normalized, then scaled.

Shapes: rows[R,D] of the normalized elements, statistics [R] in the accumulation dtype.
"""

from __future__ import annotations

from math import prod

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference


def _standardize(rows: Array, mean: Array, inverse_std: Array, eps: float) -> Array:
    """x̂ of rows[R,D]; writes the statistics."""
    xp = array_module(rows)
    centred = rows - rows.mean(axis=1, keepdims=True)
    inverse = 1 / xp.sqrt(xp.square(centred).mean(axis=1) + eps)
    mean[...] = rows.mean(axis=1).reshape(mean.shape)
    inverse_std[...] = inverse.reshape(inverse_std.shape)
    return centred * inverse[:, None]


def _standardized(rows: Array, mean: Array, inverse_std: Array) -> Array:
    """x̂ of rows[R,D] with known statistics."""
    return (rows - mean.reshape(-1, 1)) * inverse_std.reshape(-1, 1)


def _gradient(grad: Array, normal: Array, inverse_std: Array) -> Array:
    """dx = (g − mean(g) − x̂ · mean(g · x̂)) / std for each row."""
    centred = grad - grad.mean(axis=1, keepdims=True)
    return (centred - normal * (grad * normal).mean(axis=1, keepdims=True)) * inverse_std.reshape(-1, 1)


def _rows(x: Array, weight: Array) -> Array:
    return widen(x).reshape(prod(x.shape[: x.ndim - weight.ndim]), weight.size)


def _flat(weight: Array) -> Array:
    return widen(weight).reshape(1, -1)


@reference("layer_norm")
def layer_norm(x: Array, weight: Array, bias: Array, out: tuple[Array, Array, Array], *, eps: float) -> None:
    """(y, mean, 1/std) over the last axes, as many as weight has."""
    y, mean, inverse_std = out
    normal = _standardize(_rows(x, weight), mean, inverse_std, eps)
    store(y, (normal * _flat(weight) + _flat(bias)).reshape(x.shape))


@reference("layer_norm_backward")
def layer_norm_backward(
    grad: Array, x: Array, mean: Array, inverse_std: Array, weight: Array, out: tuple[Array, Array, Array]
) -> None:
    """(dx, dweight, dbias)."""
    dx, dweight, dbias = out
    rows = _rows(grad, weight)
    normal = _standardized(_rows(x, weight), mean, inverse_std)
    store(dx, _gradient(rows * _flat(weight), normal, inverse_std).reshape(x.shape))
    store(dweight, (rows * normal).sum(axis=0).reshape(weight.shape))
    store(dbias, rows.sum(axis=0).reshape(weight.shape))


def _groups(x: Array, num_groups: int) -> Array:
    batch = x.shape[0]
    return widen(x).reshape(batch * num_groups, prod(x.shape[1:]) // num_groups)


def _planes(x: Array, like: Array) -> Array:
    """[N,C,S], to meet a value per channel."""
    return x.reshape(like.shape[0], like.shape[1], prod(like.shape[2:]))


@reference("group_norm")
def group_norm(
    x: Array, weight: Array, bias: Array, out: tuple[Array, Array, Array], *, num_groups: int, eps: float
) -> None:
    """(y, mean[N,G], 1/std[N,G]) over groups of channels of x[N,C,…]."""
    y, mean, inverse_std = out
    normal = _standardize(_groups(x, num_groups), mean, inverse_std, eps)
    scaled = _planes(normal, x) * widen(weight)[:, None] + widen(bias)[:, None]
    store(y, scaled.reshape(x.shape))


@reference("group_norm_backward")
def group_norm_backward(
    grad: Array,
    x: Array,
    mean: Array,
    inverse_std: Array,
    weight: Array,
    out: tuple[Array, Array, Array],
    *,
    num_groups: int,
) -> None:
    """(dx, dweight, dbias)."""
    dx, dweight, dbias = out
    planes = _planes(widen(grad), x)
    normal = _standardized(_groups(x, num_groups), mean, inverse_std)
    scaled = (planes * widen(weight)[:, None]).reshape(normal.shape)
    store(dx, _gradient(scaled, normal, inverse_std).reshape(x.shape))
    store(dweight, (planes * _planes(normal, x)).sum(axis=(0, 2)))
    store(dbias, planes.sum(axis=(0, 2)))


@reference("rms_norm")
def rms_norm(x: Array, weight: Array, out: tuple[Array, Array], *, eps: float) -> None:
    """(y, 1/rms) over the last axes, as many as weight has."""
    xp = array_module(x)
    y, inverse_rms = out
    rows = _rows(x, weight)
    inverse = 1 / xp.sqrt(xp.square(rows).mean(axis=1) + eps)
    inverse_rms[...] = inverse.reshape(inverse_rms.shape)
    store(y, (rows * inverse[:, None] * _flat(weight)).reshape(x.shape))


@reference("rms_norm_backward")
def rms_norm_backward(grad: Array, x: Array, inverse_rms: Array, weight: Array, out: tuple[Array, Array]) -> None:
    """(dx, dweight); dx = (g − x̂ · mean(g · x̂)) / rms."""
    dx, dweight = out
    rows, inverse = _rows(grad, weight), inverse_rms.reshape(-1, 1)
    normal = _rows(x, weight) * inverse
    scaled = rows * _flat(weight)
    store(dx, ((scaled - normal * (scaled * normal).mean(axis=1, keepdims=True)) * inverse).reshape(x.shape))
    store(dweight, (rows * normal).sum(axis=0).reshape(weight.shape))
