"""Checks that can stand in a graph: they give their input back, and raise where its values are not what is meant."""

from __future__ import annotations

from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import gradient_of
from dtrain.opset.value_checks import EXPECT_FINITE, IN_RANGE


def in_range(index: Tensor, size: int, *, low: int = 0, where: str, what: str) -> Tensor:
    """The index itself. Raises ValueError unless all of it lies in [low, size): at once, or when a graph runs.

    Args:
        where: the function that complains.
        what: how it calls the index.
    """
    return apply(IN_RANGE, index, low=low, size=size, where=where, what=what)


@gradient_of(EXPECT_FINITE)
def _grad_finite(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (grad,)


def expect_finite(x: Tensor, *, where: str, what: str, advice: str = "") -> Tensor:
    """x itself. Raises RuntimeError if an element is infinite or NaN: at once, or when a graph runs.

    Args:
        where: the function that complains.
        what: what it expected.
        advice: what to do.
    """
    return apply(EXPECT_FINITE, x, where=where, what=what, advice=advice)
