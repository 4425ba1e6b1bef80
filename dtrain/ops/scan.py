"""Running sums along an axis."""

from __future__ import annotations

from typing import Any

from dtrain.base.dtype import ALL, DTypeLike, as_dtype, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import Op, Sample, register_op
from dtrain.ops.infer import normalize_axis


def _infer(x: TensorType, *, axis: int, reverse: bool) -> TensorType:
    return x if x.dtype.is_floating else x.with_(dtype=int64)


def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(CUMSUM, grad, axis=node.attrs["axis"], reverse=not node.attrs["reverse"]),)


def _samples() -> list[Sample]:
    cases = (((7,), 0, False), ((2, 5, 3), 1, True), ((2, 3), 1, False), ((0, 3), 0, False))
    return [Sample(inputs=(shape,), attrs={"axis": axis, "reverse": reverse}) for shape, axis, reverse in cases]


CUMSUM = register_op(Op(name="cumsum", infer=_infer, grad=_grad, samples=_samples, dtypes=ALL, grad_reads="none"))


def cumsum(x: Any, axis: int, *, reverse: bool = False, dtype: DTypeLike | None = None) -> Tensor:
    """The sums of the first 1, 2, … elements along `axis`, of the last ones with `reverse`; integers give s64.

    With a `dtype` the elements are cast to it first, and so are the sums.

    >>> cumsum(tensor([1, 2, 3]), 0)
    Tensor([1, 3, 6], s64[3]@cpu)
    """
    tensor = as_tensor(x)
    if tensor.ndim == 0:
        raise ShapeError(expected("cumsum", "a tensor with at least one axis", str(tensor.type)))
    tensor = tensor if dtype is None else cast(tensor, as_dtype(dtype))
    sums = apply(CUMSUM, tensor, axis=normalize_axis("cumsum", axis, tensor.ndim), reverse=reverse)
    return sums if dtype is None else cast(sums, as_dtype(dtype))


install_methods({"cumsum": cumsum})
