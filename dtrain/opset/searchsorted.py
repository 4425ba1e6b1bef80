"""Facts of the ops behind `ops/searchsorted.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _infer(sorted_values: TensorType, x: TensorType, *, right: bool) -> TensorType:
    rows = sorted_values.shape[:-1]
    if sorted_values.ndim == 0 or (rows and x.shape[:-1] != rows):
        wanted = "sorted values [n], or rows of them [..., n] with as many rows of x [..., m]"
        raise ShapeError(expected("searchsorted", wanted, f"{sorted_values} and {x}"))
    return x.with_(dtype=int64)


SEARCHSORTED = register_op(
    Op(
        name="searchsorted",
        infer=_infer,
        promotes=True,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((1,), (2, 3)), attrs={"right": False}),
            Call(inputs=((2, 1), (2, 3)), attrs={"right": True}),
            Call(inputs=((0,), (3,)), attrs={"right": False}),
            Call(inputs=((1,), ()), attrs={"right": True}),
        ],
    )
)
