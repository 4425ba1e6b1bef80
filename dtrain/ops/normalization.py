"""Normalization within a sample: layer, group, instance and root-mean-square norm, each one fused op there and back.

The fused gradients serve first derivatives. Where the gradient itself is differentiated (`create_graph`), the same
formula is composed of ordinary ops instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dtrain.base.dtype import DType, float32, float64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply_tuple, cast
from dtrain.core.context import is_grad_enabled
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import ones, zeros
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.ops.infer import as_int, floating
from dtrain.ops.reduction import sum_to_shape
from dtrain.ops.shape import as_sizes, reshape

Gradients = tuple[Tensor | None, ...]
Triple = tuple[TensorType, TensorType, TensorType]


def accumulation(dtype: DType) -> DType:
    """In which dtype statistics are kept: f32 for the short floats, else the dtype itself."""
    return float64 if dtype is float64 else float32


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


def _trailing(op: str, x: TensorType, *parameters: TensorType) -> Shape:
    """The axes of x before those that are normalized; the parameters have the shape of the latter."""
    floating(op, x)
    shape = parameters[0].shape
    for type in parameters:
        if not shape or type.shape != shape or x.shape[-len(shape) :] != shape or prod(shape) == 0:
            advice = "normalized_shape, weight and bias have the shape of the last axes of x"
            raise ShapeError(expected(op, f"weight and bias of shape {shape} that end {x}", str(type), advice))
    return x.shape[: x.ndim - len(shape)]


def _infer_layer_norm(x: TensorType, weight: TensorType, bias: TensorType, *, eps: float) -> Triple:
    rows = _trailing("layer_norm", x, weight, bias)
    statistics = x.with_(shape=rows, dtype=accumulation(x.dtype))
    return x, statistics, statistics


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


# Rows and sizes of a small Transformer, which benchmarks time.
_LARGE = ((16 * 8 * 64, 64), (16 * 64, 512))

LAYER_NORM = register_op(
    Op(
        name="layer_norm",
        infer=_infer_layer_norm,
        grad=_grad_layer_norm,
        saves_outputs=(1, 2),
        calls=lambda: [
            Call(inputs=((4, 6), (6,), (6,)), attrs={"eps": 1e-5}, tags=("no gradient",)),
            Call(inputs=((2, 3, 4), (3, 4), (3, 4)), attrs={"eps": 1e-5}, tags=("no gradient",)),
            Call(inputs=((0, 6), (6,), (6,)), attrs={"eps": 1e-5}, tags=("no gradient",)),
            *(large(f"{rows}x{size}", (rows, size), (size,), (size,), eps=1e-5) for rows, size in _LARGE),
        ],
    )
)


def _infer_layer_norm_backward(
    grad: TensorType, x: TensorType, mean: TensorType, inverse_std: TensorType, weight: TensorType
) -> Triple:
    rows = _trailing("layer_norm_backward", x, weight)
    if grad is not x or mean.shape != rows or inverse_std.shape != rows:
        wanted = f"a gradient of type {x} and statistics of shape {rows}"
        raise ShapeError(expected("layer_norm_backward", wanted, f"{grad}, {mean} and {inverse_std}"))
    return x, weight, weight


LAYER_NORM_BACKWARD = register_op(
    Op(
        name="layer_norm_backward",
        infer=_infer_layer_norm_backward,
        calls=lambda: [
            Call(inputs=((4, 6), (4, 6), (4,), (4,), (6,)), low=0.5),
            Call(inputs=((2, 3, 4), (2, 3, 4), (2,), (2,), (3, 4)), low=0.5),
            Call(inputs=((0, 6), (0, 6), (0,), (0,), (6,))),
            *(large(f"{n}x{size}", (n, size), (n, size), (n,), (n,), (size,)) for n, size in _LARGE),
        ],
    )
)


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


def _grouped(op: str, x: TensorType, num_groups: int, *parameters: TensorType) -> TensorType:
    """The type of the statistics, [N, G]."""
    floating(op, x)
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups or prod(x.shape[1:]) == 0:
        wanted = "x[N,C,…] with num_groups that divide C"
        raise ShapeError(expected(op, wanted, f"{x} with num_groups={num_groups}"))
    for type in parameters:
        if type.shape != x.shape[1:2]:
            raise ShapeError(expected(op, f"weight and bias of shape {x.shape[1:2]} for {x}", str(type)))
    return x.with_(shape=(x.shape[0], num_groups), dtype=accumulation(x.dtype))


def _infer_group_norm(x: TensorType, weight: TensorType, bias: TensorType, *, num_groups: int, eps: float) -> Triple:
    statistics = _grouped("group_norm", x, num_groups, weight, bias)
    return x, statistics, statistics


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


GROUP_NORM = register_op(
    Op(
        name="group_norm",
        infer=_infer_group_norm,
        grad=_grad_group_norm,
        saves_outputs=(1, 2),
        calls=lambda: [
            Call(inputs=((2, 6, 3, 2), (6,), (6,)), attrs={"num_groups": 3, "eps": 1e-5}, tags=("no gradient",)),
            Call(inputs=((3, 4), (4,), (4,)), attrs={"num_groups": 1, "eps": 1e-5}, tags=("no gradient",)),
            Call(inputs=((0, 4, 3), (4,), (4,)), attrs={"num_groups": 2, "eps": 1e-5}, tags=("no gradient",)),
        ],
    )
)


def _infer_group_norm_backward(
    grad: TensorType,
    x: TensorType,
    mean: TensorType,
    inverse_std: TensorType,
    weight: TensorType,
    *,
    num_groups: int,
) -> Triple:
    statistics = _grouped("group_norm_backward", x, num_groups, weight)
    if grad is not x or mean.shape != statistics.shape or inverse_std.shape != statistics.shape:
        wanted = f"a gradient of type {x} and statistics of shape {statistics.shape}"
        raise ShapeError(expected("group_norm_backward", wanted, f"{grad}, {mean} and {inverse_std}"))
    return x, weight, weight


GROUP_NORM_BACKWARD = register_op(
    Op(
        name="group_norm_backward",
        infer=_infer_group_norm_backward,
        calls=lambda: [
            Call(inputs=((2, 6, 3, 2), (2, 6, 3, 2), (2, 3), (2, 3), (6,)), attrs={"num_groups": 3}, low=0.5),
            Call(inputs=((3, 4), (3, 4), (3, 1), (3, 1), (4,)), attrs={"num_groups": 1}, low=0.5),
            Call(inputs=((0, 4, 3), (0, 4, 3), (0, 2), (0, 2), (4,)), attrs={"num_groups": 2}),
        ],
    )
)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalize each sample of x[N,C,…] over groups of C / num_groups channels and all their places.

    Args:
        weight, bias: [C], or None for ones and zeros.
    """
    num_groups = as_int("group_norm", "num_groups", num_groups, 1)
    _grouped("group_norm", x.type, num_groups)
    weight, bias = _affine(x, x.shape[1:2], weight, bias)
    return apply_tuple(GROUP_NORM, x, weight, bias, num_groups=num_groups, eps=as_eps("group_norm", eps))[0]


# Root mean square -----------------------------------------------------------------------------------------------------


def _infer_rms_norm(x: TensorType, weight: TensorType, *, eps: float) -> tuple[TensorType, TensorType]:
    return x, x.with_(shape=_trailing("rms_norm", x, weight), dtype=accumulation(x.dtype))


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


RMS_NORM = register_op(
    Op(
        name="rms_norm",
        infer=_infer_rms_norm,
        grad=_grad_rms_norm,
        saves_outputs=(1,),
        calls=lambda: [
            Call(inputs=((4, 6), (6,)), attrs={"eps": 1e-5}, tags=("no gradient",)),
            Call(inputs=((2, 3, 4), (3, 4)), attrs={"eps": 1e-5}, tags=("no gradient",)),
        ],
    )
)


def _infer_rms_norm_backward(
    grad: TensorType, x: TensorType, inverse_rms: TensorType, weight: TensorType
) -> tuple[TensorType, TensorType]:
    rows = _trailing("rms_norm_backward", x, weight)
    if grad is not x or inverse_rms.shape != rows:
        wanted = f"a gradient of type {x} and statistics of shape {rows}"
        raise ShapeError(expected("rms_norm_backward", wanted, f"{grad} and {inverse_rms}"))
    return x, weight


RMS_NORM_BACKWARD = register_op(
    Op(
        name="rms_norm_backward",
        infer=_infer_rms_norm_backward,
        calls=lambda: [
            Call(inputs=((4, 6), (4, 6), (4,), (6,)), low=0.5),
            Call(inputs=((2, 3, 4), (2, 3, 4), (2,), (3, 4)), low=0.5),
        ],
    )
)


def rms_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """y = x / √(mean(x²) + eps) · weight over the last axes (Zhang, Sennrich 2019)."""
    if weight is None:
        weight = ones(as_sizes((normalized_shape,)), dtype=accumulation(x.dtype), device=x.device)
    return apply_tuple(RMS_NORM, x, weight, eps=as_eps("rms_norm", eps))[0]
