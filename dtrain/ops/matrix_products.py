"""Products of matrices and vectors, each for the shapes that its name says; `matmul` takes all of them."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops.matmul import matmul
from dtrain.ops.precision import rounded_once
from dtrain.ops.shape import broadcast_to, reshape, transpose


def _matrices(where_: str, x: Tensor, y: Tensor, *ndims: int) -> None:
    if (x.ndim, y.ndim) != ndims:
        wanted = " and ".join(f"{ndim} axes" for ndim in ndims)
        raise ShapeError(expected(where_, wanted, f"{x.type} and {y.type}", "use matmul, which broadcasts"))


def mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices."""
    _matrices("mm", a, b, 2, 2)
    return matmul(a, b)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """The products of two batches of matrices, [B, n, k] and [B, k, m]."""
    _matrices("bmm", a, b, 3, 3)
    if a.shape[0] != b.shape[0]:
        raise ShapeError(expected("bmm", "as many matrices on both sides", f"{a.type} and {b.type}", "use matmul"))
    return matmul(a, b)


def mv(a: Tensor, b: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _matrices("mv", a, b, 2, 1)
    return matmul(a, b)


@rounded_once
def addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·x + alpha·(a @ b). With a beta of 0 the elements of x do not matter."""
    return _added(x, mm(a, b), beta, alpha)


@rounded_once
def baddbmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·x + alpha·(a @ b) of batches, [B, n, k] and [B, k, m]. With a beta of 0 the elements of x do not matter."""
    return _added(x, bmm(a, b), beta, alpha)


def _added(x: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    x = broadcast_to(x, product.shape)
    product = product if alpha == 1 else product * alpha
    if beta == 0:  # NaN of x, which may be memory never filled, must not come through
        return product.to(x.dtype) if x.dtype.is_floating else product
    return (x if beta == 1 else x * beta) + product


def t(x: Tensor) -> Tensor:
    """A matrix transposed; of a vector or a number a view that shows it as it is."""
    if x.ndim > 2:
        raise ShapeError(expected("t", "at most 2 axes", str(x.type), "use transpose"))
    return transpose(x) if x.ndim == 2 else reshape(x, x.shape)


install_methods({function.__name__: function for function in (mm, bmm, mv, addmm, baddbmm, t)})
