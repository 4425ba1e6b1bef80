"""Calls of elementwise ops of one and of two inputs."""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.call import Call

Calls = Callable[[], list[Call]]


def unary_calls(low: float, high: float) -> Calls:
    """One input: two axes, none, no elements, a prime."""
    shapes = ((2, 3), (), (0, 3), (17,))
    return lambda: [Call(inputs=(shape,), low=low, high=high) for shape in shapes]


def binary_calls(low: float = -2.0, high: float = 2.0) -> Calls:
    """Two inputs: equal shapes, broadcasting both ways, a 0-d one, no elements."""
    shapes = (((2, 3), (2, 3)), ((4, 1, 3), (5, 1)), ((), (7,)), ((0, 3), (3,)))
    return lambda: [Call(inputs=pair, low=low, high=high) for pair in shapes]
