"""Facts of the ops behind `ops/matmul.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import broadcast_shapes


def _matrix_shape(type: TensorType, transposed: bool) -> tuple[int, int]:
    rows, columns = type.shape[-2:]
    return (columns, rows) if transposed else (rows, columns)


def _infer(a: TensorType, b: TensorType, *, transpose_a: bool, transpose_b: bool) -> TensorType:
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(expected("matmul", "operands of at least 2 axes", f"{a} and {b}"))
    rows, inner_a = _matrix_shape(a, transpose_a)
    inner_b, columns = _matrix_shape(b, transpose_b)
    if inner_a != inner_b:
        given = f"{a.shape}{'ᵀ' if transpose_a else ''} and {b.shape}{'ᵀ' if transpose_b else ''}"
        raise ShapeError(expected("matmul", "inner sizes to agree", given, "transpose or reshape one of them"))
    batch = broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2])
    return a.with_(shape=(*batch, rows, columns))


def _calls() -> list[Call]:
    plain = {"transpose_a": False, "transpose_b": False}
    return [
        Call(inputs=((3, 4), (4, 5)), attrs=plain),
        Call(inputs=((4, 3), (5, 4)), attrs={"transpose_a": True, "transpose_b": True}),
        Call(inputs=((4, 3), (4, 5)), attrs={"transpose_a": True, "transpose_b": False}),
        Call(inputs=((3, 4), (5, 4)), attrs={"transpose_a": False, "transpose_b": True}),
        Call(inputs=((2, 1, 3, 4), (5, 4, 2)), attrs=plain),
        Call(inputs=((2, 3, 4), (4, 5)), attrs=plain),
        Call(inputs=((2, 3, 4), (5, 4)), attrs={"transpose_a": False, "transpose_b": True}),
        Call(inputs=((2, 4, 3), (2, 5, 4)), attrs={"transpose_a": True, "transpose_b": True}),
        Call(inputs=((2, 0), (0, 3)), attrs=plain),
        Call(inputs=((0, 3), (3, 2)), attrs=plain),
    ]


MATMUL = register_op(
    Op(
        name="matmul",
        infer=_infer,
        promotes=True,
        calls=_calls,
        dtypes=ALL,
        grad_reads="others",
    )
)
