"""Facts of the ops behind `ops/normalization.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from math import prod

from dtrain.base.dtype import DType, float32, float64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.opset.infer import floating

Triple = tuple[TensorType, TensorType, TensorType]


def accumulation(dtype: DType) -> DType:
    """In which dtype statistics are kept: f32 for the short floats, else the dtype itself."""
    return float64 if dtype is float64 else float32


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


# Rows and sizes of a small Transformer, which benchmarks time.
_LARGE = ((16 * 8 * 64, 64), (16 * 64, 512))

LAYER_NORM = register_op(
    Op(
        name="layer_norm",
        infer=_infer_layer_norm,
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


# Group norm -----------------------------------------------------------------------------------------------------------


def grouped(op: str, x: TensorType, num_groups: int, *parameters: TensorType) -> TensorType:
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
    statistics = grouped("group_norm", x, num_groups, weight, bias)
    return x, statistics, statistics


GROUP_NORM = register_op(
    Op(
        name="group_norm",
        infer=_infer_group_norm,
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
    statistics = grouped("group_norm_backward", x, num_groups, weight)
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


# Root mean square -----------------------------------------------------------------------------------------------------


def _infer_rms_norm(x: TensorType, weight: TensorType, *, eps: float) -> tuple[TensorType, TensorType]:
    return x, x.with_(shape=_trailing("rms_norm", x, weight), dtype=accumulation(x.dtype))


RMS_NORM = register_op(
    Op(
        name="rms_norm",
        infer=_infer_rms_norm,
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
