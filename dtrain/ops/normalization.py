"""Normalization within a sample: layer, group, instance and root-mean-square norm, each one fused op there and back.

The fused gradients serve first derivatives. Where the gradient itself is differentiated (`create_graph`), the same
formula is composed of ordinary ops instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dtrain.base.errors import expected
from dtrain.base.tensor_type import Shape
from dtrain.core.apply import apply_tuple, cast
from dtrain.core.context import is_grad_enabled
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import ones, zeros
from dtrain.graph.op import gradient_of
from dtrain.ops.reduction import sum_to_shape
from dtrain.ops.shape import as_sizes, reshape
from dtrain.opset.infer import as_int
from dtrain.opset.normalization import (
    GROUP_NORM,
    GROUP_NORM_BACKWARD,
    LAYER_NORM,
    LAYER_NORM_BACKWARD,
    RMS_NORM,
    RMS_NORM_BACKWARD,
    accumulation,
    grouped,
)

Gradients = tuple[Tensor | None, ...]


def standardized(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """(x̂, 1/√(variance + eps)) over these axes, composed of differentiable ops; in the accumulation dtype."""
    wide = cast(x, accumulation(x.dtype))
    centred = wide - wide.mean(axes, keepdims=True)
    inverse_std = 1 / ((centred * centred).mean(axes, keepdims=True) + eps).sqrt()
    return centred * inverse_std, inverse_std


def standardized_gradient(grad: Tensor, normal: Tensor, inverse_std: Tensor, axes: tuple[int, ...]) -> Tensor:
    """dx of x̂: (g − mean(g) − x̂ · mean(g · x̂)) / std, composed of differentiable ops."""
    along = (grad * normal).mean(axes, keepdims=True)
    return (grad - grad.mean(axes, keepdims=True) - normal * along) * inverse_std


def as_eps(op: str, eps: float, *, may_be_zero: bool = True) -> float:
    """eps as a float. Raises ValueError for one below 0: the root of a small variance would be NaN.

    Args:
        may_be_zero: 0 divides by the standard deviation itself, which batch norm refuses: a channel may be constant.
    """
    if not (eps >= 0 if may_be_zero else eps > 0):
        wanted = "eps of at least 0" if may_be_zero else "eps above 0"
        raise ValueError(expected(op, wanted, repr(eps)))
    return float(eps)


# Layer norm -----------------------------------------------------------------------------------------------------------


@gradient_of(LAYER_NORM)
def _grad_layer_norm(node: TapeNode, grad: Tensor, *_statistics: Tensor) -> Gradients:
    x, weight, bias = node.inputs
    if is_grad_enabled():
        return _composed_layer_norm_grad(grad, x, weight, bias, node.attrs["eps"])
    _, mean, inverse_std = node.outputs
    dx, dweight, dbias = apply_tuple(LAYER_NORM_BACKWARD, grad, x, mean, inverse_std, weight)
    return dx, dweight, cast(dbias, bias.dtype)


def _composed_layer_norm_grad(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Gradients:
    axes = tuple(range(x.ndim - weight.ndim, x.ndim))
    normal, inverse_std = standardized(x, axes, eps)
    wide = cast(grad, normal.dtype)
    dx = standardized_gradient(wide * cast(weight, normal.dtype), normal, inverse_std, axes)
    dweight = sum_to_shape(wide * normal, weight.shape)
    return cast(dx, x.dtype), cast(dweight, weight.dtype), cast(sum_to_shape(wide, bias.shape), bias.dtype)


def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x − mean) / √(variance + eps) · weight + bias over the last axes, `normalized_shape` of them.

    Args:
        weight, bias: of shape `normalized_shape`, or None for ones and zeros.
    """
    weight, bias = _affine(x, as_sizes((normalized_shape,)), weight, bias)
    return apply_tuple(LAYER_NORM, x, weight, bias, eps=as_eps("layer_norm", eps))[0]


def _affine(x: Tensor, shape: Shape, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    dtype = accumulation(x.dtype)
    return (
        ones(shape, dtype=dtype, device=x.device) if weight is None else weight,
        zeros(shape, dtype=dtype, device=x.device) if bias is None else bias,
    )


# Group norm -----------------------------------------------------------------------------------------------------------


@gradient_of(GROUP_NORM)
def _grad_group_norm(node: TapeNode, grad: Tensor, *_statistics: Tensor) -> Gradients:
    x, weight, bias = node.inputs
    num_groups = node.attrs["num_groups"]
    if is_grad_enabled():
        return _composed_group_norm_grad(grad, x, weight, bias, num_groups, node.attrs["eps"])
    _, mean, inverse_std = node.outputs
    dx, dweight, dbias = apply_tuple(GROUP_NORM_BACKWARD, grad, x, mean, inverse_std, weight, num_groups=num_groups)
    return dx, dweight, cast(dbias, bias.dtype)


def _composed_group_norm_grad(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float
) -> Gradients:
    batch, channels = x.shape[:2]
    places = prod(x.shape[2:])
    rows, planes = (batch, num_groups, channels // num_groups * places), (batch, channels, places)
    normal, inverse_std = standardized(reshape(x, rows), (2,), eps)
    wide = reshape(cast(grad, normal.dtype), planes)
    scaled = wide * reshape(cast(weight, normal.dtype), (1, channels, 1))
    dx = standardized_gradient(reshape(scaled, rows), normal, inverse_std, (2,))
    dweight = (wide * reshape(normal, planes)).sum((0, 2))
    return cast(reshape(dx, x.shape), x.dtype), cast(dweight, weight.dtype), cast(wide.sum((0, 2)), bias.dtype)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalize each sample of x[N,C,…] over groups of C / num_groups channels and all their places.

    Args:
        weight, bias: [C], or None for ones and zeros.
    """
    num_groups = as_int("group_norm", "num_groups", num_groups, 1)
    grouped("group_norm", x.type, num_groups)
    weight, bias = _affine(x, x.shape[1:2], weight, bias)
    return apply_tuple(GROUP_NORM, x, weight, bias, num_groups=num_groups, eps=as_eps("group_norm", eps))[0]


# Root mean square -----------------------------------------------------------------------------------------------------


@gradient_of(RMS_NORM)
def _grad_rms_norm(node: TapeNode, grad: Tensor, *_statistics: Tensor) -> Gradients:
    x, weight = node.inputs
    if is_grad_enabled():
        return _composed_rms_norm_grad(grad, x, weight, node.attrs["eps"])
    return apply_tuple(RMS_NORM_BACKWARD, grad, x, node.outputs[1], weight)


def _composed_rms_norm_grad(grad: Tensor, x: Tensor, weight: Tensor, eps: float) -> Gradients:
    axes = tuple(range(x.ndim - weight.ndim, x.ndim))
    wide = cast(x, accumulation(x.dtype))
    inverse = 1 / ((wide * wide).mean(axes, keepdims=True) + eps).sqrt()
    normal = wide * inverse
    grad = cast(grad, wide.dtype)
    scaled = grad * cast(weight, wide.dtype)
    dx = (scaled - normal * (scaled * normal).mean(axes, keepdims=True)) * inverse
    return cast(dx, x.dtype), cast(sum_to_shape(grad * normal, weight.shape), weight.dtype)


def rms_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """y = x / √(mean(x²) + eps) · weight over the last axes (Zhang, Sennrich 2019)."""
    if weight is None:
        weight = ones(as_sizes((normalized_shape,)), dtype=accumulation(x.dtype), device=x.device)
    return apply_tuple(RMS_NORM, x, weight, eps=as_eps("rms_norm", eps))[0]
