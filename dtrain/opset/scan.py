"""Facts of the ops behind `ops/scan.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL, int64
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import normalize_axis


def _infer(x: TensorType, *, axis: int, reverse: bool) -> TensorType:
    normalize_axis("cumsum", axis, x.ndim)
    return x if x.dtype.is_floating else x.with_(dtype=int64)


def _calls() -> list[Call]:
    cases = (((7,), 0, False), ((2, 5, 3), 1, True), ((2, 3), 1, False), ((0, 3), 0, False))
    return [Call(inputs=(shape,), attrs={"axis": axis, "reverse": reverse}) for shape, axis, reverse in cases]


CUMSUM = register_op(Op(name="cumsum", infer=_infer, calls=_calls, dtypes=ALL, grad_reads="none"))


def _infer_cumprod(x: TensorType, *, axis: int) -> TensorType:
    normalize_axis("cumprod", axis, x.ndim)
    return _infer(x, axis=axis, reverse=False)


CUMPROD = register_op(
    Op(
        name="cumprod",
        infer=_infer_cumprod,
        calls=lambda: [
            Call(inputs=(shape,), attrs={"axis": axis})
            for shape, axis in (((7,), 0), ((2, 5, 3), 1), ((2, 1), 1), ((0, 3), 0))
        ],
        dtypes=ALL,
    )
)
