"""Matrix products: batched, broadcasting, with either operand transposed on the fly.

The transposes are attributes, so that gradients reach BLAS as flags instead of copies.
"""

from __future__ import annotations

from math import prod

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.ops.shape import reshape
from dtrain.opset.matmul import MATMUL

Gradient = Tensor | None


@gradient_of(MATMUL)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Gradient, Gradient]:
    a, b = node.inputs
    transpose_a, transpose_b = node.attrs["transpose_a"], node.attrs["transpose_b"]
    return (
        _grad_a(grad, a, b, transpose_a, transpose_b) if node.needs_grad[0] else None,
        _grad_b(grad, a, b, transpose_a, transpose_b) if node.needs_grad[1] else None,
    )


def _grad_a(grad: Tensor, a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    """With A = aᵀ or a: dA = dY·Bᵀ; where a was transposed, its gradient is dAᵀ = B·dYᵀ."""
    if transpose_a:
        return _sum_batch(_product(b, grad, transpose_b, True), a.shape)
    return _sum_batch(_product(grad, b, False, not transpose_b), a.shape)


def _grad_b(grad: Tensor, a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    """dB = Aᵀ·dY; where b was transposed, its gradient is dBᵀ = dYᵀ·A."""
    if b.ndim == 2 and a.ndim > 2 and not transpose_a:
        # One large product over all rows, instead of one product an image and a sum over them.
        rows = prod(a.shape[:-1])
        a, grad = reshape(a, (rows, a.shape[-1])), reshape(grad, (rows, grad.shape[-1]))
    if transpose_b:
        return _sum_batch(_product(grad, a, True, transpose_a), b.shape)
    return _sum_batch(_product(a, grad, not transpose_a, False), b.shape)


def _sum_batch(gradient: Tensor, shape: Shape) -> Tensor:
    if gradient.shape == shape:
        return gradient
    from dtrain.ops.reduction import sum_to_shape

    return sum_to_shape(gradient, shape)


def _product(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    return apply(MATMUL, a, b, transpose_a=transpose_a, transpose_b=transpose_b)


def matmul(a: Tensor, b: Tensor, *, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """The matrix product a·b over the last two axes; leading axes broadcast.

    A 1-d operand is a row on the left and a column on the right, and its axis is left out of the result. Integers
    wrap; f16 and bf16 accumulate in f32 and are rounded once.

    Args:
        a: [..., m, k], or [..., k, m] with `transpose_a`.
        b: [..., k, n], or [..., n, k] with `transpose_b`.

    >>> matmul(tensor([[1.0, 2.0]]), tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim >= 2 and b.ndim >= 2:
        return _product(a, b, transpose_a, transpose_b)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(expected("matmul", "operands of at least 1 axis", f"{a.type} and {b.type}", "use a * b"))
    rows = reshape(a, (1, a.size)) if a.ndim == 1 else a
    columns = reshape(b, (b.size, 1)) if b.ndim == 1 else b
    product = _product(rows, columns, transpose_a and a.ndim > 1, transpose_b and b.ndim > 1)
    kept = product.shape[:-2]
    kept += () if a.ndim == 1 else product.shape[-2:-1]
    kept += () if b.ndim == 1 else product.shape[-1:]
    return reshape(product, kept)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ a·b of two vectors of one length."""
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(expected("dot", "two vectors", f"{a.type} and {b.type}", "use matmul"))
    return matmul(a, b)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """The products of all pairs of elements of two vectors: result[i, j] = a[i] · b[j].

    >>> outer(tensor([1, 2]), tensor([3, 4])).tolist()
    [[3, 4], [6, 8]]
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(expected("outer", "two vectors", f"{a.type} and {b.type}", "flatten them"))
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


def _reflected(b: Tensor, a: Tensor) -> Tensor:
    return matmul(a, b)


install_methods({"matmul": matmul, "__matmul__": matmul, "__rmatmul__": _reflected})
