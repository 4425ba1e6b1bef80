"""How often each number comes."""

from __future__ import annotations

from dtrain.base.dtype import float32, float64, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.core.tensor_factory import ones, zeros
from dtrain.ops.gather_scatter import scatter_add
from dtrain.ops.value_checks import in_range
from dtrain.opset.infer import as_int


def bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often 0, 1, … max(x) come in a vector of integers, or the sums of their weights. Eager only.

    Args:
        x: none below 0.
        weights: as many as x has; sums of f32 are f32, of others f64. No gradient flows.
        minlength: give at least so many counts.

    >>> bincount(tensor([1, 3, 1])).tolist()
    [0, 2, 0, 1]
    """
    x = as_tensor(x)
    if not x.dtype.is_integer:
        raise DtypeError(expected("bincount", "integers", str(x.type)))
    if x.ndim != 1 or (weights is not None and as_tensor(weights).shape != x.shape):
        given = f"{x.type}" + ("" if weights is None else f" and {as_tensor(weights).type}")
        raise ShapeError(expected("bincount", "a vector, and weights of its length", given))
    length = as_int("bincount", "minlength", minlength, 0)
    if x.type.size:
        length = max(length, int(x.detach().numpy().max()) + 1)
    if weights is None:
        sources = ones(x.shape, dtype=int64, device=x.device)
    else:
        sources = as_tensor(weights).detach()
        sources = sources if sources.dtype is float32 else cast(sources, float64)
    places = in_range(cast(x, int64), length, where="bincount", what="numbers")
    return scatter_add(zeros(length, dtype=sources.dtype, device=x.device), 0, places, sources)


install_methods({"bincount": bincount})
