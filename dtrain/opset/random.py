"""The ops behind random numbers: (state) -> (values, new state), the new state in the memory of the old.

They are applied through `update` by `dtrain.core.random.Generator`, so that a stream is the same eagerly and traced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import FLOATS, INTEGERS, DType, bool_, float32, float64, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType, tensor_type
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large

_STATE = np.array([0x0123_4567_89AB_CDEF, 7], np.int64)


def _draw(
    name: str, kinds: tuple[DType, ...], *attributes: dict[str, Any], check: Callable[..., None] | None = None
) -> Op:
    """Register a draw of values of any shape whose dtype is one of `kinds`."""

    def infer(state: TensorType, *, shape: Shape, dtype: DType, device: Device, **attrs: Any) -> tuple[Any, ...]:
        if state.shape != (2,) or state.dtype is not int64:
            raise ShapeError(expected(name, "a generator state s64[2]", str(state)))
        if dtype not in kinds:
            raise DtypeError(expected(name, "dtype " + " ".join(kind.tag for kind in kinds), dtype.tag))
        if check is not None:
            check(**attrs)
        return tensor_type(shape, dtype, device=device), state

    def make_calls() -> list[Call]:
        common: dict[str, Any] = {"shape": (3, 5), "dtype": kinds[0], "device": CPU}
        shapes: list[Shape] = [(3, 5), (), (0, 2), (17,)]
        # The weights of a layer, and all of a small ResNet's.
        timed = [
            large(f"{size} as {kind.tag}", _STATE, **{**attributes[0], **common, "shape": (size,), "dtype": kind})
            for size in (1 << 14, 1 << 22)
            for kind in kinds
            if kind in (float32, float64)
        ]
        return [
            Call(inputs=(_STATE.copy(),), attrs={**common, **attrs, "shape": shape})
            for attrs in attributes
            for shape in (shapes if "shape" not in attrs else [attrs["shape"]])
        ] + timed

    return register_op(Op(name=name, infer=infer, calls=make_calls, beside=(0,), aliases={1: 0}))


def _check_probability(*, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(expected("random", "a probability in [0, 1]", str(p)))


def _check_range(*, low: int, high: int) -> None:
    if low >= high:
        raise ValueError(expected("randint", "low < high", f"low {low}, high {high}"))


UNIFORM = _draw("uniform", FLOATS, *({"low": -1.0, "high": 3.0, "dtype": dtype} for dtype in FLOATS))

NORMAL = _draw("normal", FLOATS, *({"mean": 1.0, "std": 2.0, "dtype": dtype} for dtype in FLOATS))

RANDINT = _draw("randint", INTEGERS, *({"low": 2, "high": 9, "dtype": dtype} for dtype in INTEGERS), check=_check_range)

PERMUTATION = _draw("permutation", (int64,), {"shape": (7,)}, {"shape": (0,)}, {"shape": (1,)})

DROPOUT_MASK = _draw(
    "dropout_mask", FLOATS, *({"p": 0.5, "dtype": dtype} for dtype in FLOATS), check=_check_probability
)

BERNOULLI = _draw(
    "bernoulli",
    (float32, bool_, *FLOATS, *INTEGERS),
    {"p": 0.3, "dtype": float32},
    {"p": 0.3, "dtype": bool_},
    {"p": 1.0, "dtype": int64},
    check=_check_probability,
)
