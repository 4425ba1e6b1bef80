"""Running sums and products along an axis, and the differences of neighbours."""

from __future__ import annotations

from typing import Any

from dtrain.base.dtype import DTypeLike, as_dtype, bool_
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.core.tensor_factory import ones_like, zeros_like
from dtrain.graph.op import gradient_of
from dtrain.ops.cast import copy
from dtrain.ops.comparison import not_equal
from dtrain.ops.indexing import narrow
from dtrain.ops.joining import concat
from dtrain.ops.one_element import of_one_element
from dtrain.ops.precision import rounded_once
from dtrain.opset.infer import as_int, normalize_axis
from dtrain.opset.scan import CUMPROD, CUMSUM


@gradient_of(CUMSUM)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(CUMSUM, grad, axis=node.attrs["axis"], reverse=not node.attrs["reverse"]),)


def cumsum(x: Any, axis: int, *, reverse: bool = False, dtype: DTypeLike | None = None) -> Tensor:
    """The sums of the first 1, 2, … elements along `axis`, of the last ones with `reverse`; integers give s64.

    With a `dtype` the elements are cast to it first, and so are the sums.

    >>> cumsum(tensor([1, 2, 3]), 0)
    Tensor([1, 3, 6], s64[3]@cpu)
    """
    tensor = as_tensor(x)
    if tensor.ndim == 0:
        return of_one_element(cumsum, tensor, axis, reverse=reverse, dtype=dtype)
    tensor = tensor if dtype is None else cast(tensor, as_dtype(dtype))
    sums = apply(CUMSUM, tensor, axis=normalize_axis("cumsum", axis, tensor.ndim), reverse=reverse)
    return sums if dtype is None else cast(sums, as_dtype(dtype))


@gradient_of(CUMPROD)
@rounded_once
def _cumprod_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    """dx[k] = (x[0] … x[k−1]) · S[k] with S[k] = grad[k] + x[k+1] · S[k+1]: nothing divides, so zeros are no matter."""
    (x,), axis = node.inputs, node.attrs["axis"]
    size = x.shape[axis]
    if size == 0:
        return (grad,)
    one = ones_like(narrow(x, axis, 0, 1))
    before = concat([one, narrow(apply(CUMPROD, x, axis=axis), axis, 0, size - 1)], axis)
    factor, total = concat([narrow(x, axis, 1, size - 1), zeros_like(one)], axis), grad
    step = 1
    while step < size:  # S over 1, 2, 4 … neighbours
        ends = zeros_like(narrow(total, axis, 0, step))
        total = total + factor * concat([narrow(total, axis, step, size - step), ends], axis)
        factor = factor * concat([narrow(factor, axis, step, size - step), ends], axis)
        step *= 2
    return (before * total,)


def cumprod(x: Any, axis: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """The products of the first 1, 2, … elements along `axis`; integers give s64. The gradient is right beside zeros.

    With a `dtype` the elements are cast to it first, and so are the products.

    >>> cumprod(tensor([1, 2, 3]), 0)
    Tensor([1, 2, 6], s64[3]@cpu)
    """
    tensor = as_tensor(x)
    if tensor.ndim == 0:
        return of_one_element(cumprod, tensor, axis, dtype=dtype)
    tensor = tensor if dtype is None else cast(tensor, as_dtype(dtype))
    products = apply(CUMPROD, tensor, axis=normalize_axis("cumprod", axis, tensor.ndim))
    return products if dtype is None else cast(products, as_dtype(dtype))


@rounded_once
def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """x[i + 1] − x[i] along `axis`, n times over: one element less each time. Of bools, where neighbours differ.

    Args:
        prepend, append: tensors to join to x along the axis first.

    >>> diff(tensor([1, 3, 2])).tolist()
    [2, -1]
    """
    tensor = as_tensor(x)
    axis = normalize_axis("diff", axis, tensor.ndim)
    if n == 0:
        return copy(tensor)
    parts = [as_tensor(part) for part in (prepend, x, append) if part is not None]
    tensor = concat(parts, axis) if len(parts) > 1 else tensor
    for _ in range(min(as_int("diff", "n", n, 0), tensor.shape[axis])):
        left = tensor.shape[axis] - 1
        upper, lower = narrow(tensor, axis, 1, left), narrow(tensor, axis, 0, left)
        tensor = not_equal(upper, lower) if tensor.dtype is bool_ else upper - lower
    return tensor


install_methods({"cumsum": cumsum, "cumprod": cumprod, "diff": diff})
