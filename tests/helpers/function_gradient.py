"""Numeric derivatives of public functions, first and second: is what `grad` gives the slope of what the function gives?

The functions are sums of f(x…) times fixed random weights, in f64, by central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dtrain.autograd.backward_pass import grad
from dtrain.core.tensor import Tensor, wrap

Function = Callable[..., Tensor]


def _weighted(function: Function, inputs: Sequence[Tensor], weights: dict[int, np.ndarray], seed: int) -> Tensor:
    result = function(*inputs)
    if seed not in weights:
        weights[seed] = np.asarray(np.random.default_rng(seed).uniform(0.5, 1.5, result.shape))
    return (result * wrap(weights[seed])).sum()


def _numeric(scalar: Callable[[Sequence[np.ndarray]], float], arrays: list[np.ndarray]) -> list[np.ndarray]:
    step = 1e-5
    gradients = []
    for position, array in enumerate(arrays):
        slope = np.zeros(array.shape)
        for place in np.ndindex(*array.shape):
            values = []
            for sign in (1, -1):
                moved = [other.copy() for other in arrays]
                moved[position][place] += sign * step
                values.append(scalar(moved))
            slope[place] = (values[0] - values[1]) / (2 * step)
        gradients.append(slope)
    return gradients


def _leaves(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    return [wrap(array.astype(np.float64)).requires_grad_() for array in arrays]


def assert_gradients(function: Function, *arrays: np.ndarray, second: bool = False) -> None:
    """Check the gradient of `function` with respect to each array, and with `second` the gradient of that gradient."""
    weights: dict[int, np.ndarray] = {}
    given = [np.asarray(array, dtype=np.float64) for array in arrays]

    def first(tensors: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
        scalar = _weighted(function, tensors, weights, 1)
        return list(grad(scalar, list(tensors), create_graph=create_graph))  # type: ignore[arg-type]

    wanted = _numeric(lambda moved: _weighted(function, [wrap(a) for a in moved], weights, 1).item(), given)
    for got, slope in zip(first(_leaves(given)), wanted):
        np.testing.assert_allclose(got.numpy(), slope, rtol=1e-6, atol=1e-7)
    if second:
        _assert_second(first, given)


def _assert_second(first: Callable[..., list[Tensor]], arrays: list[np.ndarray]) -> None:
    factors = [np.random.default_rng(9).uniform(0.5, 1.5, array.shape) for array in arrays]

    def slope(tensors: Sequence[Tensor], create_graph: bool) -> Tensor:
        parts = [(g * wrap(f)).sum() for g, f in zip(first(tensors, create_graph), factors)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    wanted = _numeric(lambda moved: slope(_leaves(moved), False).item(), arrays)
    leaves = _leaves(arrays)
    got = grad(slope(leaves, True), leaves, allow_unused=True)
    for value, expected in zip(got, wanted):
        found = np.zeros_like(expected) if value is None else value.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
