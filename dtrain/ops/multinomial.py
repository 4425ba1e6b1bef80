"""Drawing places with the probabilities that are their elements."""

from __future__ import annotations

from dtrain.base.dtype import float64
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.random import Generator, default_generator
from dtrain.core.tensor import Tensor
from dtrain.ops.searchsorted import searchsorted
from dtrain.ops.sorting import topk
from dtrain.ops.value_checks import expect_finite
from dtrain.ops.where import where


def multinomial(
    x: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Draw places of each row of x by the ratio of its elements: s64[num_samples], or s64[rows, num_samples].

    Args:
        x: weights [n] or [rows, n], not negative; they need not add up to 1, and get no gradient.
        replacement: whether one row may give a place more than once.

    Raises:
        ShapeError: another number of axes, or more draws than places without replacement.
        RuntimeError: weights are negative or not finite, or too few are above 0: at once, or when a graph runs.

    >>> multinomial(tensor([0.0, 2.0, 0.0]), 1).tolist()
    [1]
    """
    size = x.shape[-1] if x.ndim in (1, 2) else 0
    if not num_samples >= 1 or size == 0 or (num_samples > size and not replacement):
        wanted = "weights [n] or [rows, n], and a number of draws from 1 to n, or more with replacement"
        raise ShapeError(expected("multinomial", wanted, f"{x.type} and {num_samples}", "replacement=True draws more"))
    weights = cast(x.detach(), float64)
    enough = (weights > 0).sum(-1) >= (1 if replacement else num_samples)
    fits = (weights >= 0).all() & enough.all()
    what = "weights with a total: finite, none below 0, in each row as many above 0 as are drawn"
    expect_finite(
        where(fits, weights.sum(), float("nan")), where="multinomial", what=what, advice="look at softmax's input"
    )
    source = generator or default_generator()
    if replacement:
        edges = weights.cumsum(-1)
        drawn = source.uniform((*x.shape[:-1], num_samples), dtype=float64, device=x.device)
        return searchsorted(edges, drawn * edges[..., -1:], right=True)
    # Each place waits for an exponential time at its rate; the first ones to come are a draw without replacement.
    waiting = -(1 - source.uniform(x.shape, dtype=float64, device=x.device)).log()
    return topk(weights / (waiting + 1e-300), num_samples)[1]
