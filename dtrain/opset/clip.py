"""Facts of the ops behind `ops/clip.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import NUMBERS, bool_
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _clip_infer(x: TensorType, *, low: float | None, high: float | None) -> TensorType:
    if x.dtype is bool_:
        raise DtypeError(expected("clip", "numbers", str(x)))
    return x


def _clip_calls() -> list[Call]:
    limits: list[tuple[float | None, float | None]] = [(0, 1), (None, 1), (1, None)]
    return [Call(inputs=((4, 5),), attrs={"low": low, "high": high}) for low, high in limits]


CLIP = register_op(Op(name="clip", infer=_clip_infer, calls=_clip_calls, dtypes=NUMBERS))


computes_lane_by_lane(CLIP)
