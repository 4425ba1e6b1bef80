"""Facts of the ops behind `ops/reduction.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

from dtrain.base.dtype import ALL, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.opset.infer import boolean, floating, normalize_axes, reduced_shape

Axes = tuple[int, ...]


# Shapes there and back ------------------------------------------------------------------------------------------------


def _sum_to_shape_infer(x: TensorType, *, shape: Shape) -> TensorType:
    missing = x.ndim - len(shape)
    if missing < 0 or builtins.any(b not in (a, 1) for a, b in zip(x.shape[missing:], shape)):
        raise ShapeError(expected("sum_to_shape", f"a shape that broadcasts to {x.shape}", str(shape)))
    return x.with_(shape=shape)


SUM_TO_SHAPE = register_op(
    Op(
        name="sum_to_shape",
        infer=_sum_to_shape_infer,
        calls=lambda: [
            Call(inputs=((4, 2, 3),), attrs={"shape": (2, 1)}),
            Call(inputs=((2, 3),), attrs={"shape": ()}),
            Call(inputs=((0, 3),), attrs={"shape": (1, 3)}),
            large("16x64x256 to 256", (16, 64, 256), shape=(256,)),
            large("1024x1024 to 1024", (1024, 1024), shape=(1024,)),
            large("16x64x32x32 to 64x1x1", (16, 64, 32, 32), shape=(64, 1, 1)),
        ],
        dtypes=ALL,
        grad_reads="none",
    )
)


def _spread_infer(x: TensorType, *, axis: Axes, shape: Shape) -> TensorType:
    return x.with_(shape=shape)


SPREAD = register_op(
    Op(
        name="spread",
        infer=_spread_infer,
        calls=lambda: [
            Call(inputs=((2, 3),), attrs={"axis": (1,), "shape": (2, 4, 3)}),
            Call(inputs=((2, 1),), attrs={"axis": (), "shape": (4, 2, 3)}),
            Call(inputs=((),), attrs={"axis": (0, 1), "shape": (2, 3)}),
        ],
        dtypes=ALL,
    )
)


# The reductions -------------------------------------------------------------------------------------------------------


SHAPES: list[tuple[Shape, Axes, bool]] = [
    ((2, 3, 4), (1,), False),
    ((2, 3, 4), (0, 2), True),
    ((7,), (0,), False),
    ((), (), False),
]

EMPTY_SHAPES: list[tuple[Shape, Axes, bool]] = [((0, 3), (0,), False), ((3, 0), (0,), False)]


def calls_over(cases: Sequence[tuple[Shape, Axes, bool]], **options: Any) -> Callable[[], list[Call]]:
    return lambda: [
        Call(inputs=(shape,), attrs={"axis": axis, "keepdims": keepdims}, **options) for shape, axis, keepdims in cases
    ]


def _and_large(calls: Callable[[], list[Call]]) -> Callable[[], list[Call]]:
    """What compiled kernels are timed on: a loss, the channels of images, rows, columns."""
    timed: list[tuple[str, Shape, Axes]] = [
        ("8x64x56x56", (8, 64, 56, 56), (0, 1, 2, 3)),
        ("channels of 16x128x28x28", (16, 128, 28, 28), (0, 2, 3)),
        ("planes of 16x512x7x7", (16, 512, 7, 7), (2, 3)),
        ("rows of 16x64x256", (16, 64, 256), (2,)),
        ("columns of 1024x1024", (1024, 1024), (0,)),
        ("classes of 8x21x64x64", (8, 21, 64, 64), (1,)),
    ]
    return lambda: [*calls(), *(large(label, x, axis=axis, keepdims=False) for label, x, axis in timed)]


def reduction(name: str, result: Callable[[TensorType], TensorType], **opts: Any) -> Op:
    def infer(x: TensorType, *, axis: Axes, keepdims: bool) -> TensorType:
        return result(x).with_(shape=reduced_shape(x.shape, normalize_axes(name, axis, x.ndim), keepdims))

    return register_op(Op(name=name, infer=infer, **opts))


def widened(x: TensorType) -> TensorType:
    """Integers and bools add up in s64."""
    return x if x.dtype.is_floating else x.with_(dtype=int64)


SUM = reduction("sum", widened, calls=_and_large(calls_over(SHAPES + EMPTY_SHAPES)), dtypes=ALL, grad_reads="none")

MEAN = reduction("mean", lambda x: floating("mean", x), calls=_and_large(calls_over(SHAPES)), grad_reads="none")

MAX = reduction("max", lambda x: x, calls=calls_over(SHAPES), dtypes=ALL, saves_outputs=True)

MIN = reduction("min", lambda x: x, calls=calls_over(SHAPES), dtypes=ALL, saves_outputs=True)

ANY = reduction("any", boolean, calls=calls_over(SHAPES + EMPTY_SHAPES), dtypes=ALL)

ALL_OF = reduction("all", boolean, calls=calls_over(SHAPES + EMPTY_SHAPES), dtypes=ALL)

LOGSUMEXP = reduction(
    "logsumexp",
    lambda x: floating("logsumexp", x),
    calls=calls_over(SHAPES),
    saves_outputs=True,
)
