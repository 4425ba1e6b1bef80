"""Facts of the ops behind `ops/batch_norm.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import float32, float64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.opset.infer import floating
from dtrain.opset.normalization import accumulation


def check_input(op: str, x: TensorType, *per_channel: TensorType) -> int:
    """The number of channels. Raises ShapeError unless all are [C]."""
    floating(op, x)
    if x.ndim < 2:
        raise ShapeError(expected(op, "x[N,C,…] of at least 2 axes", str(x)))
    for type in per_channel:
        if type.shape != x.shape[1:2]:
            raise ShapeError(expected(op, f"a value for each of {x.shape[1]} channels of {x}", str(type)))
    return x.shape[1]


def _packed(x: TensorType, size: int) -> TensorType:
    return x.with_(shape=(size,), dtype=accumulation(x.dtype))


def _channels(op: str, stats: TensorType) -> int:
    if stats.shape[-1] % 2 != 1:
        raise ShapeError(expected(op, "statistics of 2·C + 1 numbers", str(stats)))
    return (stats.shape[-1] - 1) // 2


def _timed(*inputs: str) -> list[Call]:
    """Inputs that benchmarks time, by letters: x, c for a number a channel, s for packed statistics."""
    found = []
    for x in ((16, 64, 16, 16), (16, 512, 2, 2), (256, 512)):
        shapes = {"x": x, "c": (x[1],), "s": (2 * x[1] + 1,)}
        found.append(large("x".join(map(str, x)), *(shapes[letter] for letter in inputs)))
    return found


# Forward --------------------------------------------------------------------------------------------------------------


def _infer_statistics(x: TensorType) -> TensorType:
    return _packed(x, 2 * check_input("batch_norm_statistics", x) + 1)


STATISTICS = register_op(
    Op(
        name="batch_norm_statistics",
        infer=_infer_statistics,
        calls=lambda: [
            Call(inputs=((4, 3, 2, 5),)),
            Call(inputs=((7, 2),), low=98.0, high=102.0),
            Call(inputs=((0, 3, 2, 2),)),
            *_timed(*"x"),
        ],
    )
)


def _infer_merge(gathered: TensorType) -> TensorType:
    _channels("batch_norm_merge", gathered)
    return gathered.with_(shape=gathered.shape[1:])


MERGE = register_op(
    Op(
        name="batch_norm_merge",
        infer=_infer_merge,
        dtypes=(float32, float64),
        calls=lambda: [
            Call(inputs=((3, 7),), low=0.5, high=4.0),
            Call(inputs=((1, 5),), low=0.5, high=4.0),
            large("8 ranks x 256", (8, 513)),
        ],
    )
)


def _infer_moments(stats: TensorType, *, eps: float) -> tuple[TensorType, TensorType, TensorType]:
    each = stats.with_(shape=(_channels("batch_norm_moments", stats),))
    return each, each, each


MOMENTS = register_op(
    Op(
        name="batch_norm_moments",
        infer=_infer_moments,
        dtypes=(float32, float64),
        calls=lambda: [Call(inputs=((7,),), attrs={"eps": 1e-5}, low=1.0, high=4.0), large("256", (513,), eps=1e-5)],
    )
)


def _infer_normalize(
    x: TensorType, mean: TensorType, inverse_std: TensorType, weight: TensorType, bias: TensorType
) -> TensorType:
    check_input("batch_norm_normalize", x, mean, inverse_std, weight, bias)
    return x


NORMALIZE = register_op(
    Op(
        name="batch_norm_normalize",
        infer=_infer_normalize,
        calls=lambda: [
            Call(inputs=((4, 3, 2, 5), (3,), (3,), (3,), (3,)), low=0.5),
            Call(inputs=((4, 2), (2,), (2,), (2,), (2,)), low=0.5),
            *_timed(*"xcccc"),
        ],
    )
)


def _infer_update_running(
    running_mean: TensorType, running_var: TensorType, stats: TensorType, *, momentum: float
) -> tuple[TensorType, TensorType]:
    wanted = (_channels("batch_norm_update_running", stats),)
    if running_mean.shape != wanted or running_var.shape != wanted:
        given = f"{running_mean} and {running_var}"
        raise ShapeError(expected("batch_norm_update_running", f"running values of shape {wanted}", given))
    return running_mean, running_var


UPDATE_RUNNING = register_op(
    Op(
        name="batch_norm_update_running",
        infer=_infer_update_running,
        aliases={0: 0, 1: 1},
        calls=lambda: [
            Call(inputs=((3,), (3,), (7,)), attrs={"momentum": 0.1}, low=2.0, high=4.0),
            large("256", (256,), (256,), (513,), momentum=0.1),
        ],
    )
)


# Backward -------------------------------------------------------------------------------------------------------------


def _infer_backward_sums(
    dy: TensorType, x: TensorType, mean: TensorType, inverse_std: TensorType
) -> tuple[TensorType, TensorType]:
    channels = check_input("batch_norm_backward_sums", x, mean, inverse_std)
    if dy is not x:
        raise ShapeError(expected("batch_norm_backward_sums", f"dy of type {x}", str(dy)))
    return _packed(x, channels), _packed(x, channels)


BACKWARD_SUMS = register_op(
    Op(
        name="batch_norm_backward_sums",
        infer=_infer_backward_sums,
        calls=lambda: [
            Call(inputs=((4, 3, 2, 5), (4, 3, 2, 5), (3,), (3,))),
            Call(inputs=((0, 2), (0, 2), (2,), (2,))),
            *_timed(*"xxcc"),
        ],
    )
)


def _infer_backward_data(
    dy: TensorType,
    x: TensorType,
    mean: TensorType,
    inverse_std: TensorType,
    weight: TensorType,
    grad_sums: TensorType,
    product_sums: TensorType,
    stats: TensorType,
) -> TensorType:
    channels = check_input("batch_norm_backward_data", x, mean, inverse_std, weight, grad_sums, product_sums)
    if dy is not x or stats.shape != (2 * channels + 1,):
        wanted = f"dy of type {x} and stats[{2 * channels + 1}]"
        raise ShapeError(expected("batch_norm_backward_data", wanted, f"{dy} and {stats}"))
    return x


BACKWARD_DATA = register_op(
    Op(
        name="batch_norm_backward_data",
        infer=_infer_backward_data,
        calls=lambda: [
            Call(inputs=((4, 3, 2, 5), (4, 3, 2, 5), (3,), (3,), (3,), (3,), (3,), (7,)), low=1.0, high=3.0),
            Call(inputs=((4, 2), (4, 2), (2,), (2,), (2,), (2,), (2,), (5,)), low=1.0, high=3.0),
            *_timed(*"xxcccccs"),
        ],
    )
)
